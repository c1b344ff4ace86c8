/* The kernels of the host's processor, one file an operation family; core/tensor/op.h says what each computes. */
#ifndef CM3_CORE_KERNELS_CPU_CPU_H
#define CM3_CORE_KERNELS_CPU_CPU_H

#include "core/tensor/op.h"

#define X(upper, lower) extern const cm3_kernel cm3__cpu_##lower;
CM3_KERNEL_LIST(X)
#undef X
extern const cm3_flat cm3__cpu_flat;
extern const cm3_sampler cm3__cpu_sampler;
double cm3__cpu_peak(cm3_dtype type);

#endif
