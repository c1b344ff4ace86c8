/* What cuDNN computes for us, and running it: a plan is made at the first run of a shape and kept, the library is
 * opened at the first of all. Where the tests run kernels on the host something else has the place of cudnn_run.c
 * (tests/support/simt/simt_cudnn.cpp). */
#ifndef CM3_CORE_KERNELS_CUDA_CUDNN_RUN_H
#define CM3_CORE_KERNELS_CUDA_CUDNN_RUN_H

#ifdef __cplusplus
extern "C" {
#endif

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cm3__graph; /* cudnn_graph.h */

enum { CM3__CUDNN_TENSORS = 16, CM3__CUDNN_SHAPE = 128, CM3__CUDNN_ALIGNMENT = 256 };

/* An operation that cuDNN may compute. Its shape is a struct of its own, told from others by its bytes; its tensors
 * have numbers from 1 to CM3__CUDNN_TENSORS - 1. */
typedef struct cm3__cudnn_operation {
    const char *name;
    size_t shape_bytes; /* at most CM3__CUDNN_SHAPE */
    bool exact;         /* only engines that stay in f32: none that rounds factors to TF32, or less */
    bool clean;         /* a plan's own memory must begin at zero */
    /* Bytes that a plan may want for itself, by the shape alone (cudnn_workspace.c). */
    int64_t (*room)(const void *shape);
    /* Adds what computes graph->shape; NULL where cuDNN's header was not found. */
    void (*describe)(struct cm3__graph *graph);
} cm3__cudnn_operation;

/* False under CM3_CUDNN=0. */
bool cm3__cudnn_is_wanted(void);
/* address: of every tensor by its number; workspace: the operation's room and CM3__CUDNN_ALIGNMENT bytes. Fails where
 * there is no cuDNN or its header was not found, and where it has no plan. */
cm3_status cm3__cudnn_run(const cm3__cudnn_operation *operation, const void *shape, void *const address[],
                          void *workspace);

#ifdef __cplusplus
}
#endif

#endif
