// Vectors of the instruction set this copy of the kernels is compiled for, on GCC/clang vector extensions.
//
// Intrinsics appear only where the extensions have no word for the thing (square root, "any lane", AVX-512 masks).
// Everything lives in the namespace of the instruction set, and no template of the C++ library is used in the kernels:
// the linker would merge its copies and a small processor could be handed the AVX-512 one.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#ifndef SCENE3D_ISA_NS
#define SCENE3D_ISA_NS isa_baseline
#endif

#define S3D_INLINE inline __attribute__((always_inline))

namespace SCENE3D_ISA_NS {

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

typedef float vfloat __attribute__((vector_size(LANES * 4)));
typedef int32_t vint __attribute__((vector_size(LANES * 4)));
typedef uint32_t vuint __attribute__((vector_size(LANES * 4)));

S3D_INLINE vfloat broadcast(float value) { return value - vfloat{}; }
S3D_INLINE vint broadcast(int32_t value) { return value - vint{}; }

template <class V, class T>
S3D_INLINE V load(const T *source) {
    V value;
    memcpy(&value, source, sizeof(V));
    return value;
}
S3D_INLINE vfloat load(const float *source) { return load<vfloat>(source); }
template <class V, class T>
S3D_INLINE void store(T *destination, V value) {
    memcpy(destination, &value, sizeof(V));
}

S3D_INLINE vfloat first_indices() {
    vfloat value;
    for (int lane = 0; lane < LANES; ++lane) value[lane] = static_cast<float>(lane);
    return value;
}

// ---- masks -------------------------------------------------------------------------------------------------------
#if defined(__AVX512F__)
typedef __mmask16 vmask;
S3D_INLINE vmask less(vfloat a, vfloat b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ); }
S3D_INLINE vmask at_most(vfloat a, vfloat b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LE_OQ); }
S3D_INLINE vmask less(vint a, vint b) { return _mm512_cmplt_epi32_mask((__m512i)a, (__m512i)b); }
S3D_INLINE vfloat select(vmask m, vfloat yes, vfloat no) {
    return (vfloat)_mm512_mask_blend_ps(m, (__m512)no, (__m512)yes);
}
S3D_INLINE vint select(vmask m, vint yes, vint no) {
    return (vint)_mm512_mask_blend_epi32(m, (__m512i)no, (__m512i)yes);
}
S3D_INLINE vfloat keep(vmask m, vfloat value) { return (vfloat)_mm512_maskz_mov_ps(m, (__m512)value); }
S3D_INLINE vmask both(vmask a, vmask b) { return a & b; }
S3D_INLINE vmask but_not(vmask a, vmask b) { return a & static_cast<vmask>(~b); }
S3D_INLINE bool any(vmask m) { return m != 0; }
S3D_INLINE bool lane_of(vmask m, int lane) { return (m >> lane) & 1; }
S3D_INLINE uint32_t lane_bits(vmask m) { return m; }
S3D_INLINE vmask first_lanes(int count) { return static_cast<vmask>((1u << count) - 1); }
#else
typedef vint vmask;
S3D_INLINE vmask less(vfloat a, vfloat b) { return a < b; }
S3D_INLINE vmask at_most(vfloat a, vfloat b) { return a <= b; }
S3D_INLINE vmask less(vint a, vint b) { return a < b; }
S3D_INLINE vfloat select(vmask m, vfloat yes, vfloat no) { return m ? yes : no; }
S3D_INLINE vint select(vmask m, vint yes, vint no) { return m ? yes : no; }
S3D_INLINE vfloat keep(vmask m, vfloat value) { return (vfloat)(m & (vint)value); }
S3D_INLINE vmask both(vmask a, vmask b) { return a & b; }
S3D_INLINE vmask but_not(vmask a, vmask b) { return a & ~b; }
S3D_INLINE bool lane_of(vmask m, int lane) { return m[lane] != 0; }
S3D_INLINE vmask first_lanes(int count) {
    vmask m;
    for (int lane = 0; lane < LANES; ++lane) m[lane] = lane < count ? -1 : 0;
    return m;
}
// Bit i of the result is lane i.
S3D_INLINE uint32_t lane_bits(vmask m) {
#if defined(__AVX2__)
    return static_cast<uint32_t>(_mm256_movemask_ps((__m256)m));
#elif defined(__x86_64__)
    return static_cast<uint32_t>(_mm_movemask_ps((__m128)m));
#else
    const vint weighted = m & vint{1, 2, 4, 8};
    return static_cast<uint32_t>(weighted[0] | weighted[1] | weighted[2] | weighted[3]);
#endif
}
S3D_INLINE bool any(vmask m) {
#if defined(__aarch64__)
    return vmaxvq_u32((uint32x4_t)m) != 0;
#else
    return lane_bits(m) != 0;
#endif
}
#endif

// ---- arithmetic --------------------------------------------------------------------------------------------------
S3D_INLINE vfloat smaller(vfloat a, vfloat b) {
#if defined(__AVX512F__)
    return (vfloat)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vfloat)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return select(less(a, b), a, b);
#endif
}

S3D_INLINE vfloat larger(vfloat a, vfloat b) {
#if defined(__AVX512F__)
    return (vfloat)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vfloat)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return select(less(b, a), a, b);
#endif
}

S3D_INLINE vfloat magnitude(vfloat a) { return (vfloat)((vint)a & broadcast(int32_t{0x7fffffff})); }

S3D_INLINE vfloat square_root(vfloat a) {
#if defined(__AVX512F__)
    return (vfloat)_mm512_sqrt_ps((__m512)a);
#elif defined(__AVX2__)
    return (vfloat)_mm256_sqrt_ps((__m256)a);
#elif defined(__x86_64__)
    return (vfloat)_mm_sqrt_ps((__m128)a);
#else
    for (int lane = 0; lane < LANES; ++lane) a[lane] = __builtin_sqrtf(a[lane]);
    return a;
#endif
}

// NaN and infinities are not finite.
S3D_INLINE vmask is_finite(vfloat a) { return less(magnitude(a), broadcast(__builtin_inff())); }

// 2^x for -126 < x < 127; relative error 2e-7. Outside that range, and for NaN, the result is any number at all.
S3D_INLINE vfloat exp2_bounded(vfloat x) {
    // Adding 1.5 * 2^23 rounds to an integer, which then stands in the lowest bits.
    const vfloat shifted = x + broadcast(12582912.0f);
    const vfloat fraction = x - (shifted - broadcast(12582912.0f));  // [-0.5, 0.5]
    // Minimax polynomial for 2^f, relative error 8e-8 before rounding.
    vfloat p = broadcast(0.00132764724f);
    p = p * fraction + broadcast(0.00967554096f);
    p = p * fraction + broadcast(0.0555071309f);
    p = p * fraction + broadcast(0.240221202f);
    p = p * fraction + broadcast(0.693146944f);
    p = p * fraction + broadcast(1.0f);
    return (vfloat)((vint)p + ((vint)shifted << 23));
}

// log2(x) for normal positive x, absolute error about 1e-6.
S3D_INLINE vfloat log2_positive(vfloat x) {
    const vint bits = (vint)x;
    // Counting the exponent from sqrt(1/2) keeps the mantissa in [0.707, 1.414], around log2's zero.
    const vint exponent = (bits - broadcast(int32_t{0x3f3504f3})) >> 23;
    const vfloat mantissa = (vfloat)(bits - (exponent << 23));
    const vfloat s = (mantissa - broadcast(1.0f)) / (mantissa + broadcast(1.0f));
    const vfloat s2 = s * s;
    vfloat series = broadcast(1.0f / 9.0f);
    series = series * s2 + broadcast(1.0f / 7.0f);
    series = series * s2 + broadcast(1.0f / 5.0f);
    series = series * s2 + broadcast(1.0f / 3.0f);
    series = series * s2 + broadcast(1.0f);
    return __builtin_convertvector(exponent, vfloat) + broadcast(2.88539008f) * s * series;
}

// Sum over lanes in a fixed tree.
S3D_INLINE float sum_lanes(vfloat a) {
#if defined(__AVX512F__)
    const __m256 low = _mm512_castps512_ps256((__m512)a);
    const __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd((__m512d)a, 1));
    const __m256 b = _mm256_add_ps(low, high);
    __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
#elif defined(__AVX2__)
    __m128 c = _mm_add_ps(_mm256_castps256_ps128((__m256)a), _mm256_extractf128_ps((__m256)a, 1));
#elif defined(__x86_64__)
    __m128 c = (__m128)a;
#endif
#if defined(__x86_64__)
    c = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_shuffle_ps(c, c, 1)));
#else
    return (a[0] + a[2]) + (a[1] + a[3]);
#endif
}

// The sums of four vectors, each in the same tree.
S3D_INLINE void sum_four(vfloat a, vfloat b, vfloat c, vfloat d, float *sums) {
#if defined(__x86_64__)
#if defined(__AVX512F__)
    const __m512 va = (__m512)a, vb = (__m512)b, vc = (__m512)c, vd = (__m512)d;
    const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(va, vb), _mm512_unpackhi_ps(va, vb));
    const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(vc, vd), _mm512_unpackhi_ps(vc, vd));
    const __m512 abcd = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
    const __m256 upper = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(abcd), 1));
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(abcd), upper);
    const __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
#elif defined(__AVX2__)
    const __m256 va = (__m256)a, vb = (__m256)b, vc = (__m256)c, vd = (__m256)d;
    const __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(va, vb), _mm256_unpackhi_ps(va, vb));
    const __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(vc, vd), _mm256_unpackhi_ps(vc, vd));
    const __m256 half = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    const __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
#else
    const __m128 va = (__m128)a, vb = (__m128)b, vc = (__m128)c, vd = (__m128)d;
    const __m128 ab = _mm_add_ps(_mm_unpacklo_ps(va, vb), _mm_unpackhi_ps(va, vb));
    const __m128 cd = _mm_add_ps(_mm_unpacklo_ps(vc, vd), _mm_unpackhi_ps(vc, vd));
    const __m128 quarter = _mm_add_ps(_mm_shuffle_ps(ab, cd, 0x44), _mm_shuffle_ps(ab, cd, 0xee));
#endif
    _mm_storeu_ps(sums, quarter);
#elif defined(__aarch64__)
    vst1q_f32(sums, vpaddq_f32(vpaddq_f32((float32x4_t)a, (float32x4_t)b), vpaddq_f32((float32x4_t)c, (float32x4_t)d)));
#else
    sums[0] = sum_lanes(a), sums[1] = sum_lanes(b), sums[2] = sum_lanes(c), sums[3] = sum_lanes(d);
#endif
}

S3D_INLINE float max_lanes(vfloat a) {
    float best = a[0];
    for (int lane = 1; lane < LANES; ++lane) best = a[lane] > best ? a[lane] : best;
    return best;
}

template <class T>
S3D_INLINE T min_of(T a, T b) {
    return b < a ? b : a;
}
template <class T>
S3D_INLINE T max_of(T a, T b) {
    return a < b ? b : a;
}

}  // namespace SCENE3D_ISA_NS
