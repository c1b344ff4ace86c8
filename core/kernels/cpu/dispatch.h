/* Which of the tables of vectorised loops this processor runs. */
#ifndef CM3_CORE_KERNELS_CPU_DISPATCH_H
#define CM3_CORE_KERNELS_CPU_DISPATCH_H

#include "core/kernels/cpu/simd/loops.h"

/* The best level that this processor has, or the one that the environment variable CM3_SIMD names (base, avx2, avx512)
 * if the processor has that. */
const cm3_simd *cm3__simd(void);

#endif
