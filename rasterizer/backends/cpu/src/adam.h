// One step of Adam (Kingma & Ba 2015) in place, with bias correction; rows that are masked out keep their moments.
#pragma once

#include "abi.h"
#include "rows.h"

namespace SCENE3D_ISA_NS {

struct AdamStep {
    float beta1, beta2, keep1, keep2, step_size, inverse_root_correction, eps;
    float *params, *exp_avg, *exp_avg_sq;
    const float *grads;

    explicit AdamStep(const S3dAdam &args)
        : beta1(args.beta1), beta2(args.beta2), keep1(1.0f - args.beta1), keep2(1.0f - args.beta2), eps(args.eps),
          params(args.params), exp_avg(args.exp_avg), exp_avg_sq(args.exp_avg_sq), grads(args.grads) {
        const double correction1 = 1.0 - __builtin_pow(double(args.beta1), double(args.step));
        const double correction2 = 1.0 - __builtin_pow(double(args.beta2), double(args.step));
        step_size = static_cast<float>(double(args.lr) / correction1);
        inverse_root_correction = static_cast<float>(1.0 / __builtin_sqrt(correction2));
    }

    void run(int64_t begin, int64_t end) const {
        int64_t i = begin;
        for (; i + LANES <= end; i += LANES) {
            const vfloat g = load(grads + i);
            const vfloat m = beta1 * load(exp_avg + i) + keep1 * g;
            const vfloat v = beta2 * load(exp_avg_sq + i) + keep2 * (g * g);
            store(exp_avg + i, m);
            store(exp_avg_sq + i, v);
            store(params + i, load(params + i) - step_size * m / (square_root(v) * inverse_root_correction + eps));
        }
        for (; i < end; ++i) {
            const float g = grads[i];
            const float m = exp_avg[i] = beta1 * exp_avg[i] + keep1 * g;
            const float v = exp_avg_sq[i] = beta2 * exp_avg_sq[i] + keep2 * (g * g);
            params[i] -= step_size * m / (__builtin_sqrtf(v) * inverse_root_correction + eps);
        }
    }
};

inline void adam_step(const S3dAdam &args) {
    const AdamStep step(args);
    const int64_t rows_per_task = max_of<int64_t>(1, 32768 / max_of<int64_t>(args.row_size, 1));
    parallel_chunks(args.num_threads, args.num_rows, rows_per_task, [&](int64_t, int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end;) {
            if (args.mask != nullptr && args.mask[row] == 0) {
                ++row;
                continue;
            }
            // Neighbouring rows that count are one run of numbers.
            int64_t run_end = args.mask == nullptr ? end : row + 1;
            while (run_end < end && args.mask[run_end] != 0) ++run_end;
            step.run(row * args.row_size, run_end * args.row_size);
            row = run_end;
        }
    });
}

}  // namespace SCENE3D_ISA_NS
