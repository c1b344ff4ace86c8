/* ATTENTION by cuDNN: bf16, heads of up to 128, sequences of multiples of 128; a workspace of 0 bytes says that it does
 * not take a shape. Runs fail where there is no cuDNN. Gradients are overwritten, never added to. */
#ifndef CM3_CORE_KERNELS_CUDA_ATTENTION_CUDNN_H
#define CM3_CORE_KERNELS_CUDA_ATTENTION_CUDNN_H

#ifdef __cplusplus
extern "C" {
#endif

#include "core/tensor/op.h"

extern const cm3_kernel cm3__cudnn_attention;

#ifdef __cplusplus
}
#endif

#endif
