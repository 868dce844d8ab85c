// Which splats touch which tile, each tile's list in depth order.
#pragma once

#include "depth_sort.h"
#include "splat.h"

namespace SCENE3D_ISA_NS {

// One splat in one tile. `slot` numbers the pairs splat by splat, so that what tiles write about a splat lies side by
// side and is added up in an order no thread can change.
struct TileEntry {
    int32_t rank;
    uint32_t slot;
};

// Everything about one camera that blending reads, forward and backward.
struct Bins {
    int64_t num_visible = 0;
    int64_t num_entries = 0;
    Buffer<Splat> splats;         // by rank: near to far
    Buffer<float> colors;         // [rank, channels]
    Buffer<int64_t> slot_starts;  // [rank + 1]
    Buffer<int64_t> tile_starts;  // [tile + 1]
    Buffer<TileEntry> entries;
};

// Slots are 32 bit wide.
constexpr int64_t ENTRIES_MAX = 0xffffffffll;

class Binning {
  public:
    Binning(const S3dBlend &args, int camera, Bins &bins)
        : args_(args), first_(int64_t(camera) * args.num_gaussians), bins_(bins), grid_(args.width, args.height) {}

    void run() {
        Buffer<int32_t> order;
        bins_.num_visible = sort_visible(args_.radii + first_ * 2, args_.depths + first_, args_.num_gaussians,
                                         args_.num_threads, order);
        make_splats(order.get());
        choose_parts();
        count_tiles();
        place_entries();
    }

  private:
    void make_splats(const int32_t *order) {
        const int d = args_.num_channels;
        bins_.splats.resize(bins_.num_visible);
        bins_.colors.resize(bins_.num_visible * d);
        parallel_chunks(args_.num_threads, bins_.num_visible, 2048, [&](int64_t, int64_t begin, int64_t end) {
            for (int64_t rank = begin; rank < end; ++rank) {
                const int64_t i = first_ + order[rank];
                const float *color = args_.colors + i * d;
                bins_.splats[rank] = make_splat(args_.means2d + i * 2, args_.conics + i * 3, args_.opacities[i],
                                                args_.radii + i * 2, color, d, order[rank]);
                for (int k = 0; k < d; ++k) bins_.colors[rank * d + k] = color[k];
            }
        });
    }

    // Parts are runs of ranks; more of them than threads, because near splats cover more tiles.
    void choose_parts() {
        const int64_t wanted = args_.num_threads > 1 ? min_of(args_.num_threads * 4, 64) : 1;
        const int64_t affordable = max_of<int64_t>(1, (int64_t(1) << 24) / grid_.count());
        num_parts_ = max_of<int64_t>(1, min_of(min_of(wanted, affordable), bins_.num_visible / 512));
        cursors_.resize(num_parts_ * grid_.count());
    }
    int64_t part_begin(int64_t part) const { return bins_.num_visible * part / num_parts_; }
    float radius_x(const Splat &splat) const {
        return static_cast<float>(args_.radii[(first_ + splat.gaussian) * 2]);
    }

    void count_tiles() {
        bins_.slot_starts.resize(bins_.num_visible + 1);
        parallel_for(args_.num_threads, num_parts_, [&](int64_t part) {
            int64_t *counts = &cursors_[part * grid_.count()];
            memset(counts, 0, sizeof(int64_t) * grid_.count());
            for (int64_t rank = part_begin(part); rank < part_begin(part + 1); ++rank) {
                const Splat &splat = bins_.splats[rank];
                int64_t touched = 0;
                for_each_tile(splat, radius_x(splat), grid_, [&](int64_t tile) {
                    ++counts[tile];
                    ++touched;
                });
                bins_.slot_starts[rank + 1] = touched;
            }
        });
        bins_.slot_starts[0] = 0;
        for (int64_t rank = 0; rank < bins_.num_visible; ++rank) bins_.slot_starts[rank + 1] += bins_.slot_starts[rank];
        bins_.num_entries = bins_.slot_starts[bins_.num_visible];
        if (bins_.num_entries > ENTRIES_MAX) scene3d::throw_too_many_intersections();
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
            for (int64_t rank = part_begin(part); rank < part_begin(part + 1); ++rank) {
                const Splat &splat = bins_.splats[rank];
                uint32_t slot = static_cast<uint32_t>(bins_.slot_starts[rank]);
                for_each_tile(splat, radius_x(splat), grid_, [&](int64_t tile) {
                    bins_.entries[cursors[tile]++] = {static_cast<int32_t>(rank), slot++};
                });
            }
        });
    }

    const S3dBlend &args_;
    const int64_t first_;
    Bins &bins_;
    const TileGrid grid_;
    int64_t num_parts_ = 1;
    Buffer<int64_t> cursors_;
};

}  // namespace SCENE3D_ISA_NS
