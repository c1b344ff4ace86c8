/* The metrics of a run: RUN/metrics.jsonl, one JSON object per line, and the same in TensorBoard's format.
 *
 *     {"kind":"train","step":12,"loss":3.25,...}          tag in TensorBoard: train/loss
 *     {"kind":"validation","step":12,"loss_text":2.9,...}
 *
 * Each line is flushed at its end. Opening the metrics of a resumed run removes what was written after the checkpoint's
 * step, so that no step appears twice. Rank 0 writes; on other ranks the handle is NULL, which every
 * function allows. */
#ifndef CM3_TRAIN_METRICS_H
#define CM3_TRAIN_METRICS_H

#include "core/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct cm3_metrics cm3_metrics;

/* Opens or makes the metrics of the folder. `resumed_step` is the last step to keep: 0 for a new run. */
cm3_status cm3_metrics_open(const char *run, int64_t resumed_step, cm3_metrics **metrics);
/* Reports the first write that failed. */
cm3_status cm3_metrics_close(cm3_metrics *metrics);

/* One line: begin, put any number of values, end. Doubles also become TensorBoard scalars KIND/NAME. */
void cm3_metrics_begin(cm3_metrics *metrics, const char *kind, int64_t step);
void cm3_metrics_put(cm3_metrics *metrics, const char *name, double value);
void cm3_metrics_put_int(cm3_metrics *metrics, const char *name, int64_t value);
cm3_status cm3_metrics_end(cm3_metrics *metrics);

/* TensorBoard only: an encoded PNG. `tag` is the whole tag: "samples/heart". */
cm3_status cm3_metrics_image(cm3_metrics *metrics, const char *tag, int64_t step, const void *png, size_t bytes,
                             int width, int height);

#endif
