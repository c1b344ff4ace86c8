/* Passes over flat ranges of f32 in a backend's memory: what an optimizer needs of a device. (On the host's memory
 * optim/ does the same itself.) */
#ifndef CM3_CORE_TENSOR_FLAT_H
#define CM3_CORE_TENSOR_FLAT_H

#include "core/status.h"

#include <stdbool.h>
#include <stdint.h>

/* A part of a flat range whose parameters all decay, or all do not. */
typedef struct cm3_flat_span {
    int64_t offset, count;
    bool decay;
} cm3_flat_span;

/* AdamW as optim/adamw.h has it, with what depends on the step alone folded into few numbers:
 *
 *     g = clip grad;  m = beta1 m + gain1 g;  v = beta2 v + gain2 g^2
 *     value -= rate m / (sqrt(v) + epsilon) + decay value                (decay 0 outside of spans that decay)       */
typedef struct cm3_flat_adamw {
    float clip, beta1, beta2, gain1, gain2, rate, epsilon, decay;
    const cm3_flat_span *spans; /* the host's; ascending, without overlap; what lies between them is left alone */
    int64_t span_count, size;   /* size: elements of the flat range */
    float *value, *m, *v;
    const float *grad;
    void *bf16_weights; /* bf16: receives the new values rounded; or NULL */
} cm3_flat_adamw;

/* What the device finds before an update, and decides by. */
typedef struct cm3_flat_verdict {
    double norm;    /* of the gradient */
    float loss;     /* 0 if none was given */
    float factor;   /* min(1, limit / norm) */
    int32_t finite; /* whether both are: if not, nothing is updated */
} cm3_flat_verdict;

typedef struct cm3_flat {
    /* Sum of squares in a fixed order; not finite if an element is not. Waits for the result. */
    cm3_status (*sum_of_squares)(const float *values, int64_t count, double *sum);
    /* AdamW of a gradient clipped to a norm of `limit` (0: not clipped), which is measured, applied and judged on the
     * device: where the norm is not finite, or `loss` (1; or NULL), nothing is updated. Queued, not waited for:
     * `verdict` is pinned memory (core/tensor/memory.h) that receives what was found. */
    cm3_status (*clipped_adamw)(const cm3_flat_adamw *update, double limit, const float *loss,
                                cm3_flat_verdict *verdict);
} cm3_flat;

#endif
