// One step of Adam (Kingma & Ba 2015) in place; rows that are masked out keep their values and moments.
//
// The bias correction counts the steps of each row, not of the run: see scene3d/training/adam.py.
#pragma once

#include "abi.h"
#include "rows.h"

namespace SCENE3D_ISA_NS {

inline void adam_row(const S3dAdam &args, int64_t row) {
    const int64_t step = min_of<int64_t>(static_cast<int64_t>(args.row_steps[row]), args.num_corrections - 1);
    const float correction1 = args.corrections1[step], correction2 = args.corrections2[step];
    const float keep1 = 1.0f - args.beta1, keep2 = 1.0f - args.beta2;
    float *params = args.params + row * args.row_size;
    float *exp_avg = args.exp_avg + row * args.row_size;
    float *exp_avg_sq = args.exp_avg_sq + row * args.row_size;
    const float *grads = args.grads + row * args.row_size;
    int64_t i = 0;
    for (; i + LANES <= args.row_size; i += LANES) {
        const vfloat g = load(grads + i), rate = load(args.rates + i);
        const vfloat m = args.beta1 * load(exp_avg + i) + keep1 * g;
        const vfloat v = args.beta2 * load(exp_avg_sq + i) + keep2 * (g * g);
        store(exp_avg + i, m);
        store(exp_avg_sq + i, v);
        const vfloat kept = load(params + i) * (1.0f - rate * load(args.decays + i));
        store(params + i, kept - rate * (m * correction1) / (square_root(v) * correction2 + args.eps));
    }
    for (; i < args.row_size; ++i) {
        const float g = grads[i], rate = args.rates[i];
        const float m = exp_avg[i] = args.beta1 * exp_avg[i] + keep1 * g;
        const float v = exp_avg_sq[i] = args.beta2 * exp_avg_sq[i] + keep2 * (g * g);
        const float kept = params[i] * (1.0f - rate * args.decays[i]);
        params[i] = kept - rate * (m * correction1) / (__builtin_sqrtf(v) * correction2 + args.eps);
    }
}

inline void adam_step(const S3dAdam &args) {
    const int64_t rows_per_task = max_of<int64_t>(1, 32768 / max_of<int64_t>(args.row_size, 1));
    parallel_chunks(args.num_threads, args.num_rows, rows_per_task, [&](int64_t, int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
            if (args.mask == nullptr || args.mask[row] != 0) adam_row(args, row);
        }
    });
}

}  // namespace SCENE3D_ISA_NS
