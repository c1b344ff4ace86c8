/* The kernels of the cuda backend, one an operation, and what surrounds them. */
#ifndef CM3_CORE_KERNELS_CUDA_CUDA_H
#define CM3_CORE_KERNELS_CUDA_CUDA_H

#ifdef __cplusplus
extern "C" {
#endif

#include "core/tensor/op.h"

extern const cm3_kernel cm3__cuda_embed, cm3__cuda_layer_norm, cm3__cuda_rms_norm, cm3__cuda_linear,
    cm3__cuda_attention, cm3__cuda_attention_cached, cm3__cuda_qk_norm, cm3__cuda_rotary, cm3__cuda_swiglu,
    cm3__cuda_activate, cm3__cuda_add, cm3__cuda_linear_cross_entropy, cm3__cuda_conv2d, cm3__cuda_group_norm,
    cm3__cuda_upsample, cm3__cuda_average_pool, cm3__cuda_nearest_code, cm3__cuda_code_lookup, cm3__cuda_code_loss,
    cm3__cuda_pixel_loss;

/* to = or += from: any two real types, which is also how one becomes the other. */
cm3_status cm3__cuda_cast(const cm3_tensor *to, const cm3_tensor *from, bool accumulate);

/* core/tensor/sample.h */
cm3_status cm3__cuda_sample(const struct cm3_sampling *sampling);

#ifdef __cplusplus
}
#endif

#endif
