/* Whether a library computes something, or our own kernels: tried on the device at the first use of a shape, forward
 * and backward each for itself, said in one line of the log, and kept.
 *
 * The library is taken if on random numbers its results are ours within what their type leaves open, if it gives the
 * same bits twice, and if it is faster. */
#ifndef CM3_CORE_KERNELS_CUDA_AUTOTUNE_H
#define CM3_CORE_KERNELS_CUDA_AUTOTUNE_H

#include "core/kernels/cuda/launch.h"

/* How a result is compared, so that one part of it cannot hide in the rest: as (any, rows, across, width), every
 * rows x width for itself. */
struct cm3__parts {
    int64_t rows, across, width;
};

struct cm3__autotune {
    const char *library;                /* its name */
    const cm3_kernel *own, *librarys;   /* whose workspace of 0 bytes says that it does not take a call */
    cm3__parts results[CM3_OP_INPUTS]; /* forward: the outputs; backward: the gradients that the call wants */
    bool backward;
};

/* The kernel of the two for this call. `what` says what is computed, in words that tell it from everything else: of the
 * log, and by which the choice is found again. The first use takes memory and waits: it cannot be part of a graph. */
const cm3_kernel *cm3__autotune_pick(const char *what, const cm3_call *call, const cm3__autotune &of);

#endif
