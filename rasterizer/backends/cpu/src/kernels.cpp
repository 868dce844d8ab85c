// All kernels of one instruction set. Compiled once per set with -DSCENE3D_ISA_NS=<namespace> and its -march; the
// header files may use no function or template of the C++ library (see simd.h).
#include "adam.h"
#include "blend_backward.h"
#include "blend_forward.h"
#include "project.h"
#include "project_backward.h"
#include "shade.h"
#include "ssim.h"

#include <new>

namespace SCENE3D_ISA_NS {

struct BlendState {
    int num_cameras = 0;
    CameraState *cameras = nullptr;
};

static void blend_free(S3dBlendState *handle) {
    BlendState *state = reinterpret_cast<BlendState *>(handle);
    if (state == nullptr) return;
    delete[] state->cameras;
    delete state;
}

static S3dBlendState *blend_forward(const S3dBlend &args, bool keep_state) {
    BlendState *state = new BlendState();
    try {
        state->num_cameras = keep_state ? args.num_cameras : 1;
        state->cameras = new CameraState[state->num_cameras];
        for (int c = 0; c < args.num_cameras; ++c) blend_camera(args, c, state->cameras[keep_state ? c : 0]);
    } catch (...) {
        blend_free(reinterpret_cast<S3dBlendState *>(state));
        throw;
    }
    if (keep_state) return reinterpret_cast<S3dBlendState *>(state);
    blend_free(reinterpret_cast<S3dBlendState *>(state));
    return nullptr;
}

static void blend_backward(const S3dBlend &args, const S3dBlendState *handle) {
    const BlendState *state = reinterpret_cast<const BlendState *>(handle);
    for (int c = 0; c < state->num_cameras; ++c) blend_camera_backward(args, c, state->cameras[c]);
}

extern const S3dKernels KERNELS = {
    LANES,          project_forward, project_backward, shade_forward, shade_backward,
    blend_forward,  blend_backward,  blend_free,       l1_ssim,       adam_step,
};

}  // namespace SCENE3D_ISA_NS
