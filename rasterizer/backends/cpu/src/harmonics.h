// Real spherical harmonics up to degree 3 in the sign convention of 3DGS files, and their slopes.
//
// Every function of degree l and order m is P_lm(z) times the real or imaginary part of (x + iy)^m; slopes of those
// parts are m times the parts one order lower, which leaves only the P_lm and their derivatives as tables.
#pragma once

#include "simd.h"

namespace SCENE3D_ISA_NS {

constexpr int SH_DEGREE_MAX = 3;

template <int DEGREE>
struct Harmonics {
    static constexpr int COUNT = (DEGREE + 1) * (DEGREE + 1);
    vfloat value[COUNT];
    vfloat real[DEGREE + 1], imaginary[DEGREE + 1]; // of (x + iy)^m
    vfloat polar[DEGREE + 1][DEGREE + 1], slope[DEGREE + 1][DEGREE + 1];

    S3D_INLINE void evaluate(vfloat x, vfloat y, vfloat z) {
        real[0] = broadcast(1.0f), imaginary[0] = broadcast(0.0f);
        for (int m = 1; m <= DEGREE; ++m) {
            real[m] = x * real[m - 1] - y * imaginary[m - 1];
            imaginary[m] = x * imaginary[m - 1] + y * real[m - 1];
        }
        evaluate_polar(z);
        for (int l = 0; l <= DEGREE; ++l) {
            const int middle = l * l + l;
            value[middle] = polar[l][0];
            for (int m = 1; m <= l; ++m) {
                value[middle + m] = polar[l][m] * real[m];
                value[middle - m] = polar[l][m] * imaginary[m];
            }
        }
    }

    // Gradient on (x, y, z) taken as independent, from the gradient on each value.
    S3D_INLINE void pull_back(const vfloat (&v)[COUNT], vfloat &v_x, vfloat &v_y, vfloat &v_z) const {
        v_x = v_y = v_z = broadcast(0.0f);
        for (int l = 1; l <= DEGREE; ++l) {
            const int middle = l * l + l;
            v_z += v[middle] * slope[l][0];
            for (int m = 1; m <= l; ++m) {
                const vfloat on_real = v[middle + m], on_imaginary = v[middle - m];
                const vfloat turning = float(m) * polar[l][m];
                v_x += turning * (on_real * real[m - 1] + on_imaginary * imaginary[m - 1]);
                v_y += turning * (on_imaginary * real[m - 1] - on_real * imaginary[m - 1]);
                v_z += slope[l][m] * (on_real * real[m] + on_imaginary * imaginary[m]);
            }
        }
    }

  private:
    S3D_INLINE void set(int l, int m, vfloat p, vfloat dp) { polar[l][m] = p, slope[l][m] = dp; }

    S3D_INLINE void evaluate_polar(vfloat z) {
        const vfloat zero = broadcast(0.0f), z2 = z * z;
        set(0, 0, broadcast(0.2820947917738781f), zero);
        if constexpr (DEGREE >= 1) {
            set(1, 0, 0.48860251190292f * z, broadcast(0.48860251190292f));
            set(1, 1, broadcast(-0.48860251190292f), zero);
        }
        if constexpr (DEGREE >= 2) {
            set(2, 0, 0.9461746957575601f * z2 - 0.3153915652525201f, 1.8923493915151202f * z);
            set(2, 1, -1.092548430592079f * z, broadcast(-1.092548430592079f));
            set(2, 2, broadcast(0.5462742152960395f), zero);
        }
        if constexpr (DEGREE >= 3) {
            set(3, 0, z * (1.865881662950577f * z2 - 1.119528997770346f), 5.597644988851731f * z2 - 1.119528997770346f);
            set(3, 1, 0.4570457994644658f - 2.285228997322329f * z2, -4.570457994644658f * z);
            set(3, 2, 1.445305721320277f * z, broadcast(1.445305721320277f));
            set(3, 3, broadcast(-0.5900435899266435f), zero);
        }
    }
};

}  // namespace SCENE3D_ISA_NS
