// Gradient of alpha blending, walking front to back like the forward pass.
//
// With v the gradient on the pixel and C what the pixel ended up as, R = v.C minus what has been added so far is all
// that must be known about the splats further back: dL/dalpha = T (c.v) - R / (1 - alpha), with R taken behind the
// splat. So no per-pixel lists are kept and nothing is divided by a transmittance.
#pragma once

#include "tile.h"

namespace SCENE3D_ISA_NS {

// What one tile says about one splat: moments of g = alpha * dL/dalpha over its pixels, in the (u, dy) axes of the
// splat, then the colour gradients, then for absgrad the two sums of absolute image gradients.
enum Moment { G, G_U, G_UU, G_Y, G_UY, G_YY, NUM_MOMENTS };

struct SlotLayout {
    int channels;
    bool absolute;
    int size() const { return NUM_MOMENTS + channels + (absolute ? 2 : 0); }
};

template <int CHANNELS, bool ABSOLUTE>
class BackwardTile {
  public:
    BackwardTile(const S3dBlend &args, const CameraState &state, int camera, int64_t tile, float *slots,
                 double *v_background)
        : args_(args), bins_(state.bins), grid_(args.width, args.height), frame_(tile, grid_), camera_(camera),
          first_(bins_.tile_starts[tile]), count_(bins_.tile_starts[tile + 1] - first_),
          channels_(CHANNELS > 0 ? CHANNELS : args.num_channels), slots_(slots) {
        read_pixels(state);
        if (v_background != nullptr) sum_background(state, v_background);
    }

    void run() {
        const int64_t size = SlotLayout{channels_, ABSOLUTE}.size();
        int64_t i = 0;
        update_alive(0);
        for (; i < count_; ++i) {
            if (i >= next_row_end_) update_alive(static_cast<int32_t>(i));
            if (alive_ == 0) break;
            walk(static_cast<int32_t>(i), slots_ + bins_.entries[first_ + i].slot * size);
        }
        for (; i < count_; ++i) memset(slots_ + bins_.entries[first_ + i].slot * size, 0, sizeof(float) * size);
    }

  private:
    void read_pixels(const CameraState &state) {
        const int64_t image = int64_t(camera_) * args_.width * args_.height;
        memset(v_color_, 0, sizeof(float) * TILE_PIXELS * channels_);
        for (int p = 0; p < TILE_PIXELS; ++p) transmittance_[p] = 1.0f, remaining_[p] = 0.0f, stop_[p] = 0;
        for (int row = 0; row < TILE_HEIGHT; ++row) row_end_[row] = 0;
        for (int row = 0; row < frame_.rows; ++row) {
            for (int column = 0; column < frame_.columns; ++column) {
                const int p = row * TILE_WIDTH + column;
                const int64_t pixel = frame_.pixel(grid_, row) + column;
                const float v_alpha = args_.v_alphas == nullptr ? 0.0f : args_.v_alphas[image + pixel];
                float rest = -v_alpha * state.transmittance[pixel];
                for (int k = 0; k < channels_ && args_.v_image != nullptr; ++k) {
                    const float v = args_.v_image[(image + pixel) * channels_ + k];
                    v_color_[k * TILE_PIXELS + p] = v;
                    rest += v * args_.image[(image + pixel) * channels_ + k];
                }
                remaining_[p] = rest;
                stop_[p] = state.stop[pixel];
                row_end_[row] = max_of(row_end_[row], stop_[p]);
            }
        }
    }

    void sum_background(const CameraState &state, double *v_background) {
        for (int k = 0; k < channels_; ++k) {
            double sum = 0;
            for (int row = 0; row < frame_.rows; ++row) {
                for (int column = 0; column < frame_.columns; ++column) {
                    const float left = state.transmittance[frame_.pixel(grid_, row) + column];
                    sum += static_cast<double>(left * v_color_[k * TILE_PIXELS + row * TILE_WIDTH + column]);
                }
            }
            v_background[k] = sum;
        }
    }

    // Rows whose pixels have all ended are left out until the next row ends.
    void update_alive(int32_t position) {
        alive_ = 0;
        next_row_end_ = NEVER;
        for (int row = 0; row < TILE_HEIGHT; ++row) {
            if (row_end_[row] <= position) continue;
            alive_ |= 1u << row;
            next_row_end_ = min_of(next_row_end_, row_end_[row]);
        }
    }

    S3D_INLINE void walk(int32_t position, float *slot) {
        const TileEntry entry = bins_.entries[first_ + position];
        if (position + 4 < count_) __builtin_prefetch(&bins_.splats[bins_.entries[first_ + position + 4].rank]);
        const Splat &source = bins_.splats[entry.rank];
        const SplatInTile splat(source, frame_);
        const float *color = &bins_.colors[int64_t(entry.rank) * channels_];
        vfloat moments[NUM_MOMENTS] = {};
        vfloat v_splat_color[CHANNELS > 0 ? CHANNELS : CHANNELS_MAX];
        for (int k = 0; k < channels_; ++k) v_splat_color[k] = broadcast(0.0f);
        vfloat absolute_x = broadcast(0.0f), absolute_y = broadcast(0.0f);
        const float schur_ratio = source.curve_y / source.curve_u;
        for (uint32_t rows = splat.rows & alive_; rows != 0; rows &= rows - 1) {
            const int row = __builtin_ctz(rows);
            for (int v = 0; v < VECTORS_PER_ROW; ++v) {
                const vfloat u = splat.dx[v] + splat.shift[row];
                const vfloat exponent = splat.budget[row] - splat.curve_u * (u * u);
                const int p = row * TILE_WIDTH + v * LANES;
                const vmask active = both(at_most(broadcast(LOG2_ALPHA_MIN), exponent),
                                          less(broadcast(position), load<vint>(stop_ + p)));
                if (!any(active)) continue;
                const vfloat raw = exp2_bounded(exponent);
                const vfloat alpha = smaller(raw, broadcast(ALPHA_MAX));
                const vfloat before = load(transmittance_ + p);
                const vfloat weight = keep(active, before * alpha);
                store(transmittance_ + p, before - weight);
                vfloat along = broadcast(0.0f); // c.v
                for (int k = 0; k < channels_; ++k) {
                    const vfloat v_pixel = load(v_color_ + k * TILE_PIXELS + p);
                    along += color[k] * v_pixel;
                    v_splat_color[k] += weight * v_pixel;
                }
                const vfloat added = weight * along;
                const vfloat rest = load(remaining_ + p) - added;
                store(remaining_ + p, rest);
                // At the clamp alpha no longer depends on anything but colour.
                const vmask moves = both(active, at_most(raw, broadcast(ALPHA_MAX)));
                const vfloat g = keep(moves, added - rest * (alpha / (1.0f - alpha)));
                const vfloat g_u = g * u;
                const float dy = splat.dy[row];
                moments[G] += g;
                moments[G_U] += g_u;
                moments[G_UU] += g_u * u;
                moments[G_Y] += g * dy;
                moments[G_UY] += g_u * dy;
                moments[G_YY] += g * (dy * dy);
                if (ABSOLUTE) {
                    // In units of the conic's first entry, which the sum over tiles puts back.
                    absolute_x += magnitude(g_u);
                    absolute_y += magnitude(g_u * source.slope + g * (schur_ratio * dy));
                }
            }
        }
        for (int m = 0; m < NUM_MOMENTS; ++m) slot[m] = sum_lanes(moments[m]);
        for (int k = 0; k < channels_; ++k) slot[NUM_MOMENTS + k] = sum_lanes(v_splat_color[k]);
        if (ABSOLUTE) {
            slot[NUM_MOMENTS + channels_] = sum_lanes(absolute_x);
            slot[NUM_MOMENTS + channels_ + 1] = sum_lanes(absolute_y);
        }
    }

    const S3dBlend &args_;
    const Bins &bins_;
    const TileGrid grid_;
    const TileFrame frame_;
    const int camera_;
    const int64_t first_, count_;
    const int channels_;
    float *const slots_;
    uint32_t alive_ = 0;
    int32_t next_row_end_ = 0;
    int32_t row_end_[TILE_HEIGHT];
    alignas(64) float transmittance_[TILE_PIXELS];
    alignas(64) float remaining_[TILE_PIXELS]; // R above
    alignas(64) int32_t stop_[TILE_PIXELS];
    alignas(64) float v_color_[TILE_PIXELS * (CHANNELS > 0 ? CHANNELS : CHANNELS_MAX)];
};

// Adds up a splat's slots in tile order and turns the moments into gradients.
class SlotSum {
  public:
    SlotSum(const S3dBlend &args, int camera, const Bins &bins, const float *slots, SlotLayout layout)
        : args_(args), first_(int64_t(camera) * args.num_gaussians), bins_(bins), slots_(slots), layout_(layout) {}

    void clear() const {
        const int64_t n = args_.num_gaussians;
        clear_part(args_.v_means2d, 2 * n), clear_part(args_.v_conics, 3 * n), clear_part(args_.v_opacities, n);
        clear_part(args_.v_colors, args_.num_channels * n), clear_part(args_.v_means2d_abs, 2 * n);
    }

    void run(int64_t rank) const {
        double sums[NUM_MOMENTS + CHANNELS_MAX + 2] = {};
        const int size = layout_.size();
        for (int64_t slot = bins_.slot_starts[rank]; slot < bins_.slot_starts[rank + 1]; ++slot) {
            for (int k = 0; k < size; ++k) sums[k] += static_cast<double>(slots_[slot * size + k]);
        }
        const Splat &splat = bins_.splats[rank];
        const int64_t i = first_ + splat.gaussian;
        if (splat.reach_y < 0.0f) return;
        write_geometry(i, splat, sums);
        if (args_.v_opacities != nullptr) args_.v_opacities[i] = float(sums[G] / double(args_.opacities[i]));
        for (int k = 0; k < layout_.channels && args_.v_colors != nullptr; ++k) {
            args_.v_colors[i * layout_.channels + k] = float(sums[NUM_MOMENTS + k]);
        }
    }

  private:
    void clear_part(float *base, int64_t count) const {
        if (base == nullptr) return;
        float *const begin = base + first_ / max_of<int64_t>(args_.num_gaussians, 1) * count;
        parallel_chunks(args_.num_threads, count, 1 << 18, [&](int64_t, int64_t from, int64_t to) {
            memset(begin + from, 0, sizeof(float) * (to - from));
        });
    }

    void write_geometry(int64_t i, const Splat &splat, const double *sums) const {
        const double a = args_.conics[i * 3], b = args_.conics[i * 3 + 1], k = splat.slope;
        const double schur = splat.curve_y / (0.5 * LOG2_E);
        if (args_.v_means2d != nullptr) {
            args_.v_means2d[i * 2] = float(a * sums[G_U]);
            args_.v_means2d[i * 2 + 1] = float(b * sums[G_U] + schur * sums[G_Y]);
        }
        if (args_.v_conics != nullptr) {
            // dx = u - slope * dy
            const double g_xy = sums[G_UY] - k * sums[G_YY];
            const double g_xx = sums[G_UU] - 2 * k * sums[G_UY] + k * k * sums[G_YY];
            args_.v_conics[i * 3] = float(-0.5 * g_xx);
            args_.v_conics[i * 3 + 1] = float(-g_xy);
            args_.v_conics[i * 3 + 2] = float(-0.5 * sums[G_YY]);
        }
        if (layout_.absolute && args_.v_means2d_abs != nullptr) {
            args_.v_means2d_abs[i * 2] = float(a * sums[NUM_MOMENTS + layout_.channels]);
            args_.v_means2d_abs[i * 2 + 1] = float(a * sums[NUM_MOMENTS + layout_.channels + 1]);
        }
    }

    const S3dBlend &args_;
    const int64_t first_;
    const Bins &bins_;
    const float *slots_;
    const SlotLayout layout_;
};

template <int CHANNELS, bool ABSOLUTE>
void blend_camera_backward_of(const S3dBlend &args, int camera, const CameraState &state) {
    const TileGrid grid(args.width, args.height);
    const SlotLayout layout = {args.num_channels, ABSOLUTE};
    const bool wants_background = args.v_backgrounds != nullptr;
    Buffer<float> slots(state.bins.num_entries * layout.size());
    Buffer<double> v_background(wants_background ? grid.count() * args.num_channels : 0);
    parallel_for(args.num_threads, grid.count(), [&](int64_t tile) {
        double *v = wants_background ? &v_background[tile * args.num_channels] : nullptr;
        BackwardTile<CHANNELS, ABSOLUTE>(args, state, camera, tile, slots.get(), v).run();
    });
    const SlotSum sum(args, camera, state.bins, slots.get(), layout);
    sum.clear();
    parallel_chunks(args.num_threads, state.bins.num_visible, 1024, [&](int64_t, int64_t begin, int64_t end) {
        for (int64_t rank = begin; rank < end; ++rank) sum.run(rank);
    });
    for (int k = 0; k < args.num_channels && wants_background; ++k) {
        double total = 0;
        for (int64_t tile = 0; tile < grid.count(); ++tile) total += v_background[tile * args.num_channels + k];
        args.v_backgrounds[camera * args.num_channels + k] = static_cast<float>(total);
    }
}

template <bool ABSOLUTE>
void blend_camera_backward_with(const S3dBlend &args, int camera, const CameraState &state) {
    switch (args.num_channels) {
        case 1: return blend_camera_backward_of<1, ABSOLUTE>(args, camera, state);
        case 3: return blend_camera_backward_of<3, ABSOLUTE>(args, camera, state);
        case 4: return blend_camera_backward_of<4, ABSOLUTE>(args, camera, state);
        default: return blend_camera_backward_of<0, ABSOLUTE>(args, camera, state);
    }
}

inline void blend_camera_backward(const S3dBlend &args, int camera, const CameraState &state) {
    if (args.v_means2d_abs != nullptr) {
        blend_camera_backward_with<true>(args, camera, state);
    } else {
        blend_camera_backward_with<false>(args, camera, state);
    }
}

}  // namespace SCENE3D_ISA_NS
