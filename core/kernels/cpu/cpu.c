#include "core/kernels/cpu/kernel.h"

static cm3_status cast(const cm3_tensor *to, const cm3_tensor *from, bool accumulate) {
    cm3__add_to(to->data, from->data, cm3_shape_count(to->shape), accumulate);
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
