#include "optim/adamw.h"

#include <math.h>

const cm3_field cm3_adamw_fields[] = {
    CM3_FIELD_FLOAT(cm3_adamw_config, learning_rate, "6e-4", 0, 10, "", "peak learning rate"),
    CM3_FIELD_FLOAT(cm3_adamw_config, beta1, "0.9", 0, 0.999999, "", "decay of the gradient's running mean"),
    CM3_FIELD_FLOAT(cm3_adamw_config, beta2, "0.95", 0, 0.999999, "", "decay of the squared gradient's running mean"),
    CM3_FIELD_FLOAT(cm3_adamw_config, epsilon, "1e-8", 1e-20, 1, "",
                    "added to the root of the squared gradient's mean"),
    CM3_FIELD_FLOAT(cm3_adamw_config, weight_decay, "0.1", 0, 10, "",
                    "share of a matrix taken off an update, times the learning rate"),
    CM3_FIELD_FLOAT(cm3_adamw_config, clip, "1.0", 0, 1e9, "", "largest global norm of the gradient; 0: no clipping"),
    CM3_FIELD_END};

/* Everything that is the same for all elements, in the form that the inner loop wants:
 * lr * m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)  =  rate * m / (sqrt(v) + eps'), with the corrections moved
 * out. */
cm3_flat_adamw cm3_adamw_flat(const cm3_adamw_config *config, const cm3_adamw_update *update) {
    const double correction1 = 1 - pow(config->beta1, (double)update->step);
    const double correction2 = sqrt(1 - pow(config->beta2, (double)update->step));
    return (cm3_flat_adamw){
        .clip = (float)update->clip_factor,
        .beta1 = (float)config->beta1,
        .beta2 = (float)config->beta2,
        .gain1 = (float)(1 - config->beta1),
        .gain2 = (float)(1 - config->beta2),
        .rate = (float)(update->learning_rate * correction2 / correction1),
        .epsilon = (float)(config->epsilon * correction2),
        .decay = (float)(update->learning_rate * config->weight_decay),
    };
}

static void update_range(const cm3_flat_adamw *given, float decay, int64_t count, float *restrict value,
                         const float *restrict grad, float *restrict m, float *restrict v) {
    const cm3_flat_adamw f = *given;
    for (int64_t i = 0; i < count; i++) {
        const float g = f.clip * grad[i];
        m[i] = f.beta1 * m[i] + f.gain1 * g;
        v[i] = f.beta2 * v[i] + f.gain2 * (g * g);
        value[i] -= f.rate * (m[i] / (sqrtf(v[i]) + f.epsilon)) + decay * value[i];
    }
}

/* The flat range is cut into blocks for the threads, wherever spans begin and end: many small spans cost no more than
 * one. */
enum { BLOCK = 1 << 15 };

void cm3_adamw_apply(const cm3_adamw_config *config, const cm3_adamw_update *update, const cm3_adamw_span *spans,
                     int64_t span_count, float *value, const float *grad, float *m, float *v) {
    if (span_count <= 0) return;
    const cm3_flat_adamw f = cm3_adamw_flat(config, update);
    const int64_t first = spans[0].offset, last = spans[span_count - 1].offset + spans[span_count - 1].count;
    const int64_t blocks = (last - first + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static) if (blocks > 1)
    for (int64_t block = 0; block < blocks; block++) {
        const int64_t begin = first + block * BLOCK, end = begin + BLOCK;
        int64_t low = 0, high = span_count; /* the first span that ends after `begin` */
        while (low < high) {
            const int64_t middle = (low + high) / 2;
            if (spans[middle].offset + spans[middle].count <= begin)
                low = middle + 1;
            else
                high = middle;
        }
        for (int64_t s = low; s < span_count && spans[s].offset < end; s++) {
            const int64_t from = spans[s].offset > begin ? spans[s].offset : begin;
            const int64_t span_end = spans[s].offset + spans[s].count, to = span_end < end ? span_end : end;
            update_range(&f, spans[s].decay ? f.decay : 0, to - from, value + from, grad + from, m + from, v + from);
        }
    }
}
