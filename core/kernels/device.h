/* Which processor computes: the host's, or a GPU.
 *
 * The backend of GPUs is a shared object of its own, libcm3_cuda.so beside the program (or what CM3_CUDA_LIBRARY
 * names), which is opened only when it is asked for: one program runs with and without a GPU, its driver and its
 * libraries. */
#ifndef CM3_CORE_KERNELS_DEVICE_H
#define CM3_CORE_KERNELS_DEVICE_H

#include "core/tensor/op.h"

typedef enum cm3_device_choice {
    CM3_DEVICE_AUTO, /* a GPU if there is one */
    CM3_DEVICE_CPU,
    CM3_DEVICE_CUDA /* a failure if there is none */
} cm3_device_choice;

typedef struct cm3_device {
    const cm3_backend *backend;
    char text[256]; /* what was chosen and why: "cpu (no GPU can be used: ...)" */
} cm3_device;

/* `local` is the rank's number on its host: ranks take GPUs in turns. The choice holds for the life of the process. */
cm3_status cm3_device_open(cm3_device_choice choice, int local, cm3_device *device);

/* What that would choose, as a backend that runs nothing and counts memory and FLOPs (meta). It opens no GPU; with
 * CM3_DEVICE_CUDA neither a GPU nor CUDA's libraries need to be there. */
void cm3_device_count(cm3_device_choice choice, cm3_device *device);

#endif
