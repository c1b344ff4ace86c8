#include "core/kernels/cuda/backend.h"

#include "core/kernels/cuda/cuda.h"
#include "core/kernels/cuda/device.h"
#include "core/kernels/cuda/flat.h"

#define KERNEL(upper, lower) [CM3_OP_##upper] = &cm3__cuda_##lower,
static const cm3_backend cuda = {.name = "cuda",
                                 .executes = true,
                                 .has_bf16 = true,
                                 .memory = &cm3__device_memory,
                                 .flat = &cm3__cuda_flat,
                                 .sampler = &cm3__cuda_sampler,
                                 .graph = &cm3__device_graph,
                                 .collective = &cm3__device_collective,
                                 .cast = cm3__cuda_cast,
                                 .peak = cm3__device_peak,
                                 .kernels = {CM3_KERNEL_LIST(KERNEL)}};
cm3_status cm3_backend_cuda(int local, const cm3_backend **backend) {
    *backend = NULL;
    CM3_TRY(cm3__device_open(local));
    *backend = &cuda;
    return CM3_OK;
}

uint64_t cm3_backend_cuda_contract(void) {
    return CM3_CONTRACT;
}

const char *cm3_backend_cuda_text(void) {
    return cm3__device_text();
}
