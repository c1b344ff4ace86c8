/* What every file of simd/ starts with: the list of loops, and the prototypes of this level's. */
#ifndef CM3_CORE_KERNELS_CPU_SIMD_PROTOTYPES_H
#define CM3_CORE_KERNELS_CPU_SIMD_PROTOTYPES_H

#include "core/kernels/cpu/simd/loops.h"
#include "core/kernels/cpu/simd/simd.h"

#define X(name, arguments) void CM3_SIMD(cm3__##name) arguments;
CM3_SIMD_LIST(X)
#undef X

#endif
