// The library's C functions: picks the kernels of the best instruction set and turns exceptions into status codes.
#include <string.h>

#include <atomic>
#include <new>

#include "abi.h"
#include "cpu_level.h"
#include "pool.h"

#if defined(_WIN32)
#define S3D_EXPORT extern "C" __declspec(dllexport)
#else
#define S3D_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace isa_baseline {
extern const S3dKernels KERNELS;
}
#if defined(__x86_64__)
namespace isa_v3 {
extern const S3dKernels KERNELS;
}
namespace isa_v4 {
extern const S3dKernels KERNELS;
}
#endif

namespace {

struct Variant {
    const char *name;
    int level; // lowest x86-64 level it needs
    const S3dKernels *kernels;
};

const Variant VARIANTS[] = {
#if defined(__x86_64__)
    {"v4", 4, &isa_v4::KERNELS},
    {"v3", 3, &isa_v3::KERNELS},
#endif
    {"baseline", 1, &isa_baseline::KERNELS},
};

int machine_level() {
#if defined(__x86_64__)
    static const int level = scene3d::x86_level();
    return level;
#else
    return 1;
#endif
}

std::atomic<const Variant *> chosen{nullptr};

const Variant &current() {
    const Variant *variant = chosen.load();
    if (variant != nullptr) return *variant;
    for (const Variant &candidate : VARIANTS) {
        if (candidate.level <= machine_level()) {
            chosen.store(&candidate);
            return candidate;
        }
    }
    __builtin_unreachable(); // the last one needs nothing
}

template <class Body>
int guarded(const Body &body) {
    try {
        body(*current().kernels);
        return S3D_OK;
    } catch (const std::bad_alloc &) {
        return S3D_OUT_OF_MEMORY;
    } catch (const scene3d::TooManyIntersections &) {
        return S3D_TOO_MANY_INTERSECTIONS;
    }
}

}  // namespace

S3D_EXPORT int s3d_abi_version() { return S3D_ABI_VERSION; }

// Name of the instruction set in use: "baseline", "v3" or "v4".
S3D_EXPORT const char *s3d_isa() { return current().name; }

S3D_EXPORT int s3d_lanes() { return current().kernels->lanes; }

// Whether this library has the set and this machine can run it.
S3D_EXPORT int s3d_has_isa(const char *name) {
    for (const Variant &variant : VARIANTS) {
        if (strcmp(variant.name, name) == 0) return variant.level <= machine_level();
    }
    return 0;
}

S3D_EXPORT int s3d_set_isa(const char *name) {
    for (const Variant &variant : VARIANTS) {
        if (strcmp(variant.name, name) == 0 && variant.level <= machine_level()) {
            chosen.store(&variant);
            return S3D_OK;
        }
    }
    return S3D_BAD_ARGUMENT;
}

S3D_EXPORT int s3d_project_forward(const S3dProject *args) {
    return guarded([&](const S3dKernels &kernels) { kernels.project_forward(*args); });
}

S3D_EXPORT int s3d_project_backward(const S3dProject *args) {
    return guarded([&](const S3dKernels &kernels) { kernels.project_backward(*args); });
}

S3D_EXPORT int s3d_shade_forward(const S3dShade *args) {
    return guarded([&](const S3dKernels &kernels) { kernels.shade_forward(*args); });
}

S3D_EXPORT int s3d_shade_backward(const S3dShade *args) {
    return guarded([&](const S3dKernels &kernels) { kernels.shade_backward(*args); });
}

// `state` receives what s3d_blend_backward needs, to be given to s3d_blend_free; null when it is not wanted.
S3D_EXPORT int s3d_blend_forward(const S3dBlend *args, S3dBlendState **state) {
    return guarded([&](const S3dKernels &kernels) {
        S3dBlendState *kept = kernels.blend_forward(*args, state != nullptr);
        if (state != nullptr) *state = kept;
    });
}

S3D_EXPORT int s3d_blend_backward(const S3dBlend *args, const S3dBlendState *state) {
    return guarded([&](const S3dKernels &kernels) { kernels.blend_backward(*args, state); });
}

S3D_EXPORT void s3d_blend_free(S3dBlendState *state) { current().kernels->blend_free(state); }

S3D_EXPORT int s3d_l1_ssim(const S3dL1Ssim *args) {
    return guarded([&](const S3dKernels &kernels) { kernels.l1_ssim(*args); });
}

S3D_EXPORT int s3d_adam_step(const S3dAdam *args) {
    return guarded([&](const S3dKernels &kernels) { kernels.adam_step(*args); });
}
