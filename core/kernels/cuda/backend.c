#include "core/kernels/cuda/backend.h"

#include "core/kernels/cuda/cuda.h"
#include "core/kernels/cuda/device.h"
#include "core/kernels/cuda/flat.h"

#define KERNELS                                                                                                        \
    .kernels = {[CM3_OP_EMBED] = &cm3__cuda_embed,                                                                     \
                [CM3_OP_LAYER_NORM] = &cm3__cuda_layer_norm,                                                           \
                [CM3_OP_RMS_NORM] = &cm3__cuda_rms_norm,                                                               \
                [CM3_OP_LINEAR] = &cm3__cuda_linear,                                                                   \
                [CM3_OP_ATTENTION] = &cm3__cuda_attention,                                                             \
                [CM3_OP_ATTENTION_CACHED] = &cm3__cuda_attention_cached,                                               \
                [CM3_OP_QK_NORM] = &cm3__cuda_qk_norm,                                                                 \
                [CM3_OP_ROTARY] = &cm3__cuda_rotary,                                                                   \
                [CM3_OP_SWIGLU] = &cm3__cuda_swiglu,                                                                   \
                [CM3_OP_ACTIVATE] = &cm3__cuda_activate,                                                               \
                [CM3_OP_ADD] = &cm3__cuda_add,                                                                         \
                [CM3_OP_LINEAR_CROSS_ENTROPY] = &cm3__cuda_linear_cross_entropy,                                       \
                [CM3_OP_CONV2D] = &cm3__cuda_conv2d,                                                                   \
                [CM3_OP_GROUP_NORM] = &cm3__cuda_group_norm,                                                           \
                [CM3_OP_UPSAMPLE] = &cm3__cuda_upsample,                                                               \
                [CM3_OP_AVERAGE_POOL] = &cm3__cuda_average_pool,                                                       \
                [CM3_OP_NEAREST_CODE] = &cm3__cuda_nearest_code,                                                       \
                [CM3_OP_CODE_LOOKUP] = &cm3__cuda_code_lookup,                                                         \
                [CM3_OP_CODE_LOSS] = &cm3__cuda_code_loss,                                                             \
                [CM3_OP_PIXEL_LOSS] = &cm3__cuda_pixel_loss}

static const cm3_backend cuda = {.name = "cuda",
                                 .executes = true,
                                 .has_bf16 = true,
                                 .memory = &cm3__device_memory,
                                 .flat = &cm3__cuda_flat,
                                 .graph = &cm3__device_graph,
                                 .collective = &cm3__device_collective,
                                 .cast = cm3__cuda_cast,
                                 .sample = cm3__cuda_sample,
                                 .peak = cm3__device_peak,
                                 KERNELS};
static const cm3_backend meta = {.name = "cuda, counted", .has_bf16 = true, .memory = &cm3__device_memory, KERNELS};

cm3_status cm3_backend_cuda(int local, const cm3_backend **backend) {
    *backend = NULL;
    CM3_TRY(cm3__device_open(local));
    *backend = &cuda;
    return CM3_OK;
}

uint64_t cm3_backend_cuda_contract(void) {
    return CM3_CONTRACT;
}

const cm3_backend *cm3_backend_cuda_meta(void) {
    return &meta;
}

const char *cm3_backend_cuda_text(void) {
    return cm3__device_text();
}
