/* The learning rate over a run: linear warmup, then constant, linear or cosine decay to a fraction of the peak. */
#ifndef CM3_OPTIM_SCHEDULE_H
#define CM3_OPTIM_SCHEDULE_H

#include "core/config.h"

#include <stdint.h>

typedef enum cm3_schedule_decay { CM3_SCHEDULE_CONSTANT, CM3_SCHEDULE_LINEAR, CM3_SCHEDULE_COSINE } cm3_schedule_decay;

typedef struct cm3_schedule_config {
    int64_t warmup_steps;
    int decay; /* cm3_schedule_decay */
    double final_fraction;
} cm3_schedule_config;

extern const cm3_field cm3_schedule_fields[];

/* What the peak learning rate is multiplied with in update `step` (0 is the first) of `steps`. Warmup rises by
 * 1/warmup_steps an update and reaches 1 with its last one; decay reaches final_fraction with the last update of the
 * run, and stays there. */
double cm3_schedule_factor(const cm3_schedule_config *config, int64_t step, int64_t steps);

#endif
