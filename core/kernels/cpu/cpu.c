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

#define KERNEL(upper, lower) [CM3_OP_##upper] = &cm3__cpu_##lower,
#define TABLE                                                                                                          \
    .kernels = {CM3_KERNEL_LIST(KERNEL)}, .memory = &cm3_memory_host, .flat = &cm3__cpu_flat,                          \
    .sampler = &cm3__cpu_sampler, .cast = cast, .peak = cm3__cpu_peak

static const cm3_backend cpu = {.name = "cpu", .executes = true, TABLE};
static const cm3_backend meta = {.name = "meta", .executes = false, .has_bf16 = true, TABLE};

const cm3_backend *cm3_backend_cpu(void) {
    return &cpu;
}

const cm3_backend *cm3_backend_meta(void) {
    return &meta;
}
