// Which splats touch which tile, each tile's list in depth order.
#pragma once

#include "splat.h"

namespace SCENE3D_ISA_NS {

// One splat in one tile. `slot` numbers the pairs splat by splat, so that what tiles write about a splat lies side by
// side and is added up in an order no thread can change.
struct TileEntry {
    int32_t splat;
    uint32_t slot;
};

// Everything about one camera that blending reads, forward and backward.
struct Bins {
    Splats splats;
    int64_t num_entries = 0;
    Buffer<int64_t> slot_starts;  // [splat + 1]
    Buffer<int64_t> tile_starts;  // [tile + 1]
    Buffer<TileEntry> entries;
};

// Slots are 32 bit wide.
constexpr int64_t ENTRIES_MAX = 0xffffffffll;

// Tiles [first, end) of one row that the ellipse reaches, given the row's lowest and highest pixel centres.
S3D_INLINE void cut_row(const Splat &splat, float y_right, float budget, int ty, int &first, int &end) {
    const float low = max_of(ty * TILE_HEIGHT + 0.5f - splat.y, -splat.reach_y);
    const float high = min_of((ty + 1) * TILE_HEIGHT - 0.5f - splat.y, splat.reach_y);
    // The right border of an ellipse is a concave function of height, so its maximum over an interval is at the peak
    // or at the end next to it; the left border mirrors it.
    const float at_right = min_of(max_of(y_right, low), high), at_left = min_of(max_of(-y_right, low), high);
    const float half_right = max_of(budget - splat.curve_y * at_right * at_right, 0.0f) / splat.curve_u;
    const float half_left = max_of(budget - splat.curve_y * at_left * at_left, 0.0f) / splat.curve_u;
    const float right = splat.x + (__builtin_sqrtf(half_right) - splat.slope * at_right + REACH_SLACK - 0.5f);
    const float left = splat.x + (-__builtin_sqrtf(half_left) - splat.slope * at_left - REACH_SLACK - 0.5f);
    // Comparisons before conversions: far ends do not fit an int.
    if (right < (end - 1) * float(TILE_WIDTH)) end = right < 0.0f ? 0 : int(right) / TILE_WIDTH + 1;
    if (left > first * float(TILE_WIDTH)) {
        const int whole = left < end * float(TILE_WIDTH) ? int(left) : end * TILE_WIDTH;
        first = (whole + (float(whole) < left)) / TILE_WIDTH;
    }
}

// Calls body(tile) for every tile with a pixel centre inside the ellipse alpha = 1/255, row by row.
template <class Body>
S3D_INLINE void for_each_tile(const Splat &splat, const TileBox &box, const TileGrid &grid, const Body &body) {
    const bool is_line = box.right - box.left <= 1 || box.bottom - box.top <= 1;
    const float budget = max_of(splat.log2_opacity - LOG2_ALPHA_MIN, 0.0f) + BUDGET_SLACK;
    // The ellipse's rightmost point lies at this height above its centre, the leftmost as far below.
    const float y_right = is_line ? 0.0f : -splat.slope * budget / (splat.curve_y * splat.reach_x);
    for (int ty = box.top; ty < box.bottom; ++ty) {
        int first = box.left, end = box.right;
        if (!is_line) cut_row(splat, y_right, budget, ty, first, end);
        for (int tx = first; tx < end; ++tx) body(int64_t(ty) * grid.across + tx);
    }
}

class Binning {
  public:
    Binning(const S3dBlend &args, int camera, Bins &bins)
        : args_(args), camera_(camera), bins_(bins), grid_(args.width, args.height) {}

    void run() {
        Buffer<DepthKey> keys, spare;
        make_splats(args_, camera_, bins_.splats, boxes_, keys);
        spare.resize(bins_.splats.count);
        order_ = DepthSort(bins_.splats.count, args_.num_threads).sort(keys.get(), spare.get());
        choose_parts();
        count_tiles();
        place_entries();
    }

  private:
    // Parts are runs in depth order; more of them than threads, because near splats cover more tiles.
    void choose_parts() {
        const int64_t wanted = args_.num_threads > 1 ? min_of(args_.num_threads * 4, 64) : 1;
        const int64_t affordable = max_of<int64_t>(1, (int64_t(1) << 24) / grid_.count());
        num_parts_ = max_of<int64_t>(1, min_of(min_of(wanted, affordable), bins_.splats.count / 512));
        cursors_.resize(num_parts_ * grid_.count());
    }

    // Calls body(splat number, splat, box) in depth order.
    template <class Body>
    S3D_INLINE void walk_part(int64_t part, const Body &body) const {
        constexpr int AHEAD = 12;
        const int64_t count = bins_.splats.count;
        const int64_t begin = count * part / num_parts_, end = count * (part + 1) / num_parts_;
        for (int64_t i = begin; i < end; ++i) {
            if (i + AHEAD < end) {
                __builtin_prefetch(&boxes_[order_[i + AHEAD].splat]);
                __builtin_prefetch(&bins_.splats[order_[i + AHEAD].splat]);
                __builtin_prefetch(&bins_.slot_starts[order_[i + AHEAD].splat]);
            }
            const int32_t splat = order_[i].splat;
            body(splat, bins_.splats[splat], boxes_[splat]);
        }
    }

    void count_tiles() {
        const int64_t count = bins_.splats.count;
        bins_.slot_starts.resize(count + 1);
        parallel_for(args_.num_threads, num_parts_, [&](int64_t part) {
            int64_t *counts = &cursors_[part * grid_.count()];
            memset(counts, 0, sizeof(int64_t) * grid_.count());
            walk_part(part, [&](int32_t index, const Splat &splat, const TileBox &box) {
                int64_t touched = 0;
                for_each_tile(splat, box, grid_, [&](int64_t tile) {
                    ++counts[tile];
                    ++touched;
                });
                bins_.slot_starts[index] = touched;
            });
        });
        int64_t position = 0;
        for (int64_t i = 0; i < count; ++i) {
            const int64_t touched = bins_.slot_starts[i];
            bins_.slot_starts[i] = position;
            position += touched;
        }
        bins_.slot_starts[count] = bins_.num_entries = position;
        if (position > ENTRIES_MAX) scene3d::throw_too_many_intersections();
    }

    void place_entries() {
        bins_.tile_starts.resize(grid_.count() + 1);
        int64_t position = 0;
        for (int64_t tile = 0; tile < grid_.count(); ++tile) {
            bins_.tile_starts[tile] = position;
            for (int64_t part = 0; part < num_parts_; ++part) {
                const int64_t here = cursors_[part * grid_.count() + tile];
                cursors_[part * grid_.count() + tile] = position;
                position += here;
            }
        }
        bins_.tile_starts[grid_.count()] = position;
        bins_.entries.resize(bins_.num_entries);
        parallel_for(args_.num_threads, num_parts_, [&](int64_t part) {
            int64_t *cursors = &cursors_[part * grid_.count()];
            walk_part(part, [&](int32_t index, const Splat &splat, const TileBox &box) {
                uint32_t slot = static_cast<uint32_t>(bins_.slot_starts[index]);
                for_each_tile(splat, box, grid_, [&](int64_t tile) {
                    bins_.entries[cursors[tile]++] = {index, slot++};
                });
            });
        });
    }

    const S3dBlend &args_;
    const int camera_;
    Bins &bins_;
    const TileGrid grid_;
    const DepthKey *order_ = nullptr;
    Buffer<TileBox> boxes_;
    int64_t num_parts_ = 1;
    Buffer<int64_t> cursors_;
};

}  // namespace SCENE3D_ISA_NS
