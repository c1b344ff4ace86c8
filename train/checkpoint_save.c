#include "train/checkpoint_internal.h"

#include "core/file.h"
#include "core/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

cm3_status cm3_checkpoint_table_of(const cm3_params *params, cm3_checkpoint_table *table) {
    const int count = cm3_params_count(params);
    cm3_checkpoint_tensor *tensors = malloc((size_t)(count + 1) * sizeof *tensors);
    if (tensors == NULL) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a table of %d parameters", count);
    for (int i = 0; i < count; i++) {
        const cm3_param *param = cm3_params_get(params, i);
        tensors[i] = (cm3_checkpoint_tensor){.name = param->name, .shape = param->shape, .offset = param->offset};
    }
    *table = (cm3_checkpoint_table){.tensors = tensors, .count = count, .total = cm3_params_size(params)};
    return CM3_OK;
}

void cm3_checkpoint_table_free(cm3_checkpoint_table *table) {
    free((void *)table->tensors);
    *table = (cm3_checkpoint_table){0};
}

static cm3_status check_parts(const cm3_checkpoint_parts *parts) {
    const cm3_checkpoint_table *table = &parts->table;
    if (parts->buffer_count < 1 || parts->buffer_count > CM3__BUFFERS_MAX)
        return cm3_fail(CM3_ERR_INTERNAL, "a checkpoint has 1 to %d buffers, not %d", CM3__BUFFERS_MAX,
                        parts->buffer_count);
    for (int b = 0; b < parts->buffer_count; b++)
        if (strlen(parts->buffers[b].name) >= CM3__NAME_MAX)
            return cm3_fail(CM3_ERR_INTERNAL, "buffer name too long: %s", parts->buffers[b].name);
    int64_t at = 0;
    for (int64_t t = 0; t < table->count; t++) {
        if (table->tensors[t].offset < at)
            return cm3_fail(CM3_ERR_INTERNAL, "parameter %s overlaps the one before", table->tensors[t].name);
        at = table->tensors[t].offset + cm3_shape_count(table->tensors[t].shape);
    }
    if (at > table->total) return cm3_fail(CM3_ERR_INTERNAL, "parameters reach beyond the flat buffer");
    return CM3_OK;
}

/* An older checkpoint of the same step makes room first: a rename cannot replace a folder that is not empty. */
static cm3_status commit(const char *run, int64_t step, const char *aside, const char *path) {
    char *old = cm3__checkpoint_path(run, step, ".old.tmp");
    if (old == NULL) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a path");
    const bool replaces = cm3_path_exists(path);
    cm3_status status = CM3_OK;
    if (replaces && rename(path, old) != 0)
        status = cm3_fail(CM3_ERR_IO, "%s: cannot replace: %s", path, strerror(errno));
    if (status == CM3_OK) status = cm3_folder_commit(aside, path);
    if (status == CM3_OK && replaces && cm3_folder_remove(old) != CM3_OK) cm3_log_warn("%s", cm3_message());
    free(old);
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
                                    const cm3__shard_entry *mine, const cm3_checkpoint_parts *parts,
                                    const cm3_checkpoint_state *state) {
    cm3__manifest manifest = {.step = state->step,
                              .total = parts->table.total,
                              .buffer_count = parts->buffer_count,
                              .shard_count = cm3_comm_size(comm)};
    for (int b = 0; b < parts->buffer_count; b++) strcpy(manifest.buffers[b], parts->buffers[b].name);
    manifest.shards = calloc((size_t)manifest.shard_count, sizeof *manifest.shards);
    cm3_status status =
        manifest.shards == NULL ? cm3_fail(CM3_ERR_MEMORY, "out of memory for a checkpoint's manifest") : CM3_OK;
    status = cm3_comm_agree_status(comm, status);
    if (status == CM3_OK) status = cm3_comm_gather(comm, mine, sizeof *mine, manifest.shards, 0);
    if (status == CM3_OK) {
        if (cm3_comm_rank(comm) == 0) status = finish(run, aside, path, &manifest, parts, state);
        status = cm3_comm_agree_status(comm, status);
    }
    free(manifest.shards);
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
    cm3_status status = check_parts(parts);
    if (status == CM3_OK && rank == 0) status = prepare(run, aside);
    CM3_TRY(cm3_comm_agree_status(comm, status));
    cm3__shard_entry mine;
    const cm3_range range = cm3_shard_range(parts->table.total, CM3_SHARD_UNIT, ranks, rank);
    status = cm3_comm_agree_status(comm, cm3__shard_write(aside, rank, ranks, parts, range, &mine));
    if (status == CM3_OK) status = gather_and_finish(comm, run, aside, path, &mine, parts, state);
    if (status == CM3_OK) return CM3_OK;
    if (rank == 0) discard(aside);
    (void)cm3_comm_barrier(comm); /* nobody goes on before it is gone */
    return status;
}

cm3_status cm3_checkpoint_save(cm3_comm *comm, const char *run, int64_t keep, const cm3_checkpoint_parts *parts,
                               const cm3_checkpoint_state *state) {
    char *aside = cm3__checkpoint_path(run, state->step, ".tmp"), *path = cm3__checkpoint_path(run, state->step, "");
    cm3_status status = aside == NULL || path == NULL ? cm3_fail(CM3_ERR_MEMORY, "out of memory for a path") : CM3_OK;
    status = cm3_comm_agree_status(comm, status);
    if (status == CM3_OK) status = save(comm, run, aside, path, parts, state);
    free(aside);
    free(path);
    if (status == CM3_OK && cm3_comm_rank(comm) == 0 && cm3__checkpoint_prune(run, keep) != CM3_OK)
        cm3_log_warn("%s", cm3_message());
    return status;
}
