// Orders splats near to far; equal depths keep the order they came in.
#pragma once

#include "rows.h"

namespace SCENE3D_ISA_NS {

constexpr int DIGIT_BITS = 11;
constexpr int DIGITS = 1 << DIGIT_BITS;

struct DepthKey {
    uint32_t depth; // see ordered_bits
    int32_t splat;
};

// Unsigned order of the result is the order of the floats, negative ones included.
S3D_INLINE uint32_t ordered_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits ^ ((bits >> 31) != 0 ? 0xffffffffu : 0x80000000u);
}

// Least significant digit first, each pass a stable counting sort whose parts run in parallel.
class DepthSort {
  public:
    DepthSort(int64_t count, int num_threads) : count_(count), num_threads_(num_threads) {
        num_parts_ = max_of<int64_t>(1, min_of<int64_t>(num_threads, count / 4096));
        histograms_.resize(num_parts_ * DIGITS);
    }

    // Sorts `keys` with `spare` as scratch and returns whichever of the two holds the result.
    DepthKey *sort(DepthKey *keys, DepthKey *spare) {
        for (int shift = 0; shift < 32; shift += DIGIT_BITS) {
            if (!count_digits(keys, shift)) continue;
            scatter(keys, spare, shift);
            DepthKey *const sorted = spare;
            spare = keys, keys = sorted;
        }
        return keys;
    }

  private:
    S3D_INLINE static int digit(const DepthKey &key, int shift) {
        return static_cast<int>(key.depth >> shift) & (DIGITS - 1);
    }
    int64_t part_begin(int64_t part) const { return count_ * part / num_parts_; }

    // Turns histograms into start positions; false when all keys share one digit and the pass can be left out.
    bool count_digits(const DepthKey *keys, int shift) {
        parallel_for(num_threads_, num_parts_, [&](int64_t part) {
            int64_t *histogram = &histograms_[part * DIGITS];
            memset(histogram, 0, sizeof(int64_t) * DIGITS);
            for (int64_t i = part_begin(part); i < part_begin(part + 1); ++i) ++histogram[digit(keys[i], shift)];
        });
        int64_t position = 0;
        for (int value = 0; value < DIGITS; ++value) {
            const int64_t before = position;
            for (int64_t part = 0; part < num_parts_; ++part) {
                const int64_t here = histograms_[part * DIGITS + value];
                histograms_[part * DIGITS + value] = position;
                position += here;
            }
            if (position - before == count_) return false;
        }
        return true;
    }

    void scatter(const DepthKey *keys, DepthKey *sorted, int shift) {
        parallel_for(num_threads_, num_parts_, [&](int64_t part) {
            int64_t *positions = &histograms_[part * DIGITS];
            for (int64_t i = part_begin(part); i < part_begin(part + 1); ++i) {
                sorted[positions[digit(keys[i], shift)]++] = keys[i];
            }
        });
    }

    int64_t count_;
    int64_t num_parts_;
    int num_threads_;
    Buffer<int64_t> histograms_;
};

}  // namespace SCENE3D_ISA_NS
