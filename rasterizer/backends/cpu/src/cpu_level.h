// Which x86-64 level (1 baseline, 3 AVX2 and FMA, 4 AVX-512) this processor and operating system can run.
//
// Asked from cpuid directly: __builtin_cpu_supports needs a runtime symbol that not every tool chain links into a
// shared library, and it does not look at all the bits that -march=x86-64-v3 lets the compiler rely on.
#pragma once

#if defined(__x86_64__)

#include <cpuid.h>

namespace scene3d {

inline bool has_bits(unsigned value, unsigned wanted) { return (value & wanted) == wanted; }

inline unsigned enabled_register_state() {
    unsigned low = 0;
    unsigned high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

inline int x86_level() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 1;
    // SSE3, SSSE3, FMA, SSE4.1, SSE4.2, MOVBE, POPCNT, OSXSAVE, AVX, F16C
    const unsigned wanted_basic =
        1u << 0 | 1u << 9 | 1u << 12 | 1u << 19 | 1u << 20 | 1u << 22 | 1u << 23 | 1u << 27 | 1u << 28 | 1u << 29;
    if (!has_bits(c, wanted_basic)) return 1;
    if (!__get_cpuid(0x80000001u, &a, &b, &c, &d) || !has_bits(c, 1u << 5)) return 1;  // LZCNT
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 1;
    if (!has_bits(b, 1u << 3 | 1u << 5 | 1u << 8)) return 1;  // BMI1, AVX2, BMI2
    // The operating system must save the wide registers, too: bits 1-2 for AVX, 5-7 for AVX-512.
    const unsigned state = enabled_register_state();
    if (!has_bits(state, 0x06u)) return 1;
    const unsigned wanted_512 = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31;  // F, DQ, CD, BW, VL
    return has_bits(b, wanted_512) && has_bits(state, 0xe6u) ? 4 : 3;
}

}  // namespace scene3d

#endif
