/* AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019) on flat ranges, in f32.
 *
 *     g  = clip_factor * grad
 *     m  = beta1 m + (1 - beta1) g            v = beta2 v + (1 - beta2) g^2
 *     w -= lr * ( (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon) + weight_decay w )
 *
 * One pass over memory: 16 bytes read and 12 written for each parameter, which is all that bounds its speed. The result
 * does not depend on the number of threads, nor on the processor's instruction set. */
#ifndef CM3_OPTIM_ADAMW_H
#define CM3_OPTIM_ADAMW_H

#include "core/config.h"
#include "core/tensor/flat.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct cm3_adamw_config {
    double learning_rate; /* the peak; optim/schedule.h scales it */
    double beta1, beta2;
    double epsilon;
    double weight_decay;
    double clip; /* largest global norm of the gradient; 0: no clipping */
} cm3_adamw_config;

extern const cm3_field cm3_adamw_fields[];

/* A part of the flat range whose parameters all decay (matrices), or all do not (gains, biases). Spans ascend and do
 * not overlap; elements outside of all of them (padding) are left alone. */
typedef cm3_flat_span cm3_adamw_span;

typedef struct cm3_adamw_update {
    int64_t step;         /* t: 1 for the first update */
    double learning_rate; /* of this step: peak times schedule */
    double clip_factor;   /* from cm3_clip_factor(); also the place for 1 / accumulation or loss scales */
} cm3_adamw_update;

/* Updates `value`, `m` and `v`, which are all addresses of element 0 of the flat range. m and v start as zeros. */
void cm3_adamw_apply(const cm3_adamw_config *config, const cm3_adamw_update *update, const cm3_adamw_span *spans,
                     int64_t span_count, float *value, const float *grad, float *m, float *v);

/* The numbers of this update for a device that makes it (core/tensor/flat.h); its buffers are left to the caller. */
cm3_flat_adamw cm3_adamw_flat(const cm3_adamw_config *config, const cm3_adamw_update *update);

#endif
