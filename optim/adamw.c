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
cm3_flat_adamw cm3_adamw_update(const cm3_adamw_config *config, int64_t step, double learning_rate) {
    const double correction1 = 1 - pow(config->beta1, (double)step);
    const double correction2 = sqrt(1 - pow(config->beta2, (double)step));
    return (cm3_flat_adamw){
        .clip = 1,
        .beta1 = (float)config->beta1,
        .beta2 = (float)config->beta2,
        .gain1 = (float)(1 - config->beta1),
        .gain2 = (float)(1 - config->beta2),
        .rate = (float)(learning_rate * correction2 / correction1),
        .epsilon = (float)(config->epsilon * correction2),
        .decay = (float)(learning_rate * config->weight_decay),
    };
}
