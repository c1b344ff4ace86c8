#include "train/guard.h"

#include "core/log.h"

#include <math.h>

static const char *const choices[] = {"stop", "skip", NULL};

const cm3_field cm3_guard_fields[] = {
    CM3_FIELD_CHOICE(cm3_guard_config, on_nonfinite, "stop", choices,
                     "what to do when a loss or gradient is not finite", .effect = CM3_CHANGES_LENGTH),
    CM3_FIELD_INT(cm3_guard_config, max_skips, "10", 1, 1e9, "updates",
                  "updates skipped in a row before the run stops after all", .effect = CM3_CHANGES_LENGTH),
    CM3_FIELD_END};

cm3_guard cm3_guard_new(const cm3_guard_config *config) {
    return (cm3_guard){.config = *config};
}

cm3_status cm3_guard_judge(cm3_guard *guard, int64_t step, double loss, double gradient_norm) {
    if (isfinite(loss) && isfinite(gradient_norm)) {
        guard->skips_in_row = 0;
        return CM3_OK;
    }
    guard->skips++;
    guard->skips_in_row++;
    const long long at = (long long)step;
    if (guard->config.on_nonfinite == CM3_NONFINITE_STOP)
        return cm3_fail(CM3_ERR_NUMERIC, "step %lld: loss %g, gradient norm %g: not finite, the update was not made",
                        at, loss, gradient_norm);
    if (guard->skips_in_row > guard->config.max_skips)
        return cm3_fail(CM3_ERR_NUMERIC,
                        "step %lld: loss %g, gradient norm %g: not finite, after %lld skipped updates in a row", at,
                        loss, gradient_norm, (long long)guard->config.max_skips);
    cm3_log_warn("step %lld: loss %g, gradient norm %g: not finite, update skipped (%lld so far)", at, loss,
                 gradient_norm, (long long)guard->skips);
    return CM3_OK;
}
