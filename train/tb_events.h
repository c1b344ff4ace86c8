/* TensorBoard event files: TFRecord framing (length, masked CRC-32C) around hand-encoded protocol buffers
 * (tensorflow/core/util/event.proto, framework/summary.proto). Only what TensorBoard needs for scalars and images. */
#ifndef CM3_TRAIN_TB_EVENTS_H
#define CM3_TRAIN_TB_EVENTS_H

#include "core/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct cm3_tb_events cm3_tb_events;

/* Makes a new file. Its first records are the format's version and the start of a session at `first_step`, which
 * makes TensorBoard discard that step and later ones of earlier files in the folder. */
cm3_status cm3_tb_events_create(const char *path, double wall_time, int64_t first_step, cm3_tb_events **events);
/* Faults stick and are reported by flush and close. */
void cm3_tb_events_scalar(cm3_tb_events *events, double wall_time, int64_t step, const char *tag, float value);
void cm3_tb_events_image(cm3_tb_events *events, double wall_time, int64_t step, const char *tag, const void *png,
                         size_t bytes, int width, int height);
cm3_status cm3_tb_events_flush(cm3_tb_events *events);
cm3_status cm3_tb_events_close(cm3_tb_events *events); /* NULL is allowed */

#endif
