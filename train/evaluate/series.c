#include "train/evaluate/series.h"

#include "core/auto.h"
#include "core/json.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

cm3_status cm3_series_add(cm3_series *s, double x, double y) {
    return CM3_LIST_PUSH(s, (cm3_point){x, y});
}

void cm3_series_free(cm3_series *s) {
    CM3_LIST_FREE(s);
}

static cm3_status read_line(const char *path, const char *line, size_t length, const cm3_series_wanted *wanted,
                            int count) {
    json_t *object;
    if (length == 0 || line[length - 1] != '\n' || cm3_json_parse(path, line, length, &object) != CM3_OK)
        return CM3_OK; /* cut short by a kill */
    const char *kind = json_string_value(json_object_get(object, "kind"));
    const json_t *step = json_object_get(object, "step");
    cm3_status status = CM3_OK;
    for (int i = 0; i < count && kind && json_is_integer(step) && status == CM3_OK; i++) {
        const json_t *value = json_object_get(object, wanted[i].key);
        if (strcmp(kind, wanted[i].kind) == 0 && json_is_number(value) && isfinite(json_number_value(value)))
            status = cm3_series_add(wanted[i].series, (double)json_integer_value(step), json_number_value(value));
    }
    json_decref(object);
    return status;
}

cm3_status cm3_series_read(const char *path, const cm3_series_wanted *wanted, int count) {
    FILE *file = fopen(path, "r");
    if (!file)
        return cm3_fail(errno == ENOENT ? CM3_ERR_NOT_FOUND : CM3_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    CM3_AUTO_FREE char *line = NULL;
    size_t capacity = 0;
    cm3_status status = CM3_OK;
    for (ssize_t length; status == CM3_OK && (length = getline(&line, &capacity, file)) > 0;)
        status = read_line(path, line, (size_t)length, wanted, count);
    if (status == CM3_OK && ferror(file)) status = cm3_fail(CM3_ERR_IO, "%s: cannot read: %s", path, strerror(errno));
    fclose(file);
    return status;
}

cm3_status cm3_series_thin(const cm3_series *s, int64_t most, cm3_series *thin) {
    const int64_t count = (int64_t)s->count, points = count < most ? count : most;
    for (int64_t p = 0; p < points; p++) {
        const int64_t begin = p * count / points, end = (p + 1) * count / points;
        double x = 0, y = 0;
        for (int64_t i = begin; i < end; i++) {
            x += s->items[i].x;
            y += s->items[i].y;
        }
        CM3_TRY(cm3_series_add(thin, x / (double)(end - begin), y / (double)(end - begin)));
    }
    return CM3_OK;
}

double cm3_series_sum(const cm3_series *s) {
    double sum = 0;
    for (size_t i = 0; i < s->count; i++) sum += s->items[i].y;
    return sum;
}

const cm3_point *cm3_series_last(const cm3_series *s) {
    return s->count ? &s->items[s->count - 1] : NULL;
}

static int by_value(const void *a, const void *b) {
    const double x = ((const cm3_point *)a)->y, y = ((const cm3_point *)b)->y;
    return x < y ? -1 : x > y;
}

cm3_status cm3_series_median(const cm3_series *s, double *median) {
    CM3_AUTO(cm3_series_free) cm3_series sorted = {0};
    *median = 0;
    if (s->count == 0) return CM3_OK;
    CM3_TRY(CM3_LIST_APPEND(&sorted, s->items, s->count));
    qsort(sorted.items, sorted.count, sizeof *sorted.items, by_value);
    *median = sorted.items[sorted.count / 2].y;
    return CM3_OK;
}
