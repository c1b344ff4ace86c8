/* The backend of NVIDIA GPUs. It is a shared object of its own (cm3_cuda), which core/kernels/device.h opens at run
 * time. */
#ifndef CM3_CORE_KERNELS_CUDA_BACKEND_H
#define CM3_CORE_KERNELS_CUDA_BACKEND_H

#include "core/tensor/op.h"

/* Opens a GPU for the rank of this number on its host: number `local` of those that the process can see, beginning
 * again after the last. CM3_ERR_UNSUPPORTED says why there is none. */
cm3_status cm3_backend_cuda(int local, const cm3_backend **backend);
/* CM3_CONTRACT of this build. */
uint64_t cm3_backend_cuda_contract(void);
/* What was opened: "NVIDIA H100 80GB HBM3, 132 SMs, 79.1 GiB, ..." */
const char *cm3_backend_cuda_text(void);

#endif
