#include "train/checkpoint_internal.h"

#include "core/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const cm3_field cm3_checkpoint_fields[] = {
    CM3_FIELD_INT(cm3_checkpoint_config, every, "1000", 0, 1e12, "updates",
                  "updates between checkpoints; 0: only at the end", .effect = CM3_CHANGES_MEMORY),
    CM3_FIELD_INT(cm3_checkpoint_config, keep, "3", 0, 1e9, "",
                  "newest checkpoints that are kept beside the best; 0: all", .effect = CM3_CHANGES_MEMORY),
    CM3_FIELD_END};

static char *folder_of(const char *run) {
    return cm3_path_join(run, "checkpoints");
}

char *cm3__checkpoint_path(const char *run, int64_t step, const char *suffix) {
    char name[CM3__NAME_MAX];
    snprintf(name, sizeof name, "step-%lld%s", (long long)step, suffix);
    char *folder = folder_of(run), *path = folder == NULL ? NULL : cm3_path_join(folder, name);
    free(folder);
    return path;
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
    char *manifest = cm3_path_join(path, CM3__MANIFEST);
    const bool complete = manifest != NULL && cm3_path_exists(manifest);
    free(manifest);
    return complete;
}

static int ascending(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The steps of a run's complete checkpoints, ascending; none if there is no folder. */
static cm3_status list_steps(const char *run, int64_t **steps, size_t *count) {
    *steps = NULL;
    *count = 0;
    char *folder = folder_of(run);
    if (folder == NULL) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a path");
    cm3_names names = {0};
    cm3_status status = cm3_path_is_folder(folder) ? cm3_folder_list(folder, &names) : CM3_OK;
    if (status == CM3_OK && names.count > 0) {
        *steps = malloc(names.count * sizeof **steps);
        if (*steps == NULL) status = cm3_fail(CM3_ERR_MEMORY, "out of memory for a list of checkpoints");
    }
    for (size_t i = 0; i < names.count && status == CM3_OK; i++) {
        const int64_t step = step_of(names.names[i]);
        char *path = step < 0 ? NULL : cm3_path_join(folder, names.names[i]);
        if (path != NULL && is_complete(path)) (*steps)[(*count)++] = step;
        free(path);
    }
    if (*count > 0) qsort(*steps, *count, sizeof **steps, ascending);
    cm3_names_free(&names);
    free(folder);
    return status;
}

/* The step that RUN/checkpoints/best names, -1 without one. */
static int64_t best_step(const char *run) {
    char *folder = folder_of(run), *path = folder == NULL ? NULL : cm3_path_join(folder, "best"), *text = NULL;
    size_t length = 0;
    int64_t step = -1;
    if (path != NULL && cm3_path_exists(path) && cm3_file_read(path, 256, &text, &length) == CM3_OK) {
        text[strcspn(text, "\n")] = 0;
        step = step_of(text);
    }
    free(text);
    free(path);
    free(folder);
    return step;
}

cm3_status cm3_checkpoint_mark_best(const char *run, int64_t step) {
    char text[CM3__NAME_MAX];
    const int length = snprintf(text, sizeof text, "step-%lld\n", (long long)step);
    char *folder = folder_of(run), *path = folder == NULL ? NULL : cm3_path_join(folder, "best");
    const cm3_status status = path == NULL ? cm3_fail(CM3_ERR_MEMORY, "out of memory for a path")
                                           : cm3_file_write(path, text, (size_t)length);
    free(path);
    free(folder);
    return status;
}

static cm3_status give_path(const char *run, int64_t step, char **path) {
    *path = cm3__checkpoint_path(run, step, "");
    return *path == NULL ? cm3_fail(CM3_ERR_MEMORY, "out of memory for a path") : CM3_OK;
}

cm3_status cm3_checkpoint_latest(const char *run, char **path) {
    int64_t *steps;
    size_t count;
    *path = NULL;
    cm3_status status = list_steps(run, &steps, &count);
    if (status == CM3_OK && count == 0)
        status = cm3_fail(CM3_ERR_NOT_FOUND, "%s: holds no complete checkpoint (checkpoints/step-N)", run);
    if (status == CM3_OK) status = give_path(run, steps[count - 1], path);
    free(steps);
    return status;
}

cm3_status cm3_checkpoint_best(const char *run, char **path) {
    *path = NULL;
    const int64_t step = best_step(run);
    if (step < 0) return cm3_fail(CM3_ERR_NOT_FOUND, "%s: no checkpoint is marked as the best", run);
    CM3_TRY(give_path(run, step, path));
    if (is_complete(*path)) return CM3_OK;
    const cm3_status status = cm3_fail(CM3_ERR_NOT_FOUND, "%s: marked as the best checkpoint, but missing", *path);
    free(*path);
    *path = NULL;
    return status;
}

cm3_status cm3_checkpoint_find(const char *path, char **checkpoint) {
    *checkpoint = NULL;
    if (is_complete(path)) {
        *checkpoint = strdup(path);
        return *checkpoint == NULL ? cm3_fail(CM3_ERR_MEMORY, "out of memory for a path") : CM3_OK;
    }
    if (!cm3_path_exists(path)) return cm3_fail(CM3_ERR_NOT_FOUND, "%s: does not exist", path);
    return cm3_checkpoint_latest(path, checkpoint);
}

cm3_status cm3__checkpoint_clean(const char *run) {
    char *folder = folder_of(run);
    cm3_names names = {0};
    cm3_status status = folder == NULL ? cm3_fail(CM3_ERR_MEMORY, "out of memory for a path") : cm3_folder_make(folder);
    if (status == CM3_OK) status = cm3_folder_list(folder, &names);
    for (size_t i = 0; i < names.count && status == CM3_OK; i++) {
        const char *name = names.names[i];
        const size_t length = strlen(name);
        if (strncmp(name, "step-", 5) != 0 || length < 4 || strcmp(name + length - 4, ".tmp") != 0) continue;
        char *path = cm3_path_join(folder, name);
        status = path == NULL ? cm3_fail(CM3_ERR_MEMORY, "out of memory for a path") : cm3_folder_remove(path);
        free(path);
    }
    cm3_names_free(&names);
    free(folder);
    return status;
}

/* Renamed first: a folder that is half removed must not look like a checkpoint. */
static cm3_status remove_step(const char *run, int64_t step) {
    char *path = cm3__checkpoint_path(run, step, ""), *gone = cm3__checkpoint_path(run, step, ".old.tmp");
    cm3_status status = CM3_OK;
    if (path == NULL || gone == NULL)
        status = cm3_fail(CM3_ERR_MEMORY, "out of memory for a path");
    else if (rename(path, gone) != 0)
        status = cm3_fail(CM3_ERR_IO, "%s: cannot remove: %s", path, strerror(errno));
    else
        status = cm3_folder_remove(gone);
    free(path);
    free(gone);
    return status;
}

cm3_status cm3__checkpoint_prune(const char *run, int64_t keep) {
    int64_t *steps;
    size_t count;
    CM3_TRY(list_steps(run, &steps, &count));
    const int64_t best = best_step(run);
    cm3_status status = CM3_OK;
    for (size_t i = 0; keep > 0 && i + (size_t)keep < count && status == CM3_OK; i++)
        if (steps[i] != best) status = remove_step(run, steps[i]);
    free(steps);
    return status;
}
