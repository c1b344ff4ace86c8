#include "core/kernels/cpu/cpu.h"

static cm3_status cast(const cm3_tensor *to, const cm3_tensor *from, bool accumulate) {
    const int64_t count = cm3_shape_count(to->shape);
    float *sum = to->data;
    const float *more = from->data;
    if (!accumulate) return cm3_memory_host.copy(sum, more, (size_t)count * sizeof *sum);
#pragma omp parallel for simd schedule(static) if (count > 1 << 14)
    for (int64_t i = 0; i < count; i++) sum[i] += more[i];
    return CM3_OK;
}

#define KERNELS                                                                                                        \
    .kernels = {[CM3_OP_EMBED] = &cm3__cpu_embed,                                                                      \
                [CM3_OP_LAYER_NORM] = &cm3__cpu_layer_norm,                                                            \
                [CM3_OP_RMS_NORM] = &cm3__cpu_rms_norm,                                                                \
                [CM3_OP_LINEAR] = &cm3__cpu_linear,                                                                    \
                [CM3_OP_ATTENTION] = &cm3__cpu_attention,                                                              \
                [CM3_OP_ATTENTION_CACHED] = &cm3__cpu_attention_cached,                                                \
                [CM3_OP_QK_NORM] = &cm3__cpu_qk_norm,                                                                  \
                [CM3_OP_ROTARY] = &cm3__cpu_rotary,                                                                    \
                [CM3_OP_SWIGLU] = &cm3__cpu_swiglu,                                                                    \
                [CM3_OP_ACTIVATE] = &cm3__cpu_activate,                                                                \
                [CM3_OP_ADD] = &cm3__cpu_add,                                                                          \
                [CM3_OP_LINEAR_CROSS_ENTROPY] = &cm3__cpu_linear_cross_entropy,                                        \
                [CM3_OP_CONV2D] = &cm3__cpu_conv2d,                                                                    \
                [CM3_OP_GROUP_NORM] = &cm3__cpu_group_norm,                                                            \
                [CM3_OP_UPSAMPLE] = &cm3__cpu_upsample,                                                                \
                [CM3_OP_AVERAGE_POOL] = &cm3__cpu_average_pool,                                                        \
                [CM3_OP_NEAREST_CODE] = &cm3__cpu_nearest_code,                                                        \
                [CM3_OP_CODE_LOOKUP] = &cm3__cpu_code_lookup,                                                          \
                [CM3_OP_CODE_LOSS] = &cm3__cpu_code_loss,                                                              \
                [CM3_OP_PIXEL_LOSS] = &cm3__cpu_pixel_loss}

#define COMMON .memory = &cm3_memory_host, .cast = cast, KERNELS
static const cm3_backend cpu = {.name = "cpu", .executes = true, COMMON};
static const cm3_backend meta = {.name = "meta", .executes = false, .has_bf16 = true, COMMON};

const cm3_backend *cm3_backend_cpu(void) {
    return &cpu;
}

const cm3_backend *cm3_backend_meta(void) {
    return &meta;
}
