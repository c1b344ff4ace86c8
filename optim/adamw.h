/* AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019) on flat ranges, in f32.
 *
 *     g  = clip_factor * grad
 *     m  = beta1 m + (1 - beta1) g            v = beta2 v + (1 - beta2) g^2
 *     w -= lr * ( (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon) + weight_decay w )
 *
 * A backend makes the update in one pass over memory (core/tensor/flat.h): 16 bytes read and 12 written for each
 * parameter, which is all that bounds its speed. */
#ifndef CM3_OPTIM_ADAMW_H
#define CM3_OPTIM_ADAMW_H

#include "core/config.h"
#include "core/tensor/flat.h"

typedef struct cm3_adamw_config {
    double learning_rate; /* the peak; optim/schedule.h scales it */
    double beta1, beta2;
    double epsilon;
    double weight_decay;
    double clip; /* largest global norm of the gradient; 0: no clipping */
} cm3_adamw_config;

extern const cm3_field cm3_adamw_fields[];

/* The numbers of update t = `step` (1 is the first) at this learning rate (peak times schedule), with a clip factor of
 * 1. The caller adds spans and buffers; m and v start as zeros. */
cm3_flat_adamw cm3_adamw_update(const cm3_adamw_config *config, int64_t step, double learning_rate);

#endif
