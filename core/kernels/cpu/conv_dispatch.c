#include "core/kernels/cpu/conv_loops.h"
#include <stdlib.h>
#include <string.h>
extern const cm3__conv_loops cm3__conv_loops_base, cm3__conv_loops_avx2, cm3__conv_loops_avx512;
const cm3__conv_loops *cm3__conv_loops_best(void) {
    const char *w = getenv("CM3_SIMD");
    if (w && !strcmp(w, "base")) return &cm3__conv_loops_base;
    if (w && !strcmp(w, "avx2")) return &cm3__conv_loops_avx2;
    if (__builtin_cpu_supports("avx512f")) return &cm3__conv_loops_avx512;
    if (__builtin_cpu_supports("avx2")) return &cm3__conv_loops_avx2;
    return &cm3__conv_loops_base;
}
