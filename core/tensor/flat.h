/* The optimizer's passes over flat ranges of f32 in a backend's memory. A backend's `flat` table has all of them. */
#ifndef CM3_CORE_TENSOR_FLAT_H
#define CM3_CORE_TENSOR_FLAT_H

#include "core/status.h"

#include <stdbool.h>
#include <stdint.h>

/* A part of a flat range whose parameters all decay (matrices), or all do not (gains, biases). */
typedef struct cm3_flat_span {
    int64_t offset, count; /* elements */
    bool decay;
} cm3_flat_span;

/* One AdamW update, with all that depends on the step alone folded into eight numbers (cm3_adamw_update() of
 * optim/adamw.h computes them):
 *
 *     g = clip grad;  m = beta1 m + gain1 g;  v = beta2 v + gain2 g^2
 *     value -= rate m / (sqrt(v) + epsilon) + decay value                (decay 0 outside of spans that decay)
 *
 * Every product and sum is rounded on its own (no FMA): all backends and instruction sets give the same bits. */
typedef struct cm3_flat_adamw {
    float clip, beta1, beta2, gain1, gain2, rate, epsilon, decay;
    const cm3_flat_span *spans; /* in host memory; ascending, not overlapping; elements between them are not updated */
    int64_t span_count, size;   /* size: elements of the flat range */
    float *value, *m, *v;       /* (size) */
    const float *grad;          /* (size) */
    void *bf16_weights;         /* (size) bf16: receives the new values, rounded; or NULL */
} cm3_flat_adamw;

/* What decides whether an update is made. */
typedef struct cm3_flat_verdict {
    double norm;    /* of the gradient */
    float loss;     /* 0 if none was given */
    float factor;   /* min(1, limit / norm), by which the gradient is scaled */
    int32_t finite; /* norm and loss are finite; otherwise nothing was updated */
} cm3_flat_verdict;

typedef struct cm3_flat {
    /* Measures the norm of grad (size) in double and in a fixed order, which does not depend on the number of threads
     * (not finite if an element is not), clips it to `limit` (0: no clipping) and applies AdamW, unless the norm or the
     * loss (1; NULL: none) is not finite. Asynchronous: `verdict` is pinned memory (core/tensor/memory.h), complete
     * once an event recorded behind the call is; update and spans may change when it returns. */
    cm3_status (*clipped_adamw)(const cm3_flat_adamw *update, double limit, const float *loss,
                                cm3_flat_verdict *verdict);
} cm3_flat;

#endif
