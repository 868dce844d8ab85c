// Vectors of double, as wide in bytes as those of float and so of half as many lanes, for what float would spoil.
//
// The same words as in simd.h, but in vector extensions only: masks are integers on every instruction set.
#pragma once

#include "simd.h"

namespace SCENE3D_ISA_NS {

typedef double vdouble __attribute__((vector_size(LANES * 4)));
typedef int64_t vlong __attribute__((vector_size(LANES * 4)));

// What code for both precisions must know about its vector V.
template <class V>
struct VectorTraits;
template <>
struct VectorTraits<vfloat> {
    typedef float Scalar;
    typedef vmask Mask;
    static constexpr int COUNT = LANES;
};
template <>
struct VectorTraits<vdouble> {
    typedef double Scalar;
    typedef vlong Mask;
    static constexpr int COUNT = LANES / 2;
};
template <class V>
using ScalarOf = typename VectorTraits<V>::Scalar;
template <class V>
using MaskOf = typename VectorTraits<V>::Mask;

S3D_INLINE vdouble broadcast(double value) { return value - vdouble{}; }

S3D_INLINE vlong less(vdouble a, vdouble b) { return (vlong)(a < b); }
S3D_INLINE vlong at_most(vdouble a, vdouble b) { return (vlong)(a <= b); }
S3D_INLINE vlong both(vlong a, vlong b) { return a & b; }
S3D_INLINE vlong either(vlong a, vlong b) { return a | b; }
S3D_INLINE vdouble keep(vlong m, vdouble value) { return (vdouble)(m & (vlong)value); }
S3D_INLINE bool any(vlong m) {
    int64_t bits = 0;
    for (int lane = 0; lane < VectorTraits<vdouble>::COUNT; ++lane) bits |= m[lane];
    return bits != 0;
}

S3D_INLINE vdouble smaller(vdouble a, vdouble b) { return a < b ? a : b; }
S3D_INLINE vdouble larger(vdouble a, vdouble b) { return b < a ? a : b; }
S3D_INLINE vlong is_finite(vdouble a) { return (vlong)(a - a == vdouble{}); }

S3D_INLINE vdouble square_root(vdouble a) {
#if defined(__AVX512F__)
    return (vdouble)_mm512_sqrt_pd((__m512d)a);
#elif defined(__AVX2__)
    return (vdouble)_mm256_sqrt_pd((__m256d)a);
#elif defined(__x86_64__)
    return (vdouble)_mm_sqrt_pd((__m128d)a);
#else
    for (int lane = 0; lane < VectorTraits<vdouble>::COUNT; ++lane) a[lane] = __builtin_sqrt(a[lane]);
    return a;
#endif
}

}  // namespace SCENE3D_ISA_NS
