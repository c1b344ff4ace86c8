/* Whether cuDNN computes attention, or our own kernels: tried on the device at the first use of a shape, forward and
 * backward each for itself, said in one line of the log, and kept.
 *
 * cuDNN is taken if on random numbers its results are ours within what bf16 leaves open, if it gives the same bits
 * twice, and if it is faster. */
#ifndef CM3_CORE_KERNELS_CUDA_ATTENTION_CHOICE_H
#define CM3_CORE_KERNELS_CUDA_ATTENTION_CHOICE_H

#include "core/kernels/cuda/launch.h"

/* Of a call in bf16, by its shapes and attributes; `own` are our kernels. The first use of a shape takes memory and
 * waits: it cannot be part of a graph. */
bool cm3__attention_is_cudnns(const cm3_call *call, bool backward, const cm3_kernel *own);

#endif
