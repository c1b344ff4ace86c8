#include "optim/schedule.h"

#include <math.h>

static const char *const decay_names[] = {"constant", "linear", "cosine", NULL};

const cm3_field cm3_schedule_fields[] = {
    CM3_FIELD_INT(cm3_schedule_config, warmup_steps, "100", 0, 1e12, "updates", "updates until the peak learning rate"),
    CM3_FIELD_CHOICE(cm3_schedule_config, decay, "linear", decay_names, "how the learning rate falls after the warmup"),
    CM3_FIELD_FLOAT(cm3_schedule_config, final_fraction, "0.1", 0, 1, "",
                    "share of the peak that is left in the last update"),
    CM3_FIELD_END};

double cm3_schedule_factor(const cm3_schedule_config *config, int64_t step, int64_t steps) {
    const int64_t warmup = config->warmup_steps;
    if (step < warmup) return (double)(step + 1) / (double)warmup;
    if (config->decay == CM3_SCHEDULE_CONSTANT) return 1;
    const double length = (double)(steps - warmup);
    const double progress = length > 0 ? fmin((double)(step + 1 - warmup) / length, 1) : 1;
    const double left = config->decay == CM3_SCHEDULE_LINEAR ? 1 - progress : 0.5 * (1 + cos(M_PI * progress));
    return config->final_fraction + (1 - config->final_fraction) * left;
}
