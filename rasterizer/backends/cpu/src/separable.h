// The 11-tap Gaussian window of SSIM as a running separable filter over one strip of an image.
#pragma once

#include "rows.h"

namespace SCENE3D_ISA_NS {

constexpr int WINDOW_RADIUS = 5;
constexpr int WINDOW = 2 * WINDOW_RADIUS + 1;
constexpr int IMAGE_CHANNELS_MAX = 4;

// An image row [w, channels] is filtered as it lies, as w * channels numbers whose neighbours are `channels` apart.
// Strips keep the eleven filtered rows that the vertical pass needs inside the level-two cache.
constexpr int STRIP = 384;
constexpr int HALO = WINDOW_RADIUS * IMAGE_CHANNELS_MAX;
constexpr int STRIP_ROWS = 64;
// The last vector of the horizontal pass may start in the strip and read past the right halo.
constexpr int PADDED = HALO + STRIP + HALO + 16;

// Half of the window, centre first: Gaussian of sigma 1.5 over 11 taps, summing to one.
constexpr float WINDOW_WEIGHTS[WINDOW_RADIUS + 1] = {0.26601172f,  0.21300554f,   0.10936069f,
                                                     0.036000773f, 0.0075987582f, 0.0010283801f};

// PLANES images filtered together. Rows are pushed top to bottom; after eleven of them, and after each one more, the
// filtered value of the row five above the last is there.
template <int PLANES>
class StripFilter {
  public:
    explicit StripFilter(int channels) : channels_(channels) {}

    // Where the caller writes the next row: HALO numbers, the strip, HALO numbers.
    float *input(int plane) { return input_[plane]; }

    void push() {
        for (int plane = 0; plane < PLANES; ++plane) {
            const float *row = input_[plane] + HALO;
            float *out = filtered_[pushed_ % WINDOW][plane];
            for (int i = 0; i < STRIP; i += LANES) {
                vfloat sum = WINDOW_WEIGHTS[0] * load(row + i);
                for (int k = 1; k <= WINDOW_RADIUS; ++k) {
                    const int step = k * channels_;
                    sum += WINDOW_WEIGHTS[k] * (load(row + i - step) + load(row + i + step));
                }
                store(out + i, sum);
            }
        }
        ++pushed_;
    }

    bool ready() const { return pushed_ >= WINDOW; }

    S3D_INLINE void at(int i, vfloat (&values)[PLANES]) const {
        const int oldest = pushed_ % WINDOW;
        for (int plane = 0; plane < PLANES; ++plane) {
            values[plane] = WINDOW_WEIGHTS[0] * load(row_of(oldest, WINDOW_RADIUS)[plane] + i);
            for (int k = 1; k <= WINDOW_RADIUS; ++k) {
                values[plane] += WINDOW_WEIGHTS[k] * (load(row_of(oldest, WINDOW_RADIUS - k)[plane] + i) +
                                                      load(row_of(oldest, WINDOW_RADIUS + k)[plane] + i));
            }
        }
    }

  private:
    typedef float FilteredRow[PLANES][STRIP];
    S3D_INLINE const float (*row_of(int oldest, int age) const)[STRIP] {
        const int row = oldest + age;
        return filtered_[row < WINDOW ? row : row - WINDOW];
    }

    const int channels_;
    int pushed_ = 0;
    alignas(64) float input_[PLANES][PADDED] = {};
    alignas(64) FilteredRow filtered_[WINDOW];
};

}  // namespace SCENE3D_ISA_NS
