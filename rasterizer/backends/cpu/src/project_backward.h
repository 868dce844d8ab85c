// Gradient of the projection with respect to means, quaternions, scales and camera matrices.
//
// In double: turning a gradient on the conic into one on the axes weighs the short side of a splat against the square
// of its long one. In float, a few long thin Gaussians lost so many digits that they set the error of all.
#pragma once

#include "project_math.h"

namespace SCENE3D_ISA_NS {

typedef RowGroupOf<vdouble> DoubleRows;
typedef Vec3<vdouble> DoubleVec3;
typedef CameraLanes<vdouble> DoubleCamera;
typedef ShapeLanes<vdouble> DoubleShape;
typedef FootprintLanes<vdouble> DoubleFootprint;

struct ProjectionGradient {
    vdouble mean2d[2], conic[3], depth[1], compensation[1];

    S3D_INLINE void read(const S3dProject &in, int camera, const DoubleRows &group, vlong visible) {
        const int64_t first = int64_t(camera) * in.num_gaussians;
        read_part(in.v_means2d, first, group, visible, mean2d);
        read_part(in.v_conics, first, group, visible, conic);
        read_part(in.v_depths, first, group, visible, depth);
        read_part(in.v_compensations, first, group, visible, compensation);
    }

  private:
    // Whatever stands in the rows of culled Gaussians, NaN included, must not get through.
    template <int WIDTH>
    S3D_INLINE static void read_part(const float *base, int64_t first, const DoubleRows &group, vlong visible,
                                     vdouble (&values)[WIDTH]) {
        if (base == nullptr) {
            for (vdouble &v : values) v = vdouble{};
            return;
        }
        load_rows(base + first * WIDTH, group, values);
        for (vdouble &v : values) v = keep(visible, v);
    }
};

// Gradients on the projected rows p0 and p1 from those on the conic and the compensation.
S3D_INLINE void footprint_gradient(const DoubleFootprint &seen, const ProjectionGradient &v, DoubleVec3 &v_p0,
                                   DoubleVec3 &v_p1) {
    const vdouble inverse_det = 1.0f / seen.det;
    const vdouble a = seen.var_y * inverse_det, b = -seen.covar * inverse_det, c = seen.var_x * inverse_det;
    const vdouble *g = v.conic;
    // d(inverse) = -inverse * d(covariance) * inverse; b stands for both mixed entries.
    vdouble v_xx = -(a * (a * g[0] + b * g[1]) + b * b * g[2]);
    vdouble v_yy = -(c * (c * g[2] + b * g[1]) + b * b * g[0]);
    vdouble v_xy = -(2.0f * b * (a * g[0] + c * g[2]) + (a * c + b * b) * g[1]);
    // compensation = |normal| / sqrt(det). Through the normal's direction, because the derivative of sqrt(det_sharp)
    // runs off to infinity for flat Gaussians while that of |normal| does not.
    const vdouble length = square_root(seen.det_sharp);
    const vdouble inverse_root = square_root(inverse_det);
    const vdouble from_det = -0.5f * v.compensation[0] * length * inverse_root * inverse_det;
    v_xx += from_det * seen.var_y;
    v_yy += from_det * seen.var_x;
    v_xy -= 2.0f * from_det * seen.covar;
    const vdouble per_length = keep(less(vdouble{}, length), v.compensation[0] * inverse_root / length);
    const DoubleVec3 v_normal = per_length * seen.normal;
    v_p0 = 2.0f * v_xx * seen.p0 + v_xy * seen.p1 + cross(seen.p1, v_normal);
    v_p1 = 2.0f * v_yy * seen.p1 + v_xy * seen.p0 + cross(v_normal, seen.p0);
}

S3D_INLINE vlong is_between(vdouble value, double low, double high) {
    return both(at_most(broadcast(low), value), at_most(value, broadcast(high)));
}

// Gradient on the centre in the camera, from the image position, the depth and the Jacobian's own dependence.
S3D_INLINE DoubleVec3 center_gradient(const DoubleFootprint &seen, const DoubleCamera &camera,
                                      const ProjectionGradient &v, const DoubleVec3 &v_p0, const DoubleVec3 &v_p1) {
    const vdouble v_j00 = dot(v_p0, seen.axes[0]), v_j02 = dot(v_p0, seen.axes[2]);
    const vdouble v_j11 = dot(v_p1, seen.axes[1]), v_j12 = dot(v_p1, seen.axes[2]);
    // j00 = fx / z and j02 = -j00 * clamp(x / z).
    const vdouble v_scale_x = v_j00 - seen.clamped_x * v_j02;
    const vdouble v_scale_y = v_j11 - seen.clamped_y * v_j12;
    const vlong free_x = is_between(seen.ratio_x, camera.x_low, camera.x_high);
    const vlong free_y = is_between(seen.ratio_y, camera.y_low, camera.y_high);
    const vdouble v_ratio_x = camera.fx * v.mean2d[0] - keep(free_x, seen.j00 * v_j02);
    const vdouble v_ratio_y = camera.fy * v.mean2d[1] - keep(free_y, seen.j11 * v_j12);
    const vdouble v_inverse_z = camera.fx * v_scale_x + camera.fy * v_scale_y + seen.center.x * v_ratio_x +
                               seen.center.y * v_ratio_y;
    return {v_ratio_x * seen.inverse_z, v_ratio_y * seen.inverse_z,
            v.depth[0] - v_inverse_z * seen.inverse_z * seen.inverse_z};
}

// Sums over cameras of the gradients on one group of Gaussians.
struct ShapeGradient {
    DoubleVec3 mean = {};
    DoubleVec3 rotation_scale_rows[3] = {}; // on (quaternion rotation * scales)

    S3D_INLINE void store_into(const S3dProject &out, const DoubleRows &group, const DoubleShape &shape) const {
        if (out.v_means != nullptr) {
            const vdouble rows[3] = {mean.x, mean.y, mean.z};
            store_rows(out.v_means, group, rows);
        }
        const DoubleVec3 *m = rotation_scale_rows;
        const DoubleVec3 *r = shape.rotation_rows;
        if (out.v_scales != nullptr) {
            const vdouble rows[3] = {m[0].x * r[0].x + m[1].x * r[1].x + m[2].x * r[2].x,
                                    m[0].y * r[0].y + m[1].y * r[1].y + m[2].y * r[2].y,
                                    m[0].z * r[0].z + m[1].z * r[1].z + m[2].z * r[2].z};
            store_finite(out.v_scales, group, rows);
        }
        if (out.v_quats != nullptr) store_quats(out, group, shape);
    }

  private:
    S3D_INLINE void store_quats(const S3dProject &out, const DoubleRows &group, const DoubleShape &s) const {
        DoubleVec3 g[3];
        for (int i = 0; i < 3; ++i) {
            const DoubleVec3 &m = rotation_scale_rows[i];
            g[i] = {m.x * s.scale[0], m.y * s.scale[1], m.z * s.scale[2]};
        }
        const vdouble w = s.w, x = s.x, y = s.y, z = s.z;
        vdouble v[4];
        v[0] = 2.0f * (x * (g[2].y - g[1].z) + y * (g[0].z - g[2].x) + z * (g[1].x - g[0].y));
        v[1] = 2.0f * (y * (g[0].y + g[1].x) + z * (g[0].z + g[2].x) + w * (g[2].y - g[1].z)) -
               4.0f * x * (g[1].y + g[2].z);
        v[2] = 2.0f * (x * (g[0].y + g[1].x) + z * (g[1].z + g[2].y) + w * (g[0].z - g[2].x)) -
               4.0f * y * (g[0].x + g[2].z);
        v[3] = 2.0f * (x * (g[0].z + g[2].x) + y * (g[1].z + g[2].y) + w * (g[1].x - g[0].y)) -
               4.0f * z * (g[0].x + g[1].y);
        const vdouble along = w * v[0] + x * v[1] + y * v[2] + z * v[3];
        const vdouble rows[4] = {(v[0] - along * w) * s.inverse_norm, (v[1] - along * x) * s.inverse_norm,
                                (v[2] - along * y) * s.inverse_norm, (v[3] - along * z) * s.inverse_norm};
        store_finite(out.v_quats, group, rows);
    }

    // A Gaussian that no camera saw has zero sums here; times its possibly infinite shape that would be NaN.
    template <int WIDTH>
    S3D_INLINE void store_finite(float *base, const DoubleRows &group, const vdouble (&values)[WIDTH]) const {
        vdouble kept[WIDTH];
        for (int k = 0; k < WIDTH; ++k) kept[k] = keep(seen_by_any, values[k]);
        store_rows(base, group, kept);
    }

  public:
    vlong seen_by_any = {};
};

// Sum over Gaussians of the gradient on one camera's [3,4] matrix, in double: the terms cancel.
struct CameraGradient {
    double entries[12];

    S3D_INLINE void add(int row, const DoubleVec3 &world, vdouble v_center, const vdouble (&v_rotation)[3]) {
        const vdouble parts[4] = {v_rotation[0] + v_center * world.x, v_rotation[1] + v_center * world.y,
                                 v_rotation[2] + v_center * world.z, v_center};
        for (int k = 0; k < 4; ++k) {
            double sum = 0;
            for (int lane = 0; lane < DoubleRows::SIZE; ++lane) sum += parts[k][lane];
            entries[row * 4 + k] += sum;
        }
    }
};

S3D_INLINE vlong load_visible(const int32_t *radii, const DoubleRows &group) {
    alignas(64) int64_t seen[DoubleRows::SIZE];
    for (int lane = 0; lane < DoubleRows::SIZE; ++lane) {
        seen[lane] = lane < group.count && radii[group.rows[lane] * 2] > 0 ? -1 : 0;
    }
    return load<vlong>(seen);
}

S3D_INLINE DoubleVec3 keep(vlong m, const DoubleVec3 &v) { return {keep(m, v.x), keep(m, v.y), keep(m, v.z)}; }

S3D_INLINE void add_camera(const S3dProject &args, int c, const DoubleCamera &camera, const DoubleRows &group,
                           const DoubleShape &shape, ShapeGradient &total, CameraGradient *camera_total) {
    const vlong visible = load_visible(args.radii + int64_t(c) * args.num_gaussians * 2, group);
    if (!any(visible)) return;
    total.seen_by_any = either(total.seen_by_any, visible);
    DoubleFootprint seen;
    seen.see(shape, camera, args.eps2d);
    ProjectionGradient v;
    v.read(args, c, group, visible);
    DoubleVec3 v_p0, v_p1;
    footprint_gradient(seen, v, v_p0, v_p1);
    v_p0 = keep(visible, v_p0), v_p1 = keep(visible, v_p1);
    const DoubleVec3 v_center = keep(visible, center_gradient(seen, camera, v, v_p0, v_p1));
    const DoubleVec3 v_axes[3] = {keep(visible, seen.j00 * v_p0), keep(visible, seen.j11 * v_p1),
                            keep(visible, seen.j02 * v_p0 + seen.j12 * v_p1)};
    total.mean = total.mean + camera.rotate_back(v_center);
    for (int j = 0; j < 3; ++j) {
        total.rotation_scale_rows[j] = total.rotation_scale_rows[j] + broadcast(camera.rotation[0][j]) * v_axes[0] +
                                       broadcast(camera.rotation[1][j]) * v_axes[1] +
                                       broadcast(camera.rotation[2][j]) * v_axes[2];
    }
    if (camera_total == nullptr) return;
    const vdouble v_centers[3] = {v_center.x, v_center.y, v_center.z};
    for (int i = 0; i < 3; ++i) {
        vdouble v_rotation[3];
        const DoubleVec3 weighted = {v_axes[i].x * shape.scale[0], v_axes[i].y * shape.scale[1],
                               v_axes[i].z * shape.scale[2]};
        for (int j = 0; j < 3; ++j) v_rotation[j] = keep(visible, dot(weighted, shape.rotation_rows[j]));
        camera_total[c].add(i, keep(visible, shape.mean), v_centers[i], v_rotation);
    }
}

inline void store_camera_gradients(const S3dProject &args, const CameraGradient *partial, int64_t num_chunks) {
    for (int c = 0; c < args.num_cameras; ++c) {
        double sums[16] = {};
        for (int64_t chunk = 0; chunk < num_chunks; ++chunk) {
            for (int k = 0; k < 12; ++k) sums[k] += partial[chunk * args.num_cameras + c].entries[k];
        }
        for (int k = 0; k < 16; ++k) args.v_viewmats[c * 16 + k] = static_cast<float>(sums[k]);
    }
}

inline void project_backward(const S3dProject &args) {
    const int64_t num_chunks = (args.num_gaussians + GAUSSIANS_PER_TASK - 1) / GAUSSIANS_PER_TASK;
    const bool wants_cameras = args.v_viewmats != nullptr;
    Buffer<CameraGradient> partial(wants_cameras ? num_chunks * args.num_cameras : 0);
    Buffer<DoubleCamera> cameras(args.num_cameras);
    for (int c = 0; c < args.num_cameras; ++c) {
        cameras[c] = DoubleCamera(args.viewmats + c * 16, args.Ks + c * 9, args.width, args.height);
    }
    parallel_chunks(args.num_threads, args.num_gaussians, GAUSSIANS_PER_TASK,
                    [&](int64_t chunk, int64_t begin, int64_t end) {
        CameraGradient *camera_totals = wants_cameras ? &partial[chunk * args.num_cameras] : nullptr;
        if (wants_cameras) memset(camera_totals, 0, sizeof(CameraGradient) * args.num_cameras);
        for (int64_t first = begin; first < end; first += DoubleRows::SIZE) {
            const DoubleRows group = DoubleRows::consecutive(first, end);
            DoubleShape shape;
            shape.read(args, group);
            ShapeGradient total;
            for (int c = 0; c < args.num_cameras; ++c) {
                add_camera(args, c, cameras[c], group, shape, total, camera_totals);
            }
            total.store_into(args, group, shape);
        }
    });
    if (wants_cameras) store_camera_gradients(args, partial.get(), num_chunks);
}

}  // namespace SCENE3D_ISA_NS
