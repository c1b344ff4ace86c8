#include "train/metrics.h"

#include "core/auto.h"
#include "core/file.h"
#include "core/json.h"
#include "train/tb_events.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct cm3_metrics {
    cm3_path path;
    FILE *file;
    cm3_json_writer writer;
    cm3_tb_events *events;
    double now; /* when the present line began */
    int64_t step;
    char kind[64];
    cm3_status first; /* the first fault, and what was said about it */
    char *message;
};

static double wall_time(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* --- resuming ---------------------------------------------------------------------------------------------------- */

/* A line is kept if it is whole and no later than the step: a run that was killed may have left half a line. */
static bool keeps(const char *path, const char *line, size_t length, int64_t step) {
    json_t *object;
    int64_t at;
    if (length == 0 || line[length - 1] != '\n' || cm3_json_parse(path, line, length, &object) != CM3_OK) return false;
    const bool kept = cm3_json_need_int(object, path, "step", 0, INT64_MAX, &at) == CM3_OK && at <= step;
    json_decref(object);
    return kept;
}

static cm3_status copy_kept(const char *path, FILE *from, int64_t step) {
    cm3_output *output;
    CM3_TRY(cm3_output_open(path, &output));
    CM3_AUTO_FREE char *line = NULL;
    size_t capacity = 0;
    for (ssize_t length; (length = getline(&line, &capacity, from)) > 0;)
        if (keeps(path, line, (size_t)length, step)) fwrite(line, 1, (size_t)length, cm3_output_stream(output));
    if (ferror(from)) {
        cm3_output_discard(output);
        return cm3_fail(CM3_ERR_IO, "%s: cannot read: %s", path, strerror(errno));
    }
    return cm3_output_commit(output);
}

static cm3_status cut_after(const char *path, int64_t step) {
    if (step <= 0) return cm3_file_write(path, "", 0);
    FILE *from = fopen(path, "r");
    if (from == NULL)
        return errno == ENOENT ? CM3_OK : cm3_fail(CM3_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    const cm3_status status = copy_kept(path, from, step);
    fclose(from);
    return status;
}

/* --- opening and closing ----------------------------------------------------------------------------------------- */

static cm3_status open_events(cm3_metrics *m, const char *run, int64_t first_step) {
    char host[64] = "host";
    gethostname(host, sizeof host - 1);
    const double now = wall_time();
    /* TensorBoard reads a folder's event files in the order of their names. */
    const cm3_path path = cm3_path_format("%s/events.out.tfevents.%010lld.%06d.%s.%d", run, (long long)now,
                                          (int)(1e6 * (now - (double)(long long)now)), host, (int)getpid());
    return cm3_tb_events_create(path.text, now, first_step, &m->events);
}

static cm3_status open_all(cm3_metrics *m, const char *run, int64_t resumed_step) {
    m->path = cm3_path_join(run, "metrics.jsonl");
    CM3_TRY(cm3_folder_make(run));
    CM3_TRY(cut_after(m->path.text, resumed_step));
    m->file = fopen(m->path.text, "a");
    if (m->file == NULL) return cm3_fail(CM3_ERR_IO, "%s: cannot open: %s", m->path.text, strerror(errno));
    m->writer = cm3_json_writer_on(m->file);
    return open_events(m, run, resumed_step > 0 ? resumed_step + 1 : 0);
}

cm3_status cm3_metrics_open(const char *run, int64_t resumed_step, cm3_metrics **metrics) {
    *metrics = NULL;
    cm3_metrics *m = calloc(1, sizeof *m);
    if (m == NULL) return cm3_fail(CM3_ERR_MEMORY, "out of memory for metrics");
    const cm3_status status = open_all(m, run, resumed_step);
    if (status == CM3_OK)
        *metrics = m;
    else
        (void)cm3_metrics_close(m);
    return status;
}

/* Remembers the first fault, so that closing can report one that a caller passed over. */
static cm3_status note(cm3_metrics *m, cm3_status status) {
    if (status != CM3_OK && m->first == CM3_OK) {
        m->first = status;
        m->message = strdup(cm3_message());
    }
    return status;
}

cm3_status cm3_metrics_close(cm3_metrics *m) {
    if (m == NULL) return CM3_OK;
    note(m, cm3_tb_events_close(m->events));
    if (m->file != NULL && fclose(m->file) != 0)
        note(m, cm3_fail(CM3_ERR_IO, "%s: cannot write: %s", m->path.text, strerror(errno)));
    const cm3_status status = m->first;
    if (status != CM3_OK) cm3_fail(status, "%s", m->message == NULL ? "metrics could not be written" : m->message);
    free(m->message);
    free(m);
    return status;
}

/* --- lines ------------------------------------------------------------------------------------------------------- */

void cm3_metrics_begin(cm3_metrics *m, const char *kind, int64_t step) {
    if (m == NULL) return;
    m->now = wall_time();
    m->step = step;
    snprintf(m->kind, sizeof m->kind, "%s", kind);
    cm3_json_begin_object(&m->writer, NULL);
    cm3_json_put_string(&m->writer, "kind", kind);
    cm3_json_put_int(&m->writer, "step", step);
}

void cm3_metrics_put(cm3_metrics *m, const char *name, double value) {
    if (m == NULL) return;
    char tag[192];
    snprintf(tag, sizeof tag, "%s/%s", m->kind, name);
    cm3_json_put_double(&m->writer, name, value);
    cm3_tb_events_scalar(m->events, m->now, m->step, tag, (float)value);
}

void cm3_metrics_put_int(cm3_metrics *m, const char *name, int64_t value) {
    if (m != NULL) cm3_json_put_int(&m->writer, name, value);
}

cm3_status cm3_metrics_end(cm3_metrics *m) {
    if (m == NULL) return CM3_OK;
    cm3_json_end_object(&m->writer);
    errno = 0;
    cm3_json_end_line(&m->writer);
    if (ferror(m->file))
        return note(m, cm3_fail(CM3_ERR_IO, "%s: cannot write: %s", m->path.text,
                                errno != 0 ? strerror(errno) : "an earlier write failed"));
    return note(m, cm3_tb_events_flush(m->events));
}

cm3_status cm3_metrics_image(cm3_metrics *m, const char *tag, int64_t step, const void *png, size_t bytes, int width,
                             int height) {
    if (m == NULL) return CM3_OK;
    cm3_tb_events_image(m->events, wall_time(), step, tag, png, bytes, width, height);
    return note(m, cm3_tb_events_flush(m->events));
}
