/* The backend of NVIDIA GPUs. It is a shared object of its own (cm3_cuda), which core/device.h opens at run time. */
#ifndef CM3_CORE_KERNELS_CUDA_BACKEND_H
#define CM3_CORE_KERNELS_CUDA_BACKEND_H

#include "core/tensor/op.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Opens GPU number `index` of those that this process can see. CM3_ERR_UNSUPPORTED says why there is none. */
cm3_status cm3_backend_cuda(int index, const cm3_backend **backend);

#ifdef __cplusplus
}
#endif

#endif
