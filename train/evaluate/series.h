/* Curves out of metrics.jsonl. */
#ifndef CM3_TRAIN_EVALUATE_SERIES_H
#define CM3_TRAIN_EVALUATE_SERIES_H

#include "core/list.h"

#include <stdint.h>

typedef struct cm3_point {
    double x, y; /* step, value */
} cm3_point;

/* In the order of the file. */
typedef CM3_LIST(cm3_point) cm3_series;

cm3_status cm3_series_add(cm3_series *series, double x, double y);
void cm3_series_free(cm3_series *series); /* leaves an empty one */

/* What to collect: the member `key` of the lines of one kind ("train", "validation"). */
typedef struct cm3_series_wanted {
    const char *kind, *key;
    cm3_series *series;
} cm3_series_wanted;

/* Reads the file once. Values that are missing or not finite are left out, and so is a last line that was cut short.
 * CM3_ERR_NOT_FOUND if there is no file. */
cm3_status cm3_series_read(const char *path, const cm3_series_wanted *wanted, int count);

/* Means of consecutive points, at most `most` of them: a long noisy curve as one that can be drawn. */
cm3_status cm3_series_thin(const cm3_series *series, int64_t most, cm3_series *thin);
double cm3_series_sum(const cm3_series *series);
const cm3_point *cm3_series_last(const cm3_series *series); /* NULL if empty */
/* The value that half of the points are below; 0 if empty. */
cm3_status cm3_series_median(const cm3_series *series, double *median);

#endif
