#include "tests/support/gpu.h"

#include <stdio.h>

const cm3_backend *gpu_open(void) {
    cm3_device opened;
    if (cm3_device_open(CM3_DEVICE_CUDA, 0, &opened) != CM3_OK) {
        fprintf(stderr, "%s\n", cm3_message());
        return NULL;
    }
    printf("%s\n", opened.text);
    return opened.backend;
}
