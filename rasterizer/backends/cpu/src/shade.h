// View-dependent colours from spherical harmonics, and their gradient. Only visible Gaussians are read.
#pragma once

#include "abi.h"
#include "harmonics.h"
#include "rows.h"

namespace SCENE3D_ISA_NS {

// Unit vector from a camera to each Gaussian of a group.
struct Directions {
    vfloat x, y, z, inverse_length;

    S3D_INLINE void look(const float *means, const float *camera_center, const RowGroup &group) {
        vfloat m[3];
        load_rows(means, group, m);
        const vfloat dx = m[0] - camera_center[0], dy = m[1] - camera_center[1], dz = m[2] - camera_center[2];
        const vfloat squared = dx * dx + dy * dy + dz * dz;
        // A Gaussian in the camera's own centre has no direction; it gets zero, hence only its constant colour.
        inverse_length = keep(less(broadcast(0.0f), squared), broadcast(1.0f) / square_root(squared));
        x = dx * inverse_length, y = dy * inverse_length, z = dz * inverse_length;
    }
};

template <int DEGREE>
S3D_INLINE void shade_group(const S3dShade &args, int camera, const RowGroup &group) {
    constexpr int K = Harmonics<DEGREE>::COUNT;
    Directions direction;
    direction.look(args.means, args.camera_centers + camera * 3, group);
    Harmonics<DEGREE> basis;
    basis.evaluate(direction.x, direction.y, direction.z);
    alignas(64) float weights[K][LANES];
    for (int k = 0; k < K; ++k) store(weights[k], basis.value[k]);
    float *colors = args.colors + int64_t(camera) * args.num_gaussians * 3;
    for (int lane = 0; lane < group.count; ++lane) {
        const float *sh = args.sh + group.rows[lane] * args.num_bases * 3;
        float color[3] = {0.5f, 0.5f, 0.5f};
        for (int k = 0; k < K; ++k) {
            for (int channel = 0; channel < 3; ++channel) color[channel] += weights[k][lane] * sh[k * 3 + channel];
        }
        for (int channel = 0; channel < 3; ++channel) {
            // What is not finite, minus infinity too, stays so: blending leaves such a Gaussian out.
            const bool clamped = color[channel] < 0.0f && color[channel] * 0.0f == 0.0f;
            colors[group.rows[lane] * 3 + channel] = clamped ? 0.0f : color[channel];
        }
    }
}

template <int DEGREE>
void shade_forward_of(const S3dShade &args) {
    parallel_chunks(args.num_threads, args.num_gaussians, GAUSSIANS_PER_TASK, [&](int64_t, int64_t begin, int64_t end) {
        int32_t visible[GAUSSIANS_PER_TASK];
        for (int c = 0; c < args.num_cameras; ++c) {
            const int64_t first = c * args.num_gaussians;
            const int64_t count = list_visible(args.radii + first * 2, begin, end, visible);
            memset(args.colors + (first + begin) * 3, 0, sizeof(float) * 3 * (end - begin));
            for (int64_t i = 0; i < count; i += LANES) {
                shade_group<DEGREE>(args, c, RowGroup::listed(visible + i, count - i));
            }
        }
    });
}

S3D_INLINE bool is_finite_color(const float *color) {
    // Zero times NaN or infinity is NaN, so one test of the sum does for all three.
    return (color[0] + color[1] + color[2]) * 0.0f == 0.0f;
}

// Adds one camera's gradient for a group; channels that the clamp at zero holds get none.
template <int DEGREE>
S3D_INLINE void shade_group_backward(const S3dShade &args, int camera, const RowGroup &group, double *v_center) {
    constexpr int K = Harmonics<DEGREE>::COUNT;
    Directions direction;
    direction.look(args.means, args.camera_centers + camera * 3, group);
    Harmonics<DEGREE> basis;
    basis.evaluate(direction.x, direction.y, direction.z);
    alignas(64) float weights[K][LANES];
    alignas(64) float v_weights[K][LANES] = {};
    for (int k = 0; k < K; ++k) store(weights[k], basis.value[k]);
    const int64_t first = int64_t(camera) * args.num_gaussians;
    for (int lane = 0; lane < group.count; ++lane) {
        const int64_t row = group.rows[lane];
        const float *color = args.colors + (first + row) * 3;
        if (!is_finite_color(color)) continue;
        float v_color[3];
        for (int i = 0; i < 3; ++i) v_color[i] = color[i] > 0.0f ? args.v_colors[(first + row) * 3 + i] : 0.0f;
        const float *sh = args.sh + row * args.num_bases * 3;
        if (args.v_sh != nullptr) {
            float *v_sh = args.v_sh + row * args.num_bases * 3;
            for (int k = 0; k < K; ++k) {
                for (int i = 0; i < 3; ++i) v_sh[k * 3 + i] += weights[k][lane] * v_color[i];
            }
        }
        for (int k = 1; k < K; ++k) {
            v_weights[k][lane] = sh[k * 3] * v_color[0] + sh[k * 3 + 1] * v_color[1] + sh[k * 3 + 2] * v_color[2];
        }
    }
    if (DEGREE == 0 || (args.v_means == nullptr && args.v_camera_centers == nullptr)) return;
    vfloat v_values[K], v_x, v_y, v_z;
    for (int k = 0; k < K; ++k) v_values[k] = load(v_weights[k]);
    basis.pull_back(v_values, v_x, v_y, v_z);
    // Only the part across the direction moves it.
    const vfloat along = v_x * direction.x + v_y * direction.y + v_z * direction.z;
    const vfloat v_mean[3] = {(v_x - along * direction.x) * direction.inverse_length,
                              (v_y - along * direction.y) * direction.inverse_length,
                              (v_z - along * direction.z) * direction.inverse_length};
    for (int lane = 0; lane < group.count; ++lane) {
        for (int i = 0; i < 3; ++i) {
            const float v = v_mean[i][lane];
            if (args.v_means != nullptr) args.v_means[group.rows[lane] * 3 + i] += v;
            v_center[i] -= static_cast<double>(v);
        }
    }
}

template <int DEGREE>
void shade_backward_of(const S3dShade &args) {
    const int64_t num_chunks = (args.num_gaussians + GAUSSIANS_PER_TASK - 1) / GAUSSIANS_PER_TASK;
    Buffer<double> partial(num_chunks * args.num_cameras * 3);
    parallel_chunks(args.num_threads, args.num_gaussians, GAUSSIANS_PER_TASK,
                    [&](int64_t chunk, int64_t begin, int64_t end) {
        int32_t visible[GAUSSIANS_PER_TASK];
        const int64_t sh_row = int64_t(args.num_bases) * 3;
        if (args.v_means != nullptr) memset(args.v_means + begin * 3, 0, sizeof(float) * 3 * (end - begin));
        if (args.v_sh != nullptr) memset(args.v_sh + begin * sh_row, 0, sizeof(float) * sh_row * (end - begin));
        for (int c = 0; c < args.num_cameras; ++c) {
            double *v_center = &partial[(chunk * args.num_cameras + c) * 3];
            v_center[0] = v_center[1] = v_center[2] = 0;
            const int64_t count = list_visible(args.radii + c * args.num_gaussians * 2, begin, end, visible);
            for (int64_t i = 0; i < count; i += LANES) {
                shade_group_backward<DEGREE>(args, c, RowGroup::listed(visible + i, count - i), v_center);
            }
        }
    });
    if (args.v_camera_centers == nullptr) return;
    for (int64_t k = 0; k < int64_t(args.num_cameras) * 3; ++k) {
        double sum = 0;
        for (int64_t chunk = 0; chunk < num_chunks; ++chunk) sum += partial[chunk * args.num_cameras * 3 + k];
        args.v_camera_centers[k] = static_cast<float>(sum);
    }
}

inline void shade_forward(const S3dShade &args) {
    static void (*const by_degree[SH_DEGREE_MAX + 1])(const S3dShade &) = {
        shade_forward_of<0>, shade_forward_of<1>, shade_forward_of<2>, shade_forward_of<3>};
    by_degree[args.sh_degree](args);
}

inline void shade_backward(const S3dShade &args) {
    static void (*const by_degree[SH_DEGREE_MAX + 1])(const S3dShade &) = {
        shade_backward_of<0>, shade_backward_of<1>, shade_backward_of<2>, shade_backward_of<3>};
    by_degree[args.sh_degree](args);
}

}  // namespace SCENE3D_ISA_NS
