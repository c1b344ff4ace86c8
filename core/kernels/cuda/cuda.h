/* The kernels of the cuda backend, one an operation, and what surrounds them. */
#ifndef CM3_CORE_KERNELS_CUDA_CUDA_H
#define CM3_CORE_KERNELS_CUDA_CUDA_H

#ifdef __cplusplus
extern "C" {
#endif

#include "core/kernels/cuda/workspace.h"

#define X(upper, lower) extern const cm3_kernel cm3__cuda_##lower;
CM3_KERNEL_LIST(X)
#undef X
extern const cm3_sampler cm3__cuda_sampler;

/* to = or += from: any two real types, which is also how one becomes the other. */
cm3_status cm3__cuda_cast(const cm3_tensor *to, const cm3_tensor *from, bool accumulate);

#ifdef __cplusplus
}

#define CM3__CUDA_KERNEL(name, forward, backward)                                                                      \
    extern "C" const cm3_kernel cm3__cuda_##name = {forward, backward, cm3__cuda_##name##_forward_workspace,           \
                                                    cm3__cuda_##name##_backward_workspace}
#endif

#endif
