// Projects Gaussians into cameras: image means, conics, depths and the box outside which nothing reaches 1/255.
#pragma once

#include "project_math.h"

namespace SCENE3D_ISA_NS {

// Radii are cut here, so that they fit an int32 whatever the scale.
constexpr float RADIUS_MAX = 16777216.0f;

S3D_INLINE vfloat rounded_up(vfloat value) {
    const vfloat truncated = __builtin_convertvector(__builtin_convertvector(value, vint), vfloat);
    return truncated + keep(less(truncated, value), broadcast(1.0f));
}

struct ProjectionLanes {
    vfloat mean2d[2], conic[3], depth[1], compensation[1], radius_x, radius_y;
    vmask visible;

    S3D_INLINE void compute(const S3dProject &in, const ShapeLanes<vfloat> &shape,
                            const FootprintLanes<vfloat> &seen, const CameraLanes<vfloat> &camera, vfloat opacity) {
        const vfloat inverse_det = 1.0f / seen.det;
        mean2d[0] = camera.fx * seen.ratio_x + camera.cx;
        mean2d[1] = camera.fy * seen.ratio_y + camera.cy;
        depth[0] = seen.center.z;
        conic[0] = seen.var_y * inverse_det;
        conic[1] = -seen.covar * inverse_det;
        conic[2] = seen.var_x * inverse_det;
        compensation[0] = square_root(seen.det_sharp * inverse_det);
        // alpha = opacity * exp(-sigma) stays at or above 1/255 up to sigma = ln(255 * opacity).
        const vfloat reach = square_root(2.0f * 0.693147181f * log2_positive(255.0f * opacity));
        radius_x = rounded_up(smaller(reach * square_root(seen.var_x), broadcast(RADIUS_MAX)));
        radius_y = rounded_up(smaller(reach * square_root(seen.var_y), broadcast(RADIUS_MAX)));
        visible = both(both(shape.has_direction, is_sound(in, opacity)), both(is_large(in), is_inside(in)));
    }

  private:
    // Comparisons are written so that NaN fails every one of them.
    S3D_INLINE vmask is_sound(const S3dProject &in, vfloat opacity) const {
        const vmask placed = both(at_most(broadcast(in.near_plane), depth[0]), at_most(depth[0], broadcast(in.far_plane)));
        const vmask seen = both(at_most(broadcast(OPACITY_MIN), opacity), is_finite(opacity));
        // A sum is finite only if its parts are.
        const vmask finite = is_finite(mean2d[0] + mean2d[1] + depth[0] + conic[0] + conic[1] + conic[2]);
        return both(both(placed, seen), finite);
    }
    S3D_INLINE vmask is_large(const S3dProject &in) const {
        const vfloat clip = broadcast(in.radius_clip);
        return less(clip, larger(radius_x, radius_y));
    }
    S3D_INLINE vmask is_inside(const S3dProject &in) const {
        const vfloat zero = broadcast(0.0f);
        const vmask x = both(less(zero, mean2d[0] + radius_x), less(mean2d[0] - radius_x, broadcast(float(in.width))));
        const vmask y = both(less(zero, mean2d[1] + radius_y), less(mean2d[1] - radius_y, broadcast(float(in.height))));
        return both(x, y);
    }
};

// What is culled is written as zeros.
S3D_INLINE void store_projection(const S3dProject &out, int camera, const RowGroup &group, ProjectionLanes &p) {
    const int64_t first = int64_t(camera) * out.num_gaussians;
    for (vfloat &v : p.mean2d) v = keep(p.visible, v);
    for (vfloat &v : p.conic) v = keep(p.visible, v);
    p.depth[0] = keep(p.visible, p.depth[0]);
    p.compensation[0] = keep(p.visible, p.compensation[0]);
    store_rows(out.means2d + first * 2, group, p.mean2d);
    store_rows(out.conics + first * 3, group, p.conic);
    store_rows(out.depths + first, group, p.depth);
    store_rows(out.compensations + first, group, p.compensation);
    const vint rx = __builtin_convertvector(keep(p.visible, p.radius_x), vint);
    const vint ry = __builtin_convertvector(keep(p.visible, p.radius_y), vint);
    for (int lane = 0; lane < group.count; ++lane) {
        int32_t *radius = out.radii + (first + group.rows[lane]) * 2;
        radius[0] = rx[lane], radius[1] = ry[lane];
    }
}

inline void project_forward(const S3dProject &args) {
    parallel_chunks(args.num_threads, args.num_gaussians, GAUSSIANS_PER_TASK, [&](int64_t, int64_t begin, int64_t end) {
        for (int64_t first = begin; first < end; first += LANES) {
            const RowGroup group = RowGroup::consecutive(first, end);
            ShapeLanes<vfloat> shape;
            shape.read(args, group);
            vfloat opacity[1];
            load_rows(args.opacities, group, opacity);
            for (int c = 0; c < args.num_cameras; ++c) {
                const CameraLanes<vfloat> camera(args.viewmats + c * 16, args.Ks + c * 9, args.width, args.height);
                FootprintLanes<vfloat> seen;
                seen.see(shape, camera, args.eps2d);
                ProjectionLanes projection;
                projection.compute(args, shape, seen, camera, opacity[0]);
                store_projection(args, c, group, projection);
            }
        }
    });
}

}  // namespace SCENE3D_ISA_NS
