/* An array that the host fills or reads and kernels read or write: one block where kernels work in the host's memory,
 * one on either side where a device has its own. */
#ifndef CM3_CORE_TENSOR_STAGED_BUFFER_H
#define CM3_CORE_TENSOR_STAGED_BUFFER_H

#include "core/tensor/memory.h"

typedef struct cm3_staged_buffer {
    const cm3_memory *memory;
    size_t bytes;
    void *host, *there; /* `there` is what kernels are given */
} cm3_staged_buffer;

/* Zeroed. `what` completes the message of a failure: "no memory for WHAT". Give it back after a failure, too; of a
 * zeroed one nothing is given. */
cm3_status cm3_staged_buffer_alloc(const cm3_memory *memory, size_t bytes, const char *what, cm3_staged_buffer *buffer);
void cm3_staged_buffer_free(cm3_staged_buffer *buffer);

/* The whole of it, from the host and back to it. Nothing happens where both are the same block. */
cm3_status cm3_staged_buffer_upload(const cm3_staged_buffer *buffer);
cm3_status cm3_staged_buffer_download(const cm3_staged_buffer *buffer);

#endif
