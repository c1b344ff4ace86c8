/* CONV2D by cuDNN, in f32 without TF32. Runs fail where there is no cuDNN. Of the backward pass it computes gradients
 * of images and weights, also added to what is there, but not that of the bias. */
#ifndef CM3_CORE_KERNELS_CUDA_CONV2D_CUDNN_H
#define CM3_CORE_KERNELS_CUDA_CONV2D_CUDNN_H

#ifdef __cplusplus
extern "C" {
#endif

#include "core/tensor/op.h"

extern const cm3_kernel cm3__cudnn_conv2d;

#ifdef __cplusplus
}
#endif

#endif
