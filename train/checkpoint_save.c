#include "train/checkpoint_internal.h"

#include "core/file.h"
#include "core/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static cm3_status check_table(const cm3_checkpoint_table *table) {
    int64_t at = 0;
    for (int64_t t = 0; t < table->count; t++) {
        if (table->tensors[t].offset < at)
            return cm3_fail(CM3_ERR_INTERNAL, "parameter %s overlaps the one before", table->tensors[t].name);
        at = table->tensors[t].offset + cm3_shape_count(table->tensors[t].shape);
    }
    return at > table->total ? cm3_fail(CM3_ERR_INTERNAL, "parameters reach beyond the flat buffer") : CM3_OK;
}

/* Every buffer of every group that is stored. */
static cm3_status list_datasets(const cm3_checkpoint_parts *parts, cm3__manifest *manifest,
                                const float *data[CM3__DATASETS_MAX]) {
    for (int g = 0; g < parts->group_count; g++) {
        const cm3_checkpoint_group *group = &parts->groups[g];
        CM3_TRY(check_table(&group->table));
        for (int b = 0; b < group->buffer_count; b++) {
            if (manifest->dataset_count == CM3__DATASETS_MAX || strlen(group->buffers[b].name) >= CM3__NAME_MAX)
                return cm3_fail(CM3_ERR_INTERNAL, "a checkpoint has at most %d datasets, of short names",
                                CM3__DATASETS_MAX);
            data[manifest->dataset_count] = group->buffers[b].data;
            cm3__dataset *dataset = &manifest->datasets[manifest->dataset_count++];
            dataset->total = group->table.total;
            strcpy(dataset->buffer, group->buffers[b].name);
            strcpy(dataset->group, group->name);
        }
    }
    return manifest->dataset_count ? CM3_OK : cm3_fail(CM3_ERR_INTERNAL, "a checkpoint of nothing");
}

/* An older checkpoint of the same step makes room first: a rename cannot replace a folder that is not empty. */
static cm3_status commit(const char *run, int64_t step, const char *aside, const char *path) {
    const cm3_path old = cm3__checkpoint_path(run, step, ".old.tmp");
    const bool replaces = cm3_path_exists(path);
    cm3_status status = CM3_OK;
    if (replaces && rename(path, old.text) != 0)
        status = cm3_fail(CM3_ERR_IO, "%s: cannot replace: %s", path, strerror(errno));
    if (status == CM3_OK) status = cm3_folder_commit(aside, path);
    if (status == CM3_OK && replaces && cm3_folder_remove(old.text) != CM3_OK) cm3_log_warn("%s", cm3_message());
    return status;
}

/* Rank 0 adds what makes a checkpoint of the shards, and gives it its name. */
static cm3_status finish(const char *run, const char *aside, const char *path, cm3__manifest *manifest,
                         const cm3_checkpoint_parts *parts, const cm3_checkpoint_state *state) {
    CM3_TRY(cm3__model_write(aside, parts, state, manifest));
    CM3_TRY(cm3__manifest_write(aside, manifest));
    return commit(run, state->step, aside, path);
}

static cm3_status gather_and_finish(cm3_comm *comm, const char *run, const char *aside, const char *path,
                                    const cm3__shard_entry *mine, cm3__manifest *manifest,
                                    const cm3_checkpoint_parts *parts, const cm3_checkpoint_state *state) {
    manifest->shard_count = cm3_comm_size(comm);
    manifest->shards = calloc((size_t)manifest->shard_count, sizeof *manifest->shards);
    cm3_status status =
        manifest->shards == NULL ? cm3_fail(CM3_ERR_MEMORY, "out of memory for a checkpoint's manifest") : CM3_OK;
    status = cm3_comm_agree_status(comm, status);
    if (status == CM3_OK) status = cm3_comm_gather(comm, mine, sizeof *mine, manifest->shards, 0);
    if (status == CM3_OK) {
        if (cm3_comm_rank(comm) == 0) status = finish(run, aside, path, manifest, parts, state);
        status = cm3_comm_agree_status(comm, status);
    }
    cm3__manifest_free(manifest);
    return status;
}

static cm3_status prepare(const char *run, const char *aside) {
    CM3_TRY(cm3__checkpoint_clean(run));
    return cm3_folder_make(aside);
}

/* Removes what a failed save left, and keeps the message of the failure. */
static void discard(const char *aside) {
    char message[CM3_MESSAGE_MAX];
    snprintf(message, sizeof message, "%s", cm3_message());
    if (cm3_folder_remove(aside) != CM3_OK) cm3_log_warn("%s", cm3_message());
    cm3_fail(CM3_ERR_IO, "%s", message);
}

static cm3_status save(cm3_comm *comm, const char *run, const char *aside, const char *path,
                       const cm3_checkpoint_parts *parts, const cm3_checkpoint_state *state) {
    const int rank = cm3_comm_rank(comm), ranks = cm3_comm_size(comm);
    const float *data[CM3__DATASETS_MAX];
    cm3__manifest manifest = {.step = state->step};
    cm3_status status = list_datasets(parts, &manifest, data);
    if (status == CM3_OK && rank == 0) status = prepare(run, aside);
    CM3_TRY(cm3_comm_agree_status(comm, status));
    cm3__shard_entry mine;
    status = cm3_comm_agree_status(comm, cm3__shard_write(aside, rank, ranks, &manifest, data, &mine));
    if (status == CM3_OK) status = gather_and_finish(comm, run, aside, path, &mine, &manifest, parts, state);
    if (status == CM3_OK) return CM3_OK;
    if (rank == 0) discard(aside);
    (void)cm3_comm_barrier(comm); /* nobody goes on before it is gone */
    return status;
}

cm3_status cm3_checkpoint_save(cm3_comm *comm, const char *run, int64_t keep, const cm3_checkpoint_parts *parts,
                               const cm3_checkpoint_state *state) {
    const cm3_path aside = cm3__checkpoint_path(run, state->step, ".tmp"),
                   path = cm3__checkpoint_path(run, state->step, "");
    const cm3_status status = save(comm, run, aside.text, path.text, parts, state);
    if (status == CM3_OK && cm3_comm_rank(comm) == 0 && cm3__checkpoint_prune(run, keep) != CM3_OK)
        cm3_log_warn("%s", cm3_message());
    return status;
}
