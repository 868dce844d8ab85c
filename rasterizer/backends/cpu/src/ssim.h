// L1 + SSIM of two images and the gradient on the first, in two passes over strips.
//
// The first pass makes the SSIM map and its derivatives with respect to the filtered images; the second filters those
// derivatives back. Only the sum of the two variances enters SSIM, so four filtered images do: the two means, the mean
// of x^2 + y^2 and that of xy.
#pragma once

#include "abi.h"
#include "separable.h"

namespace SCENE3D_ISA_NS {

constexpr float SSIM_C1 = 0.01f * 0.01f;
constexpr float SSIM_C2 = 0.03f * 0.03f;
// Variances are taken about middle grey: the difference of two numbers near 1 would cost their digits in float. What
// lies outside the image counts as black, that is as minus grey.
constexpr float GREY = 0.5f;

// One strip of one band of rows, the unit of work of both passes.
struct StripTask {
    int left, right, top, bottom; // columns in numbers, not pixels

    StripTask(int64_t task, int row_length, int height) {
        const int across = (row_length + STRIP - 1) / STRIP;
        left = static_cast<int>(task % across) * STRIP, right = min_of(left + STRIP, row_length);
        top = static_cast<int>(task / across) * STRIP_ROWS, bottom = min_of(top + STRIP_ROWS, height);
    }
    static int64_t count(int row_length, int height) {
        return int64_t((row_length + STRIP - 1) / STRIP) * ((height + STRIP_ROWS - 1) / STRIP_ROWS);
    }
};

class SsimTask {
  public:
    SsimTask(const S3dL1Ssim &args, float *derivatives, int64_t num_used)
        : args_(args), row_length_(args.width * args.num_channels), derivatives_(derivatives),
          plane_(int64_t(row_length_) * args.height), num_used_(num_used) {}

    // Adds sum |x - y| and the sum of the SSIM map of one strip; writes the derivative maps when they are wanted.
    void value(int64_t task, double *sums) const {
        const StripTask strip(task, row_length_, args_.height);
        StripFilter<4> filter(args_.num_channels);
        double l1 = 0, ssim = 0;
        for (int row = strip.top - WINDOW_RADIUS; row < strip.bottom + WINDOW_RADIUS; ++row) {
            fill_images(strip, row, filter);
            if (row >= strip.top && row < strip.bottom) l1 += absolute_difference(strip, filter);
            filter.push();
            if (filter.ready()) ssim += map_row(strip, row - WINDOW_RADIUS, filter);
        }
        sums[0] = l1, sums[1] = ssim;
    }

    void gradient(int64_t task) const {
        const StripTask strip(task, row_length_, args_.height);
        StripFilter<3> filter(args_.num_channels);
        for (int row = strip.top - WINDOW_RADIUS; row < strip.bottom + WINDOW_RADIUS; ++row) {
            fill_derivatives(strip, row, filter);
            filter.push();
            if (filter.ready()) gradient_row(strip, row - WINDOW_RADIUS, filter);
        }
    }

  private:
    bool used(int row, int i) const {
        return args_.mask == nullptr || args_.mask[int64_t(row) * args_.width + i / args_.num_channels] != 0;
    }

    void fill_images(const StripTask &strip, int row, StripFilter<4> &filter) const {
        float *x = filter.input(0), *y = filter.input(1), *squares = filter.input(2), *product = filter.input(3);
        const int begin = strip.left - HALO, end = strip.left + STRIP + HALO;
        const bool inside = row >= 0 && row < args_.height;
        const int first = inside ? max_of(begin, 0) : end, last = inside ? min_of(end, row_length_) : end;
        for (int k = 0; k < end - begin; ++k) x[k] = y[k] = -GREY;
        const int64_t base = int64_t(row) * row_length_;
        for (int i = first; i < last; ++i) x[i - begin] = args_.rendered[base + i] - GREY;
        for (int i = first; i < last; ++i) y[i - begin] = args_.target[base + i] - GREY;
        if (args_.mask != nullptr) {
            // Pixels that do not count are made equal, so that they do not disturb their neighbours.
            for (int i = first; i < last; ++i) x[i - begin] = used(row, i) ? x[i - begin] : y[i - begin];
        }
        for (int k = 0; k < end - begin; ++k) squares[k] = x[k] * x[k] + y[k] * y[k];
        for (int k = 0; k < end - begin; ++k) product[k] = x[k] * y[k];
    }

    double absolute_difference(const StripTask &strip, StripFilter<4> &filter) const {
        const float *x = filter.input(0) + HALO, *y = filter.input(1) + HALO;
        return sum_row(strip, [&](int i) { return magnitude(load(x + i) - load(y + i)); });
    }

    // Sum of body(i) over the strip's columns, the last vector cut at the image's edge.
    template <class Body>
    S3D_INLINE double sum_row(const StripTask &strip, const Body &body) const {
        vfloat sum = broadcast(0.0f);
        const int length = strip.right - strip.left;
        for (int i = 0; i < length; i += LANES) {
            const vfloat value = body(i);
            sum += i + LANES <= length ? value : keep(first_lanes(length - i), value);
        }
        return static_cast<double>(sum_lanes(sum));
    }

    S3D_INLINE vfloat used_lanes(const StripTask &strip, int row, int i) const {
        vfloat weights = broadcast(1.0f);
        if (args_.mask == nullptr) return weights;
        for (int lane = 0; lane < LANES; ++lane) {
            const int column = min_of(strip.left + i + lane, row_length_ - 1);
            weights[lane] = used(row, column) ? 1.0f : 0.0f;
        }
        return weights;
    }

    double map_row(const StripTask &strip, int row, const StripFilter<4> &filter) const {
        return sum_row(strip, [&](int i) {
            vfloat mean[4];
            filter.at(i, mean);
            const vfloat x = mean[0] + GREY, y = mean[1] + GREY;
            const vfloat variances = mean[2] - mean[0] * mean[0] - mean[1] * mean[1];
            const vfloat covariance = mean[3] - mean[0] * mean[1];
            const vfloat light = 2.0f * x * y + SSIM_C1, light_norm = x * x + y * y + SSIM_C1;
            const vfloat structure = 2.0f * covariance + SSIM_C2, structure_norm = variances + SSIM_C2;
            const vfloat inverse = used_lanes(strip, row, i) / (light_norm * structure_norm);
            const vfloat ssim = light * structure * inverse;
            if (derivatives_ != nullptr) {
                const vfloat on_product = 2.0f * light * inverse;
                const vfloat on_squares = -ssim / structure_norm;
                const vfloat on_mean = 2.0f * (y * structure * inverse - x * ssim / light_norm) -
                                       mean[1] * on_product - 2.0f * mean[0] * on_squares;
                put(strip, row, i, 0, on_mean);
                put(strip, row, i, 1, on_squares);
                put(strip, row, i, 2, on_product);
            }
            return ssim;
        });
    }

    S3D_INLINE void put(const StripTask &strip, int row, int i, int plane, vfloat value) const {
        float *out = derivatives_ + plane * plane_ + int64_t(row) * row_length_ + strip.left + i;
        store_part(out, value, strip.right - strip.left - i);
    }

    S3D_INLINE static void store_part(float *out, vfloat value, int available) {
        if (available >= LANES) return store(out, value);
        for (int lane = 0; lane < available; ++lane) out[lane] = value[lane];
    }

    void fill_derivatives(const StripTask &strip, int row, StripFilter<3> &filter) const {
        const int begin = strip.left - HALO, end = strip.left + STRIP + HALO;
        const bool inside = row >= 0 && row < args_.height;
        const int first = inside ? max_of(begin, 0) : end, last = inside ? min_of(end, row_length_) : end;
        for (int plane = 0; plane < 3; ++plane) {
            float *out = filter.input(plane);
            memset(out, 0, sizeof(float) * (end - begin));
            if (first >= last) continue;
            const float *in = derivatives_ + plane * plane_ + int64_t(row) * row_length_;
            memcpy(out + (first - begin), in + first, sizeof(float) * (last - first));
        }
    }

    void gradient_row(const StripTask &strip, int row, const StripFilter<3> &filter) const {
        const float per_l1 = (1.0f - args_.ssim_weight) / num_used_, per_ssim = -args_.ssim_weight / num_used_;
        const int length = strip.right - strip.left;
        const int64_t base = int64_t(row) * row_length_ + strip.left;
        for (int i = 0; i < length; i += LANES) {
            vfloat back[3];
            filter.at(i, back);
            const vfloat x = load_part(args_.rendered + base + i, length - i);
            const vfloat y = load_part(args_.target + base + i, length - i);
            const vfloat sign = keep(less(y, x), broadcast(1.0f)) - keep(less(x, y), broadcast(1.0f));
            const vfloat v_ssim = back[0] + 2.0f * (x - GREY) * back[1] + (y - GREY) * back[2];
            // Selected, not multiplied: what lies outside the mask may be NaN.
            const vmask counts = less(broadcast(0.0f), used_lanes(strip, row, i));
            store_part(args_.v_rendered + base + i, keep(counts, per_l1 * sign + per_ssim * v_ssim), length - i);
        }
    }

    S3D_INLINE static vfloat load_part(const float *in, int available) {
        if (available >= LANES) return load(in);
        vfloat value = broadcast(0.0f);
        for (int lane = 0; lane < available; ++lane) value[lane] = in[lane];
        return value;
    }

    const S3dL1Ssim &args_;
    const int row_length_;
    float *const derivatives_;
    const int64_t plane_;
    const int64_t num_used_; // numbers, not pixels, that count
};

inline void l1_ssim(const S3dL1Ssim &args) {
    const int row_length = args.width * args.num_channels;
    const int64_t num_pixels = int64_t(args.width) * args.height;
    int64_t used_pixels = num_pixels;
    if (args.mask != nullptr) {
        used_pixels = 0;
        for (int64_t p = 0; p < num_pixels; ++p) used_pixels += args.mask[p] != 0;
    }
    *args.loss = 0;
    if (used_pixels == 0) {
        if (args.v_rendered != nullptr) memset(args.v_rendered, 0, sizeof(float) * num_pixels * args.num_channels);
        return;
    }
    const int64_t num_used = used_pixels * args.num_channels;
    const int64_t num_tasks = StripTask::count(row_length, args.height);
    const bool wants_gradient = args.v_rendered != nullptr;
    Buffer<float> derivatives(wants_gradient ? 3 * num_pixels * args.num_channels : 0);
    Buffer<double> sums(num_tasks * 2);
    const SsimTask work(args, derivatives.get(), num_used);
    parallel_for(args.num_threads, num_tasks, [&](int64_t task) { work.value(task, &sums[task * 2]); });
    double l1 = 0, ssim = 0;
    for (int64_t task = 0; task < num_tasks; ++task) l1 += sums[task * 2], ssim += sums[task * 2 + 1];
    const double weight = args.ssim_weight;
    *args.loss = (1 - weight) * (l1 / num_used) + weight * (1 - ssim / num_used);
    if (wants_gradient) parallel_for(args.num_threads, num_tasks, [&](int64_t task) { work.gradient(task); });
}

}  // namespace SCENE3D_ISA_NS
