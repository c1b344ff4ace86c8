#include "core/kernels/cpu/dispatch.h"

#include <stdlib.h>
#include <string.h>

extern const cm3_simd cm3__simd_base;
#ifdef CM3_SIMD_X86
extern const cm3_simd cm3__simd_avx2, cm3__simd_avx512;

static bool has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
}

static bool has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512cd");
}
#endif

const cm3_simd *cm3__simd(void) {
    const char *wanted = getenv("CM3_SIMD");
    if (wanted && strcmp(wanted, "base") == 0) return &cm3__simd_base;
#ifdef CM3_SIMD_X86
    const bool lower = wanted && strcmp(wanted, "avx2") == 0;
    if (!lower && has_avx512()) return &cm3__simd_avx512;
    if (has_avx2()) return &cm3__simd_avx2;
#endif
    return &cm3__simd_base;
}
