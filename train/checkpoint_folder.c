#include "train/checkpoint_internal.h"

#include "core/auto.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const cm3_field cm3_checkpoint_fields[] = {
    CM3_FIELD_INT(cm3_checkpoint_config, every, "1000", 0, 1e12, "updates",
                  "updates between checkpoints; 0: only at the end", .effect = CM3_CHANGES_MEMORY),
    CM3_FIELD_INT(cm3_checkpoint_config, keep, "3", 0, 1e9, "",
                  "newest checkpoints that are kept beside the best; 0: all", .effect = CM3_CHANGES_MEMORY),
    CM3_FIELD_END};

cm3_path cm3__checkpoint_path(const char *run, int64_t step, const char *suffix) {
    return cm3_path_format("%s/checkpoints/step-%lld%s", run, (long long)step, suffix);
}

/* The N of "step-N", -1 for any other name. */
static int64_t step_of(const char *name) {
    if (strncmp(name, "step-", 5) != 0 || name[5] < '0' || name[5] > '9') return -1;
    char *end;
    errno = 0;
    const long long step = strtoll(name + 5, &end, 10);
    return *end == 0 && errno == 0 ? step : -1;
}

static bool is_complete(const char *path) {
    return cm3_path_exists(cm3_path_join(path, CM3__MANIFEST).text);
}

static int ascending(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The steps of a run's complete checkpoints, ascending; none if there is no folder. */
static cm3_status list_steps(const char *run, int64_t **steps, size_t *count) {
    *steps = NULL;
    *count = 0;
    const cm3_path folder = cm3_path_join(run, "checkpoints");
    CM3_AUTO(cm3_names_free) cm3_names names = {0};
    if (cm3_path_is_folder(folder.text)) CM3_TRY(cm3_folder_list(folder.text, &names));
    *steps = malloc((names.count + 1) * sizeof **steps);
    if (!*steps) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a list of checkpoints");
    for (size_t i = 0; i < names.count; i++) {
        const int64_t step = step_of(names.names[i]);
        if (step >= 0 && is_complete(cm3_path_join(folder.text, names.names[i]).text)) (*steps)[(*count)++] = step;
    }
    if (*count > 0) qsort(*steps, *count, sizeof **steps, ascending);
    return CM3_OK;
}

static cm3_path best_path(const char *run) {
    return cm3_path_join(run, "checkpoints/best");
}

/* The step that RUN/checkpoints/best names, -1 without one. */
static int64_t best_step(const char *run) {
    const cm3_path path = best_path(run);
    char *text;
    size_t length;
    if (!cm3_path_exists(path.text) || cm3_file_read(path.text, 256, &text, &length) != CM3_OK) return -1;
    text[strcspn(text, "\n")] = 0;
    const int64_t step = step_of(text);
    free(text);
    return step;
}

cm3_status cm3_checkpoint_mark_best(const char *run, int64_t step) {
    char text[CM3__NAME_MAX];
    const int length = snprintf(text, sizeof text, "step-%lld\n", (long long)step);
    return cm3_file_write(best_path(run).text, text, (size_t)length);
}

cm3_status cm3_checkpoint_latest(const char *run, cm3_path *path) {
    CM3_AUTO_FREE int64_t *steps = NULL;
    size_t count;
    CM3_TRY(list_steps(run, &steps, &count));
    if (count == 0) return cm3_fail(CM3_ERR_NOT_FOUND, "%s: holds no complete checkpoint (checkpoints/step-N)", run);
    *path = cm3__checkpoint_path(run, steps[count - 1], "");
    return CM3_OK;
}

cm3_status cm3_checkpoint_best(const char *run, cm3_path *path) {
    const int64_t step = best_step(run);
    if (step < 0) return cm3_fail(CM3_ERR_NOT_FOUND, "%s: no checkpoint is marked as the best", run);
    *path = cm3__checkpoint_path(run, step, "");
    if (is_complete(path->text)) return CM3_OK;
    return cm3_fail(CM3_ERR_NOT_FOUND, "%s: marked as the best checkpoint, but missing", path->text);
}

cm3_status cm3_checkpoint_find(const char *path, cm3_path *checkpoint) {
    if (!is_complete(path)) {
        if (!cm3_path_exists(path)) return cm3_fail(CM3_ERR_NOT_FOUND, "%s: does not exist", path);
        return cm3_checkpoint_latest(path, checkpoint);
    }
    *checkpoint = cm3_path_format("%s", path);
    return CM3_OK;
}

cm3_status cm3__checkpoint_clean(const char *run) {
    const cm3_path folder = cm3_path_join(run, "checkpoints");
    CM3_AUTO(cm3_names_free) cm3_names names = {0};
    CM3_TRY(cm3_folder_make(folder.text));
    CM3_TRY(cm3_folder_list(folder.text, &names));
    for (size_t i = 0; i < names.count; i++) {
        const char *name = names.names[i];
        const size_t length = strlen(name);
        if (strncmp(name, "step-", 5) != 0 || length < 4 || strcmp(name + length - 4, ".tmp") != 0) continue;
        CM3_TRY(cm3_folder_remove(cm3_path_join(folder.text, name).text));
    }
    return CM3_OK;
}

/* Renamed first: a folder that is half removed must not look like a checkpoint. */
static cm3_status remove_step(const char *run, int64_t step) {
    const cm3_path path = cm3__checkpoint_path(run, step, ""), gone = cm3__checkpoint_path(run, step, ".old.tmp");
    if (rename(path.text, gone.text) != 0)
        return cm3_fail(CM3_ERR_IO, "%s: cannot remove: %s", path.text, strerror(errno));
    return cm3_folder_remove(gone.text);
}

cm3_status cm3__checkpoint_prune(const char *run, int64_t keep) {
    CM3_AUTO_FREE int64_t *steps = NULL;
    size_t count;
    CM3_TRY(list_steps(run, &steps, &count));
    const int64_t best = best_step(run);
    for (size_t i = 0; keep > 0 && i + (size_t)keep < count; i++)
        if (steps[i] != best) CM3_TRY(remove_step(run, steps[i]));
    return CM3_OK;
}
