/* The backend of GPUs for a test: a GPU's, or the host's in its place where CM3_CUDA_LIBRARY names that. */
#ifndef CM3_TESTS_SUPPORT_GPU_H
#define CM3_TESTS_SUPPORT_GPU_H

#include "core/kernels/device.h"

/* Says which one it is; NULL, and why, if there is none. */
const cm3_backend *gpu_open(void);

#endif
