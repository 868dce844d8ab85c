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

constexpr int PREFETCHED_ROWS = 4;
constexpr int FLOATS_PER_CACHE_LINE = 16;

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
          num_channels_(args.num_channels), slots_(slots), slot_size_(SlotLayout{args.num_channels, ABSOLUTE}.size()) {
        read_pixels(state);
        if (v_background != nullptr) sum_background(state, v_background);
    }

    void run() {
        SplatInTile placed[2];
        int64_t i = 0;
        update_alive(0);
        if (count_ > 0) placed[0].place(bins_.splats[entry(0).splat], frame_);
        for (; i < count_; ++i) {
            if (i >= next_row_end_) update_alive(static_cast<int32_t>(i));
            if (!any_alive_) break;
            if (i + 8 < count_) __builtin_prefetch(&bins_.splats[entry(i + 8).splat]);
            if (i + 1 < count_) placed[(i + 1) & 1].place(bins_.splats[entry(i + 1).splat], frame_);
            walk(static_cast<int32_t>(i), placed[i & 1]);
        }
        for (; i < count_; ++i) memset(slots_ + entry(i).slot * int64_t(slot_size_), 0, sizeof(float) * slot_size_);
    }

  private:
    S3D_INLINE int channels() const { return CHANNELS > 0 ? CHANNELS : num_channels_; }

    void read_pixels(const CameraState &state) {
        const int64_t image = int64_t(camera_) * args_.width * args_.height;
        memset(v_color_, 0, sizeof(float) * TILE_PIXELS * channels());
        memset(remaining_, 0, sizeof remaining_);
        memset(stop_, 0, sizeof stop_);
        memset(row_end_, 0, sizeof row_end_);
        for (int p = 0; p < TILE_PIXELS; ++p) transmittance_[p] = 1.0f;
        for (int row = 0; row < PREFETCHED_ROWS; ++row) prefetch_colors(image, row);
        for (int row = 0; row < frame_.rows; ++row) {
            prefetch_colors(image, row + PREFETCHED_ROWS);
            const int64_t pixel = frame_.pixel(grid_, row);
            const int p = row * TILE_WIDTH;
            memcpy(stop_ + p, state.stop.get() + pixel, sizeof(int32_t) * frame_.columns);
            if (args_.v_alphas != nullptr) {
                const float *v_alphas = args_.v_alphas + image + pixel, *left = state.transmittance.get() + pixel;
                for (int column = 0; column < frame_.columns; ++column) {
                    remaining_[p + column] = -v_alphas[column] * left[column];
                }
            }
            if (args_.v_image != nullptr) read_colors(p, (image + pixel) * channels());
            for (int column = 0; column < frame_.columns; ++column) {
                int32_t &end = row_end_[column / LANES][row];
                end = max_of(end, stop_[p + column]);
            }
        }
    }

    // A tile's rows lie pages apart, which the processor does not foresee.
    S3D_INLINE void prefetch_colors(int64_t image, int row) const {
        if (args_.v_image == nullptr || row >= frame_.rows) return;
        const int64_t offset = (image + frame_.pixel(grid_, row)) * channels();
        for (int k = 0; k < frame_.columns * channels(); k += FLOATS_PER_CACHE_LINE) {
            __builtin_prefetch(args_.v_image + offset + k);
            __builtin_prefetch(args_.image + offset + k);
        }
    }

    S3D_INLINE void read_colors(int p, int64_t offset) {
        const float *v_image = args_.v_image + offset, *image = args_.image + offset;
        const int columns = frame_.columns, num_channels = channels();
        for (int k = 0; k < num_channels; ++k) {
            float *v_color = v_color_ + k * TILE_PIXELS + p, *remaining = remaining_ + p;
            for (int column = 0; column < columns; ++column) {
                const float v = v_image[column * num_channels + k];
                v_color[column] = v;
                remaining[column] += v * image[column * num_channels + k];
            }
        }
    }

    void sum_background(const CameraState &state, double *v_background) {
        for (int k = 0; k < channels(); ++k) {
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
        next_row_end_ = NEVER;
        any_alive_ = false;
        for (int v = 0; v < VECTORS_PER_ROW; ++v) {
            alive_[v] = 0;
            for (int row = 0; row < TILE_HEIGHT; ++row) {
                if (row_end_[v][row] <= position) continue;
                alive_[v] |= 1u << row;
                next_row_end_ = min_of(next_row_end_, row_end_[v][row]);
                any_alive_ = true;
            }
        }
    }

    S3D_INLINE const TileEntry &entry(int64_t i) const { return bins_.entries[first_ + i]; }

    S3D_INLINE void walk(int32_t position, const SplatInTile &splat) {
        const TileEntry current = entry(position);
        const Splat &source = bins_.splats[current.splat];
        const float *color = bins_.splats.color(current.splat);
        vfloat moments[NUM_MOMENTS] = {};
        vfloat v_splat_color[CHANNELS > 0 ? CHANNELS : CHANNELS_MAX];
        for (int k = 0; k < channels(); ++k) v_splat_color[k] = broadcast(0.0f);
        vfloat absolute_x = broadcast(0.0f), absolute_y = broadcast(0.0f);
        const float schur_ratio = source.curve_y / source.curve_u;
        for (int v = 0; v < VECTORS_PER_ROW; ++v) {
            for (uint32_t rows = splat.rows[v] & alive_[v]; rows != 0; rows &= rows - 1) {
                const int row = __builtin_ctz(rows), p = row * TILE_WIDTH + v * LANES;
                const vfloat u = splat.dx[v] + splat.shift[row];
                const vfloat exponent = splat.budget[row] - splat.curve_u * (u * u);
                const vmask active = both(at_most(broadcast(LOG2_ALPHA_MIN), exponent),
                                          less(broadcast(position), load<vint>(stop_ + p)));
                const vfloat raw = exp2_bounded(exponent);
                const vfloat alpha = smaller(raw, broadcast(ALPHA_MAX));
                const vfloat before = load(transmittance_ + p);
                const vfloat weight = keep(active, before * alpha);
                store(transmittance_ + p, before - weight);
                vfloat along = broadcast(0.0f); // c.v
                for (int k = 0; k < channels(); ++k) {
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
        vfloat sums[(SLOT_VECTORS + 3) / 4 * 4];
        for (int m = 0; m < NUM_MOMENTS; ++m) sums[m] = moments[m];
        for (int k = 0; k < channels(); ++k) sums[NUM_MOMENTS + k] = v_splat_color[k];
        if (ABSOLUTE) sums[slot_size_ - 2] = absolute_x, sums[slot_size_ - 1] = absolute_y;
        store_sums(sums, CHANNELS > 0 ? SLOT_VECTORS : slot_size_, slots_ + current.slot * int64_t(slot_size_));
    }

    // Vectors are summed four at a time, which shares the shuffles.
    S3D_INLINE static void store_sums(const vfloat *sums, int count, float *slot) {
        int k = 0;
        for (; k + 4 <= count; k += 4) sum_four(sums[k], sums[k + 1], sums[k + 2], sums[k + 3], slot + k);
        for (; k < count; ++k) slot[k] = sum_lanes(sums[k]);
    }

    static constexpr int SLOT_VECTORS = NUM_MOMENTS + (CHANNELS > 0 ? CHANNELS : CHANNELS_MAX) + (ABSOLUTE ? 2 : 0);

    const S3dBlend &args_;
    const Bins &bins_;
    const TileGrid grid_;
    const TileFrame frame_;
    const int camera_;
    const int64_t first_, count_;
    const int num_channels_;
    float *const slots_;
    const int slot_size_;
    bool any_alive_ = false;
    uint32_t alive_[VECTORS_PER_ROW];
    int32_t next_row_end_ = 0;
    int32_t row_end_[VECTORS_PER_ROW][TILE_HEIGHT]; // list position behind which no pixel there is open
    alignas(64) float transmittance_[TILE_PIXELS];
    alignas(64) float remaining_[TILE_PIXELS]; // R above
    alignas(64) int32_t stop_[TILE_PIXELS];
    alignas(64) float v_color_[TILE_PIXELS * (CHANNELS > 0 ? CHANNELS : CHANNELS_MAX)];
};

// Adds up a splat's slots in their order and turns the moments into gradients.
class SlotSum {
  public:
    SlotSum(const S3dBlend &args, int camera, const Bins &bins, const float *slots, SlotLayout layout)
        : args_(args), first_(int64_t(camera) * args.num_gaussians), bins_(bins), slots_(slots), layout_(layout) {}

    // Writes the rows of the splats [begin, end) and of all culled Gaussians in front of each of them.
    void run(int64_t begin, int64_t end) const {
        int64_t row = begin == 0 ? 0 : bins_.splats.gaussians[begin];
        for (int64_t splat = begin; splat < end; ++splat) {
            const int64_t gaussian = bins_.splats.gaussians[splat];
            clear(row, gaussian);
            write(splat, first_ + gaussian);
            row = gaussian + 1;
        }
        clear(row, end == bins_.splats.count ? args_.num_gaussians : bins_.splats.gaussians[end]);
    }

  private:
    void clear(int64_t from, int64_t to) const {
        if (from == to) return;
        clear_part(args_.v_means2d, 2, from, to), clear_part(args_.v_conics, 3, from, to);
        clear_part(args_.v_opacities, 1, from, to), clear_part(args_.v_colors, args_.num_channels, from, to);
        clear_part(args_.v_means2d_abs, 2, from, to);
    }
    void clear_part(float *base, int width, int64_t from, int64_t to) const {
        if (base != nullptr) memset(base + (first_ + from) * width, 0, sizeof(float) * width * (to - from));
    }

    void write(int64_t splat, int64_t i) const {
        const int64_t slot_begin = bins_.slot_starts[splat], slot_end = bins_.slot_starts[splat + 1];
        // One that touches no tile may be poisoned, and zero times NaN is NaN.
        if (slot_begin == slot_end) return clear(i - first_, i - first_ + 1);
        double sums[NUM_MOMENTS + CHANNELS_MAX + 2];
        const int size = layout_.size();
        for (int k = 0; k < size; ++k) sums[k] = 0;
        for (int64_t slot = slot_begin; slot < slot_end; ++slot) {
            for (int k = 0; k < size; ++k) sums[k] += static_cast<double>(slots_[slot * size + k]);
        }
        write_geometry(i, bins_.splats[splat], sums);
        if (args_.v_opacities != nullptr) args_.v_opacities[i] = float(sums[G] / double(args_.opacities[i]));
        for (int k = 0; k < layout_.channels && args_.v_colors != nullptr; ++k) {
            args_.v_colors[i * layout_.channels + k] = float(sums[NUM_MOMENTS + k]);
        }
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
    if (state.bins.splats.count == 0) sum.run(0, 0);
    parallel_chunks(args.num_threads, state.bins.splats.count, 1024,
                    [&](int64_t, int64_t begin, int64_t end) { sum.run(begin, end); });
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
