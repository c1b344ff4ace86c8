/* The twin of the cuda backend that runs nothing: part of the program, not of libcm3_cuda.so. */
#include "core/kernels/cuda/workspace.h"

static cm3_status cannot_run(const cm3_call *call) {
    (void)call;
    return cm3_fail(CM3_ERR_INTERNAL, "the meta backend runs no kernels");
}

static void *no_memory(size_t bytes) {
    (void)bytes;
    return NULL;
}

static void nothing_to_free(void *block, size_t bytes) {
    (void)block, (void)bytes;
}

#define X(upper, lower)                                                                                                \
    static const cm3_kernel lower = {cannot_run, cannot_run, cm3__cuda_##lower##_forward_workspace,                    \
                                     cm3__cuda_##lower##_backward_workspace};
CM3_KERNEL_LIST(X)
#undef X

const cm3_backend *cm3_backend_meta_cuda(void) {
    static const cm3_memory memory = {.alloc = no_memory, .free = nothing_to_free};
#define KERNEL(upper, lower) [CM3_OP_##upper] = &lower,
    static const cm3_backend meta = {
        .name = "cuda, counted", .has_bf16 = true, .memory = &memory, .kernels = {CM3_KERNEL_LIST(KERNEL)}};
    return &meta;
}
