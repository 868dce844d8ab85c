// Alpha-blends the tiles' lists front to back.
#pragma once

#include "tile.h"

namespace SCENE3D_ISA_NS {

// Weight of a splat in a tile, for the optional statistics.
struct WeightSlot {
    float sum, max;
};

// One tile being blended. CHANNELS is 0 when their number is known at run time only.
template <int CHANNELS, bool EXTRAS>
class ForwardTile {
  public:
    ForwardTile(const S3dBlend &args, const CameraState &state, int camera, int64_t tile, WeightSlot *weights)
        : args_(args), bins_(state.bins), state_(state), grid_(args.width, args.height), frame_(tile, grid_),
          camera_(camera), first_(bins_.tile_starts[tile]), count_(bins_.tile_starts[tile + 1] - first_),
          num_channels_(args.num_channels), weights_(weights) {
        for (int row = 0; row < TILE_HEIGHT; ++row) {
            for (int column = 0; column < TILE_WIDTH; ++column) {
                const int p = row * TILE_WIDTH + column;
                const bool inside = row < frame_.rows && column < frame_.columns;
                // A pixel's transmittance turns negative when nothing more may be added.
                transmittance_[p] = inside ? 1.0f : -1.0f;
                coverage_[p] = 0.0f;
                stop_[p] = NEVER;
                if (EXTRAS) median_[p] = 0.0f;
            }
        }
        memset(color_, 0, sizeof(float) * TILE_PIXELS * channels());
        for (uint32_t &rows : alive_) rows = static_cast<uint32_t>((uint64_t{1} << frame_.rows) - 1);
    }

    void run() {
        SplatInTile placed[2];
        int64_t i = 0;
        if (count_ > 0) placed[0].place(bins_.splats[entry(0).splat], frame_);
        for (; i < count_ && any_alive(); ++i) {
            if (i + 8 < count_) __builtin_prefetch(&bins_.splats[entry(i + 8).splat]);
            if (i + 1 < count_) placed[(i + 1) & 1].place(bins_.splats[entry(i + 1).splat], frame_);
            add(static_cast<int32_t>(i), placed[i & 1]);
        }
        if (EXTRAS && weights_ != nullptr) {
            for (; i < count_; ++i) weights_[entry(i).slot] = {0.0f, 0.0f};
        }
        write();
    }

  private:
    S3D_INLINE int channels() const { return CHANNELS > 0 ? CHANNELS : num_channels_; }

    S3D_INLINE bool any_alive() const {
        uint32_t rows = 0;
        for (int v = 0; v < VECTORS_PER_ROW; ++v) rows |= alive_[v];
        return rows != 0;
    }

    S3D_INLINE const TileEntry &entry(int64_t i) const { return bins_.entries[first_ + i]; }

    S3D_INLINE void add(int32_t position, const SplatInTile &splat) {
        const TileEntry current = entry(position);
        const float *color = bins_.splats.color(current.splat);
        vfloat weight_sum = broadcast(0.0f), weight_max = broadcast(0.0f);
        for (int v = 0; v < VECTORS_PER_ROW; ++v) {
            for (uint32_t rows = splat.rows[v] & alive_[v]; rows != 0; rows &= rows - 1) {
                const int row = __builtin_ctz(rows), p = row * TILE_WIDTH + v * LANES;
                const vfloat u = splat.dx[v] + splat.shift[row];
                const vfloat exponent = splat.budget[row] - splat.curve_u * (u * u);
                const vfloat before = load(transmittance_ + p);
                const vmask active = both(at_most(broadcast(LOG2_ALPHA_MIN), exponent), less(broadcast(0.0f), before));
                const vfloat alpha = smaller(exp2_bounded(exponent), broadcast(ALPHA_MAX));
                vfloat weight = keep(active, before * alpha);
                vfloat after = before - weight;
                const vmask ends = both(active, at_most(after, broadcast(TRANSMITTANCE_MIN)));
                if (any(ends)) {
                    // The splat itself is not added to the pixels it ends.
                    weight = keep(but_not(active, ends), weight);
                    after = select(ends, -before, before - weight);
                    store(stop_ + p, select(ends, broadcast(position), load<vint>(stop_ + p)));
                    if (!any(less(broadcast(0.0f), after))) alive_[v] &= ~(1u << row);
                }
                store(transmittance_ + p, after);
                store(coverage_ + p, load(coverage_ + p) + weight);
                for (int k = 0; k < channels(); ++k) {
                    float *sum = color_ + k * TILE_PIXELS + p;
                    store(sum, load(sum) + color[k] * weight);
                }
                if (EXTRAS) {
                    weight_sum += weight;
                    weight_max = larger(weight_max, weight);
                    note_median(p, before, after, current.splat);
                }
            }
        }
        if (EXTRAS && weights_ != nullptr) weights_[current.slot] = {sum_lanes(weight_sum), max_lanes(weight_max)};
    }

    S3D_INLINE void note_median(int p, vfloat before, vfloat after, int32_t splat) {
        if (args_.median_depth == nullptr) return;
        // `after` is negative where the pixel has just ended without the splat.
        const vmask crosses = both(less(broadcast(0.5f), before),
                                   both(at_most(after, broadcast(0.5f)), less(broadcast(0.0f), after)));
        if (!any(crosses)) return;
        const int64_t gaussian = int64_t(camera_) * args_.num_gaussians + bins_.splats.gaussians[splat];
        store(median_ + p, select(crosses, broadcast(args_.depths[gaussian]), load(median_ + p)));
    }

    void write() {
        const int64_t image = int64_t(camera_) * args_.width * args_.height;
        const float *background = args_.backgrounds == nullptr ? nullptr : args_.backgrounds + camera_ * channels();
        for (int row = 0; row < frame_.rows; ++row) {
            const int64_t pixel = frame_.pixel(grid_, row);
            const int p = row * TILE_WIDTH;
            for (int column = 0; column < TILE_WIDTH; column += LANES) {
                store(transmittance_ + p + column, magnitude(load(transmittance_ + p + column)));
            }
            copy_row(transmittance_ + p, state_.transmittance.get() + pixel);
            copy_row(stop_ + p, state_.stop.get() + pixel);
            if (EXTRAS && args_.median_depth != nullptr) copy_row(median_ + p, args_.median_depth + image + pixel);
            float *alphas = args_.alphas + image + pixel;
            for (int column = 0; column < frame_.columns; ++column) {
                // 1 - transmittance has few digits where little is covered, and expected depth divides by it.
                const float left = transmittance_[p + column];
                alphas[column] = left > 0.5f ? coverage_[p + column] : 1.0f - left;
            }
            write_colors(p, background, args_.image + (image + pixel) * channels());
        }
    }

    template <class T>
    S3D_INLINE void copy_row(const T *from, T *to) const {
        memcpy(to, from, sizeof(T) * frame_.columns);
    }

    S3D_INLINE void write_colors(int p, const float *background, float *out) const {
        const int columns = frame_.columns, num_channels = channels();
        for (int k = 0; k < num_channels; ++k) {
            const float *color = color_ + k * TILE_PIXELS + p, *left = transmittance_ + p;
            const float behind = background == nullptr ? 0.0f : background[k];
            for (int column = 0; column < columns; ++column) {
                out[column * num_channels + k] = color[column] + left[column] * behind;
            }
        }
    }

    const S3dBlend &args_;
    const Bins &bins_;
    const CameraState &state_;
    const TileGrid grid_;
    const TileFrame frame_;
    const int camera_;
    const int64_t first_, count_;
    const int num_channels_;
    WeightSlot *const weights_;
    uint32_t alive_[VECTORS_PER_ROW]; // bit per row that still has a pixel to fill
    alignas(64) float transmittance_[TILE_PIXELS];
    alignas(64) float coverage_[TILE_PIXELS]; // sum of the weights
    alignas(64) int32_t stop_[TILE_PIXELS];
    alignas(64) float median_[EXTRAS ? TILE_PIXELS : 1];
    alignas(64) float color_[TILE_PIXELS * (CHANNELS > 0 ? CHANNELS : CHANNELS_MAX)];
};

inline void sum_weights(const S3dBlend &args, int camera, const Bins &bins, const WeightSlot *slots) {
    const int64_t first = int64_t(camera) * args.num_gaussians;
    memset(args.weight_sum + first, 0, sizeof(float) * args.num_gaussians);
    memset(args.weight_max + first, 0, sizeof(float) * args.num_gaussians);
    parallel_chunks(args.num_threads, bins.splats.count, 4096, [&](int64_t, int64_t begin, int64_t end) {
        for (int64_t splat = begin; splat < end; ++splat) {
            double sum = 0;
            float best = 0;
            for (int64_t slot = bins.slot_starts[splat]; slot < bins.slot_starts[splat + 1]; ++slot) {
                sum += static_cast<double>(slots[slot].sum);
                best = max_of(best, slots[slot].max);
            }
            args.weight_sum[first + bins.splats.gaussians[splat]] = static_cast<float>(sum);
            args.weight_max[first + bins.splats.gaussians[splat]] = best;
        }
    });
}

template <int CHANNELS, bool EXTRAS>
void blend_camera_of(const S3dBlend &args, int camera, CameraState &state) {
    const TileGrid grid(args.width, args.height);
    const bool wants_weights = args.weight_sum != nullptr;
    Buffer<WeightSlot> weights(wants_weights ? state.bins.num_entries : 0);
    parallel_for(args.num_threads, grid.count(), [&](int64_t tile) {
        ForwardTile<CHANNELS, EXTRAS>(args, state, camera, tile, weights.get()).run();
    });
    if (wants_weights) sum_weights(args, camera, state.bins, weights.get());
}

template <bool EXTRAS>
void blend_camera_with(const S3dBlend &args, int camera, CameraState &state) {
    switch (args.num_channels) {
        case 1: return blend_camera_of<1, EXTRAS>(args, camera, state);
        case 3: return blend_camera_of<3, EXTRAS>(args, camera, state);
        case 4: return blend_camera_of<4, EXTRAS>(args, camera, state);
        default: return blend_camera_of<0, EXTRAS>(args, camera, state);
    }
}

inline void blend_camera(const S3dBlend &args, int camera, CameraState &state) {
    Binning(args, camera, state.bins).run();
    const int64_t num_pixels = int64_t(args.width) * args.height;
    state.transmittance.resize(num_pixels);
    state.stop.resize(num_pixels);
    const bool extras = args.weight_sum != nullptr || args.median_depth != nullptr;
    if (extras) {
        blend_camera_with<true>(args, camera, state);
    } else {
        blend_camera_with<false>(args, camera, state);
    }
}

}  // namespace SCENE3D_ISA_NS
