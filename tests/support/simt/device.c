/* The host in the place of a device: blocks of exactly the bytes that were asked for, so that the address sanitizer sees
 * what a kernel reads or writes beside them. */
#include "core/kernels/cuda/device.h"

#include <stdlib.h>
#include <string.h>

static void *take(size_t bytes) {
    void *block = NULL;
    if (posix_memalign(&block, 64, bytes ? bytes : 1)) return NULL;
    return memset(block, 0, bytes);
}

static void give(void *block, size_t bytes) {
    (void)bytes;
    free(block);
}

static cm3_status copy(void *to, const void *from, size_t bytes) {
    if (bytes) memcpy(to, from, bytes);
    return CM3_OK;
}

static cm3_status clear(void *at, size_t bytes) {
    if (bytes) memset(at, 0, bytes);
    return CM3_OK;
}

const cm3_memory cm3__device_memory = {.take = take,
                                       .give = give,
                                       .upload = copy,
                                       .download = copy,
                                       .copy = copy,
                                       .clear = clear,
                                       .wait = cm3__device_wait};

cm3_status cm3__device_open(int local) {
    (void)local;
    return CM3_OK;
}

const char *cm3__device_text(void) {
    return "threads of a GPU as fibers of the host";
}

cm3_status cm3__device_wait(void) {
    return CM3_OK;
}

/* core/kernels/cuda/launch.h: kernels have run when a launch returns. */
cm3_status cm3__cuda_launched(const char *what);
cm3_status cm3__cuda_launched(const char *what) {
    (void)what;
    return CM3_OK;
}
