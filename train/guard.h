/* The guard stands before every update: a loss or a gradient that is not finite must never reach the parameters. */
#ifndef CM3_TRAIN_GUARD_H
#define CM3_TRAIN_GUARD_H

#include "core/config.h"
#include "core/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum cm3_on_nonfinite { CM3_NONFINITE_STOP, CM3_NONFINITE_SKIP } cm3_on_nonfinite;

typedef struct cm3_guard_config {
    int on_nonfinite;  /* cm3_on_nonfinite */
    int64_t max_skips; /* updates skipped in a row before the run stops */
} cm3_guard_config;

extern const cm3_field cm3_guard_fields[];

typedef struct cm3_guard {
    cm3_guard_config config;
    int64_t skips, skips_in_row; /* of the whole run; kept in checkpoints, so the caller may set them */
} cm3_guard;

cm3_guard cm3_guard_new(const cm3_guard_config *config);

/* Loss and norm of one step, the same on all ranks (so that all decide alike), whose update was made only if both are
 * finite: steps in their order, each once, the next one being on its way already or not. CM3_OK: go on, a skipped
 * update is counted; CM3_ERR_NUMERIC: stop, the message says at which step and why. */
cm3_status cm3_guard_judge(cm3_guard *guard, int64_t step, double loss, double gradient_norm);

#endif
