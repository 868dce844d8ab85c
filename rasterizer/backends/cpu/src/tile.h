// What the forward and backward walks over a tile's list have in common.
#pragma once

#include "binning.h"

namespace SCENE3D_ISA_NS {

constexpr int VECTORS_PER_ROW = TILE_WIDTH / LANES;
constexpr int CHANNELS_MAX = 64;
// Pixels that no splat has ended.
constexpr int32_t NEVER = 0x7fffffff;

// Left by the forward pass, one pixel each.
struct CameraState {
    Bins bins;
    Buffer<float> transmittance; // [h, w] what is left behind the last splat
    Buffer<int32_t> stop;        // [h, w] position in the tile's list at which the pixel ended
};

struct TileFrame {
    int x0, y0, columns, rows; // columns and rows inside the image

    TileFrame(int64_t tile, const TileGrid &grid) {
        x0 = static_cast<int>(tile % grid.across) * TILE_WIDTH;
        y0 = static_cast<int>(tile / grid.across) * TILE_HEIGHT;
        columns = min_of(TILE_WIDTH, grid.width - x0);
        rows = min_of(TILE_HEIGHT, grid.height - y0);
    }
    int64_t pixel(const TileGrid &grid, int row) const { return int64_t(y0 + row) * grid.width + x0; }
};

// The terms of one splat that depend on the row or on the column only, and the rows it reaches. Both walks place the
// next splat before they blend the current one, so that the row count is known when its loop begins: a mispredicted
// end of that loop would otherwise wait for all of this arithmetic.
struct SplatInTile {
    alignas(64) float shift[TILE_HEIGHT];  // slope * dy
    alignas(64) float budget[TILE_HEIGHT]; // log2_opacity - curve_y * dy^2
    alignas(64) float dy[TILE_HEIGHT];
    vfloat dx[VECTORS_PER_ROW];
    vfloat curve_u;
    uint32_t rows[VECTORS_PER_ROW]; // for each vector of a row, a bit per row the ellipse reaches there

    S3D_INLINE void place(const Splat &splat, const TileFrame &frame) {
        const vfloat index = first_indices();
        curve_u = broadcast(splat.curve_u);
        for (int v = 0; v < VECTORS_PER_ROW; ++v) {
            dx[v] = (index + (frame.x0 + v * LANES + 0.5f)) - splat.x;
            rows[v] = 0;
        }
        for (int row = 0; row < TILE_HEIGHT; row += LANES) {
            const vfloat d = (index + (frame.y0 + row + 0.5f)) - splat.y;
            const vfloat row_shift = splat.slope * d, row_budget = splat.log2_opacity - splat.curve_y * d * d;
            store(dy + row, d);
            store(shift + row, row_shift);
            store(budget + row, row_budget);
            for (int v = 0; v < VECTORS_PER_ROW; ++v) {
                // Along a row alpha peaks where u = 0, or else at the end next to it.
                const vfloat low = row_shift + dx[v][0], high = row_shift + dx[v][LANES - 1];
                const vfloat nearest = larger(larger(low, -high), broadcast(0.0f));
                const vmask reached = at_most(broadcast(LOG2_ALPHA_MIN), row_budget - curve_u * (nearest * nearest));
                rows[v] |= lane_bits(reached) << row;
            }
        }
    }
};

}  // namespace SCENE3D_ISA_NS
