// Visible Gaussians of one camera as the blending loops want them.
#pragma once

#include "abi.h"
#include "depth_sort.h"

namespace SCENE3D_ISA_NS {

constexpr int TILE_WIDTH = 16;
constexpr int TILE_HEIGHT = 32;
constexpr int TILE_PIXELS = TILE_WIDTH * TILE_HEIGHT;
constexpr float ALPHA_MIN = 1.0f / 255.0f;
constexpr float ALPHA_MAX = 0.99f;
constexpr float TRANSMITTANCE_MIN = 1e-4f;
constexpr float LOG2_ALPHA_MIN = -7.99435344f;
constexpr float LOG2_E = 1.44269504f;
// Bounds are made this much too wide, in log2 of alpha and in pixels: a tile or row too many costs a little time, one
// too few a visible line.
constexpr float BUDGET_SLACK = 1e-4f;
constexpr float REACH_SLACK = 2e-3f;

// With the conic's Cholesky factor, sigma = a/2 * u^2 + s/2 * dy^2 where u = dx + slope * dy: both terms are positive,
// so a long thin Gaussian keeps its digits, and alpha = 2^(log2_opacity - curve_u * u^2 - curve_y * dy^2) has its
// opacity folded in.
struct Splat {
    float x, y;
    float slope;            // b / a
    float curve_u, curve_y; // a/2 and s/2 with s = c - b^2/a, in units of log2
    float log2_opacity;
    float reach_x, reach_y; // half size of the box around the ellipse alpha = 1/255
};

constexpr int SPLAT_FLOATS = sizeof(Splat) / sizeof(float);

// The tiles that the box of a splat touches, ends excluded; all zero for a splat that cannot be drawn.
struct TileBox {
    uint16_t left, right, top, bottom;
};

struct TileGrid {
    int width, height, across, down;
    TileGrid(int image_width, int image_height)
        : width(image_width), height(image_height), across((image_width + TILE_WIDTH - 1) / TILE_WIDTH),
          down((image_height + TILE_HEIGHT - 1) / TILE_HEIGHT) {}
    int64_t count() const { return int64_t(across) * down; }
};

// Splats lie in the order of their Gaussians, each followed by its colour.
struct Splats {
    int64_t count = 0;
    int64_t stride = 0;         // floats from one splat to the next
    Buffer<float> records;
    Buffer<int32_t> gaussians;

    const Splat &operator[](int64_t i) const { return *reinterpret_cast<const Splat *>(&records[i * stride]); }
    const float *color(int64_t i) const { return &records[i * stride + SPLAT_FLOATS]; }
};

// Pixels i with low <= i + 0.5 <= high, cut to [0, size), as whole tiles [first, end). Cut before the conversion: a
// huge Gaussian's box does not fit an int.
S3D_INLINE void tile_range(vfloat low, vfloat high, int size, int tile_size, vint &first, vint &end) {
    const vfloat cut_low = larger(low - 0.5f, broadcast(0.0f)), cut_high = smaller(high - 0.5f, broadcast(size - 1.0f));
    const vint truncated = __builtin_convertvector(cut_low, vint);
    const vint first_pixel = truncated + select(less(__builtin_convertvector(truncated, vfloat), cut_low),
                                                broadcast(int32_t{1}), broadcast(int32_t{0}));
    const vint last_pixel = __builtin_convertvector(cut_high, vint);
    const vmask some = but_not(at_most(broadcast(0.0f), cut_high), less(last_pixel, first_pixel));
    first = select(some, first_pixel / tile_size, broadcast(int32_t{0}));
    end = select(some, last_pixel / tile_size + 1, broadcast(int32_t{0}));
}

// c - b^2 / a without cancellation, for every lane. Rounding of the three inputs can make an extremely thin ellipse
// flat; it then keeps a trace of curvature, and its box bounds it.
S3D_INLINE vfloat schur_complement(const vfloat (&conic)[3]) {
    alignas(64) float a[LANES], b[LANES], c[LANES];
    store(a, conic[0]), store(b, conic[1]), store(c, conic[2]);
    for (int lane = 0; lane < LANES; ++lane) {
        const double exact = double(c[lane]) - double(b[lane]) * double(b[lane]) / double(a[lane]);
        const double least = 1e-7 * double(c[lane]);
        c[lane] = static_cast<float>(exact > least ? exact : least);
    }
    return load(c);
}

class SplatMaker {
  public:
    SplatMaker(const S3dBlend &args, int camera, Splats &splats, TileBox *boxes)
        : args_(args), first_(int64_t(camera) * args.num_gaussians), splats_(splats), boxes_(boxes) {}

    // Makes the splats [index, index + group.count).
    S3D_INLINE void make(const RowGroup &group, int64_t index) const {
        vfloat mean[2], conic[3], opacity[1];
        load_rows(args_.means2d + first_ * 2, group, mean);
        load_rows(args_.conics + first_ * 3, group, conic);
        load_rows(args_.opacities + first_, group, opacity);
        const vfloat poison = copy_colors(group, index) + mean[0] + mean[1] + conic[0] + conic[1] + conic[2];
        const vfloat zero = broadcast(0.0f);
        const vmask sound = both(is_finite(poison + opacity[0]), at_most(broadcast(ALPHA_MIN), opacity[0]));
        const vmask drawn = both(sound, both(less(zero, conic[0]), less(zero, conic[2])));
        const vfloat slope = conic[1] / conic[0];
        const vfloat curve_u = 0.5f * LOG2_E * conic[0], curve_y = 0.5f * LOG2_E * schur_complement(conic);
        const vfloat log2_opacity = log2_positive(opacity[0]);
        const vfloat budget = larger(log2_opacity - LOG2_ALPHA_MIN, zero) + BUDGET_SLACK;
        vfloat limit_x, limit_y;
        load_radii(group, limit_x, limit_y);
        const vfloat wide = square_root(budget * (1.0f / curve_u + slope * slope / curve_y));
        const vfloat tall = square_root(budget / curve_y);
        const vfloat reach_x = smaller(wide, limit_x) + REACH_SLACK, reach_y = smaller(tall, limit_y) + REACH_SLACK;
        store_boxes(mean, reach_x, reach_y, drawn, group.count, index);
        const vfloat fields[SPLAT_FLOATS] = {mean[0], mean[1],      slope,   curve_u,
                                             curve_y, log2_opacity, reach_x, reach_y};
        alignas(64) float staged[SPLAT_FLOATS][LANES];
        for (int k = 0; k < SPLAT_FLOATS; ++k) store(staged[k], fields[k]);
        for (int lane = 0; lane < group.count; ++lane) {
            float *record = &splats_.records[(index + lane) * splats_.stride];
            for (int k = 0; k < SPLAT_FLOATS; ++k) record[k] = staged[k][lane];
            splats_.gaussians[index + lane] = static_cast<int32_t>(group.rows[lane]);
        }
    }

  private:
    // Returns zeros, or NaN where a colour is not finite.
    S3D_INLINE vfloat copy_colors(const RowGroup &group, int64_t index) const {
        const int d = args_.num_channels;
        alignas(64) float poison[LANES] = {};
        for (int lane = 0; lane < group.count; ++lane) {
            const float *color = args_.colors + (first_ + group.rows[lane]) * d;
            float *copy = &splats_.records[(index + lane) * splats_.stride + SPLAT_FLOATS];
            for (int k = 0; k < d; ++k) {
                copy[k] = color[k];
                poison[lane] += color[k] * 0.0f;
            }
        }
        return load(poison);
    }

    S3D_INLINE void load_radii(const RowGroup &group, vfloat &x, vfloat &y) const {
        alignas(64) float staged[2][LANES];
        for (int lane = 0; lane < LANES; ++lane) {
            const int32_t *radius = args_.radii + (first_ + group.rows[lane]) * 2;
            staged[0][lane] = static_cast<float>(radius[0]), staged[1][lane] = static_cast<float>(radius[1]);
        }
        x = load(staged[0]), y = load(staged[1]);
    }

    S3D_INLINE void store_boxes(const vfloat (&mean)[2], vfloat reach_x, vfloat reach_y, vmask drawn, int count,
                                int64_t index) const {
        vint left, right, top, bottom;
        tile_range(mean[0] - reach_x, mean[0] + reach_x, args_.width, TILE_WIDTH, left, right);
        tile_range(mean[1] - reach_y, mean[1] + reach_y, args_.height, TILE_HEIGHT, top, bottom);
        for (int lane = 0; lane < count; ++lane) {
            const bool touches = lane_of(drawn, lane) && left[lane] < right[lane] && top[lane] < bottom[lane];
            boxes_[index + lane] = touches ? TileBox{uint16_t(left[lane]), uint16_t(right[lane]), uint16_t(top[lane]),
                                                     uint16_t(bottom[lane])}
                                           : TileBox{0, 0, 0, 0};
        }
    }

    const S3dBlend &args_;
    const int64_t first_;
    Splats &splats_;
    TileBox *const boxes_;
};

// Makes the splats of one camera, their boxes and their unsorted keys.
inline void make_splats(const S3dBlend &args, int camera, Splats &splats, Buffer<TileBox> &boxes,
                        Buffer<DepthKey> &keys) {
    constexpr int64_t CHUNK = 4096;
    const int64_t n = args.num_gaussians, first = camera * n;
    const int32_t *radii = args.radii + first * 2;
    Buffer<int64_t> starts((n + CHUNK - 1) / CHUNK + 1);
    starts[0] = 0;
    parallel_chunks(args.num_threads, n, CHUNK, [&](int64_t chunk, int64_t begin, int64_t end) {
        int64_t count = 0;
        for (int64_t i = begin; i < end; ++i) count += radii[i * 2] > 0;
        starts[chunk + 1] = count;
    });
    for (int64_t chunk = 0; chunk * CHUNK < n; ++chunk) starts[chunk + 1] += starts[chunk];
    splats.count = starts[(n + CHUNK - 1) / CHUNK];
    splats.stride = SPLAT_FLOATS + (args.num_channels + 3) / 4 * 4;
    splats.records.resize(splats.count * splats.stride);
    splats.gaussians.resize(splats.count);
    boxes.resize(splats.count);
    keys.resize(splats.count);
    const SplatMaker maker(args, camera, splats, boxes.get());
    parallel_chunks(args.num_threads, n, CHUNK, [&](int64_t chunk, int64_t begin, int64_t end) {
        int32_t visible[CHUNK];
        const int64_t count = list_visible(radii, begin, end, visible), start = starts[chunk];
        for (int64_t i = 0; i < count; i += LANES) maker.make(RowGroup::listed(visible + i, count - i), start + i);
        for (int64_t i = 0; i < count; ++i) {
            keys[start + i] = {ordered_bits(args.depths[first + visible[i]]), static_cast<int32_t>(start + i)};
        }
    });
}

}  // namespace SCENE3D_ISA_NS
