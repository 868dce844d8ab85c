// One visible Gaussian as the blending loops want it, and the tiles its ellipse touches.
#pragma once

#include "abi.h"
#include "rows.h"

namespace SCENE3D_ISA_NS {

constexpr int TILE_WIDTH = 16;
constexpr int TILE_HEIGHT = 16;
constexpr int TILE_PIXELS = TILE_WIDTH * TILE_HEIGHT;
constexpr float ALPHA_MAX = 0.99f;
constexpr float TRANSMITTANCE_MIN = 1e-4f;
// log2(1/255): the weakest alpha that counts.
constexpr float LOG2_ALPHA_MIN = -7.99435344f;
constexpr float LOG2_E = 1.44269504f;

// With the conic's Cholesky factor, sigma = a/2 * u^2 + s/2 * dy^2 where u = dx + slope * dy: both terms are positive,
// so a long thin Gaussian keeps its digits, and alpha = 2^(log2_opacity - curve_u * u^2 - curve_y * dy^2) has its
// opacity folded in.
struct Splat {
    float x, y;
    float slope;            // b / a
    float curve_u, curve_y; // a/2 and s/2 with s = c - b^2/a, in units of log2
    float log2_opacity;
    float reach_y;          // half height of the ellipse alpha = 1/255; below zero for what must not be drawn
    int32_t gaussian;
};

S3D_INLINE double log2_of(float value) { return __builtin_log2(static_cast<double>(value)); }

// A non-finite or flat Gaussian comes back with reach_y below zero.
S3D_INLINE Splat make_splat(const float *mean2d, const float *conic, float opacity, const int32_t *radius,
                            const float *color, int num_channels, int32_t gaussian) {
    Splat splat = {mean2d[0], mean2d[1], 0, 0, 0, 0, -1.0f, gaussian};
    float poison = (mean2d[0] + mean2d[1] + conic[0] + conic[1] + conic[2] + opacity) * 0.0f;
    for (int k = 0; k < num_channels; ++k) poison += color[k] * 0.0f;
    if (!(poison == 0.0f) || !(conic[0] > 0.0f) || !(conic[2] > 0.0f) || !(opacity >= 1.0f / 255.0f)) return splat;
    const double a = conic[0], b = conic[1], c = conic[2];
    // Rounding of the three entries can make an extremely thin ellipse flat; it then keeps a trace of curvature and
    // the box of `radius` bounds it.
    const double schur = max_of(c - b * b / a, 1e-7 * c);
    splat.slope = static_cast<float>(b / a);
    splat.curve_u = static_cast<float>(0.5 * LOG2_E * a);
    splat.curve_y = static_cast<float>(0.5 * LOG2_E * schur);
    splat.log2_opacity = static_cast<float>(log2_of(opacity));
    const float budget = splat.log2_opacity - LOG2_ALPHA_MIN;
    splat.reach_y = min_of(__builtin_sqrtf((max_of(budget, 0.0f) + 1e-4f) / splat.curve_y), float(radius[1])) + 2e-3f;
    return splat;
}

struct TileGrid {
    int width, height, across, down;
    TileGrid(int image_width, int image_height)
        : width(image_width), height(image_height), across((image_width + TILE_WIDTH - 1) / TILE_WIDTH),
          down((image_height + TILE_HEIGHT - 1) / TILE_HEIGHT) {}
    int64_t count() const { return int64_t(across) * down; }
};

// Pixels i with low <= i + 0.5 <= high, cut to [0, size): [first, end).
S3D_INLINE void pixel_range(float low, float high, int size, int &first, int &end) {
    // Cut as floats first: a huge Gaussian's box does not fit an int.
    const float cut_low = max_of(low - 0.5f, 0.0f), cut_high = min_of(high - 0.5f, float(size - 1));
    first = end = 0;
    if (!(cut_low <= cut_high)) return;
    first = static_cast<int>(__builtin_ceilf(cut_low));
    end = static_cast<int>(__builtin_floorf(cut_high)) + 1;
}

// Calls body(tile) for every tile with a pixel centre inside the ellipse alpha = 1/255, row by row.
template <class Body>
S3D_INLINE void for_each_tile(const Splat &splat, float radius_x, const TileGrid &grid, const Body &body) {
    if (splat.reach_y < 0.0f) return;
    const float budget = max_of(splat.log2_opacity - LOG2_ALPHA_MIN, 0.0f) + 1e-4f;
    const float lift = splat.slope * splat.slope / splat.curve_y;
    const float reach_x = min_of(__builtin_sqrtf(budget * (1.0f / splat.curve_u + lift)), radius_x) + 2e-3f;
    int y_first, y_end, x_first, x_end;
    pixel_range(splat.y - splat.reach_y, splat.y + splat.reach_y, grid.height, y_first, y_end);
    pixel_range(splat.x - reach_x, splat.x + reach_x, grid.width, x_first, x_end);
    if (y_first >= y_end || x_first >= x_end) return;
    const int ty_end = (y_end - 1) / TILE_HEIGHT + 1;
    const int tx_begin = x_first / TILE_WIDTH, tx_end = (x_end - 1) / TILE_WIDTH + 1;
    if (tx_begin + 1 == tx_end || y_first / TILE_HEIGHT + 1 == ty_end) {
        for (int ty = y_first / TILE_HEIGHT; ty < ty_end; ++ty) {
            for (int tx = tx_begin; tx < tx_end; ++tx) body(int64_t(ty) * grid.across + tx);
        }
        return;
    }
    // The ellipse's rightmost point lies at height y_right above its centre, the leftmost as far below.
    const float y_right = -splat.slope * budget / (splat.curve_y * reach_x);
    for (int ty = y_first / TILE_HEIGHT; ty < ty_end; ++ty) {
        const float strip_low = max_of(ty * TILE_HEIGHT + 0.5f - splat.y, -splat.reach_y);
        const float strip_high = min_of((ty + 1) * TILE_HEIGHT - 0.5f - splat.y, splat.reach_y);
        const float at_right = min_of(max_of(y_right, strip_low), strip_high);
        const float at_left = min_of(max_of(-y_right, strip_low), strip_high);
        const float half_right = __builtin_sqrtf(
            max_of(budget - splat.curve_y * at_right * at_right, 0.0f) / splat.curve_u);
        const float half_left = __builtin_sqrtf(
            max_of(budget - splat.curve_y * at_left * at_left, 0.0f) / splat.curve_u);
        const float right = min_of(half_right - splat.slope * at_right + 2e-3f, reach_x);
        const float left = max_of(-half_left - splat.slope * at_left - 2e-3f, -reach_x);
        int first, end;
        pixel_range(splat.x + left, splat.x + right, grid.width, first, end);
        if (first >= end) continue;
        for (int tx = first / TILE_WIDTH; tx < (end - 1) / TILE_WIDTH + 1; ++tx) body(int64_t(ty) * grid.across + tx);
    }
}

}  // namespace SCENE3D_ISA_NS
