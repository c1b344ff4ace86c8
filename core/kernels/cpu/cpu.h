/* The kernels of the host's processor, one file an operation family; core/tensor/op.h says what each computes. */
#ifndef CM3_CORE_KERNELS_CPU_CPU_H
#define CM3_CORE_KERNELS_CPU_CPU_H

#include "core/tensor/op.h"

#define X(upper, lower) extern const cm3_kernel cm3__cpu_##lower;
CM3_OP_LIST(X)
#undef X

#endif
