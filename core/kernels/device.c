#include "core/kernels/device.h"

#include "core/kernels/cuda/backend.h"
#include "core/library.h"
#include "core/log.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Beside the program, in ../lib, or wherever the system looks. */
static void *open_library(void) {
    static const char *const places[] = {"%s/libcm3_cuda.so", "%s/../lib/libcm3_cuda.so"};
    const char *named = getenv("CM3_CUDA_LIBRARY");
    if (named) return dlopen(named, RTLD_NOW | RTLD_LOCAL);
    char program[4096], path[4200];
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length > 0) {
        program[length] = 0;
        char *slash = strrchr(program, '/');
        if (slash) *slash = 0;
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            snprintf(path, sizeof path, places[i], program);
            if (access(path, R_OK) == 0) return dlopen(path, RTLD_NOW | RTLD_LOCAL);
        }
    }
    return dlopen("libcm3_cuda.so", RTLD_NOW | RTLD_LOCAL);
}

/* CUDA's libraries are large: without a driver they are not even opened. */
static cm3_status expect_driver(void) {
    if (getenv("CM3_CUDA_LIBRARY")) return CM3_OK;
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (!driver) return cm3_fail(CM3_ERR_UNSUPPORTED, "no GPU can be used: there is no NVIDIA driver (libcuda.so.1)");
    dlclose(driver);
    return CM3_OK;
}

/* What backend.h declares, of the library. */
typedef struct cuda {
    cm3_status (*backend)(int local, const cm3_backend **backend);
    const char *(*text)(void);
    uint64_t (*contract)(void);
} cuda;

static cm3_status open_cuda(cuda *c) {
    void *library = open_library(); /* stays open */
    if (!library) return cm3_fail(CM3_ERR_UNSUPPORTED, "no GPU can be used: %s", dlerror());
    cm3_log_debug("the library of GPUs is open"); /* it logs, too: a program that opens it has core/log.c */
    if (cm3_library_find(library, "cm3_backend_cuda", &c->backend, sizeof c->backend) &&
        cm3_library_find(library, "cm3_backend_cuda_text", &c->text, sizeof c->text) &&
        cm3_library_find(library, "cm3_backend_cuda_contract", &c->contract, sizeof c->contract) &&
        c->contract() == CM3_CONTRACT)
        return CM3_OK;
    return cm3_fail(CM3_ERR_UNSUPPORTED, "no GPU can be used: libcm3_cuda.so is of another build than this program");
}

static cm3_status open_gpu(int local, cm3_device *device) {
    cuda c;
    CM3_TRY(expect_driver());
    CM3_TRY(open_cuda(&c));
    CM3_TRY(c.backend(local, &device->backend));
    snprintf(device->text, sizeof device->text, "cuda (%s)", c.text());
    return CM3_OK;
}

cm3_status cm3_device_open(cm3_device_choice choice, int local, cm3_device *device) {
    *device = (cm3_device){.backend = cm3_backend_cpu(), .text = "cpu"};
    if (choice == CM3_DEVICE_CPU) return CM3_OK;
    const cm3_status status = open_gpu(local, device);
    if (status == CM3_OK || choice == CM3_DEVICE_CUDA) return status;
    snprintf(device->text, sizeof device->text, "cpu (%s)", cm3_message());
    return CM3_OK;
}

void cm3_device_count(cm3_device_choice choice, cm3_device *device) {
    cuda c;
    const bool gpu = choice == CM3_DEVICE_CUDA ||
                     (choice == CM3_DEVICE_AUTO && expect_driver() == CM3_OK && open_cuda(&c) == CM3_OK);
    *device = gpu ? (cm3_device){.backend = cm3_backend_meta_cuda(), .text = "cuda"}
                  : (cm3_device){.backend = cm3_backend_meta(), .text = "cpu"};
}
