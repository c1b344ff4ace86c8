#include "train/checkpoint_internal.h"

#include <stdlib.h>
#include <string.h>

/* A checkpoint that is open for reading. */
typedef struct reader {
    const char *path;
    cm3__manifest manifest;
    cm3__model model;
} reader;

static cm3_status reader_open(const char *path, reader *r) {
    *r = (reader){.path = path, .model = {.file = -1}};
    CM3_TRY(cm3__manifest_read(path, &r->manifest));
    const cm3_status status = cm3__model_open(path, &r->manifest, &r->model);
    if (status != CM3_OK) cm3__manifest_free(&r->manifest);
    return status;
}

static void reader_close(reader *r) {
    cm3__model_close(&r->model);
    cm3__manifest_free(&r->manifest);
}

static cm3_status find_buffer(const reader *r, const char *name, int *index) {
    for (*index = 0; *index < r->manifest.buffer_count; ++*index)
        if (strcmp(r->manifest.buffers[*index], name) == 0) return CM3_OK;
    return cm3_fail(CM3_ERR_NOT_FOUND, "%s: holds no \"%s\"; it was saved without", r->path, name);
}

static cm3_status check_shards(const reader *r) {
    for (int s = 0; s < r->manifest.shard_count; s++) CM3_TRY(cm3__shard_check(r->path, &r->manifest, s));
    return CM3_OK;
}

/* All values of one buffer in ascending order, whoever wrote them. */
static cm3_status read_buffer(const reader *r, int buffer, cm3__take *take, void *context) {
    for (int s = 0; s < r->manifest.shard_count; s++)
        CM3_TRY(cm3__shard_read(r->path, &r->manifest, s, buffer, take, context));
    return CM3_OK;
}

/* --- loading: stored tensors to where the present table wants them ----------------------------------------------- */

typedef struct displacement {
    cm3_range from; /* in the stored flat buffer */
    int64_t to;     /* in the present one */
} displacement;

static int by_name(const void *a, const void *b) {
    return strcmp((*(const cm3_checkpoint_tensor *const *)a)->name, (*(const cm3_checkpoint_tensor *const *)b)->name);
}

static const cm3_checkpoint_tensor **sorted_by_name(const cm3_checkpoint_tensor *tensors, int64_t count) {
    const cm3_checkpoint_tensor **sorted = malloc((size_t)(count + 1) * sizeof *sorted);
    for (int64_t t = 0; sorted != NULL && t < count; t++) sorted[t] = &tensors[t];
    if (sorted != NULL) qsort(sorted, (size_t)count, sizeof *sorted, by_name);
    return sorted;
}

/* Both tables side by side in order of names: every one of each must have its partner, of the same shape. */
static cm3_status compare_tables(const reader *r, const cm3_checkpoint_table *table,
                                 const cm3_checkpoint_tensor **stored, const cm3_checkpoint_tensor **wanted) {
    char found[96], expected[96];
    for (int64_t s = 0, w = 0; s < r->model.tensor_count || w < table->count; s++, w++) {
        const int order = s == r->model.tensor_count ? 1
                          : w == table->count        ? -1
                                                     : strcmp(stored[s]->name, wanted[w]->name);
        if (order > 0)
            return cm3_fail(CM3_ERR_SHAPE, "%s: holds no parameter \"%s\", which the model has with shape %s",
                            r->model.path, wanted[w]->name, cm3_shape_text(wanted[w]->shape, expected));
        if (order < 0)
            return cm3_fail(CM3_ERR_SHAPE, "%s: holds parameter \"%s\" of shape %s, which the model does not have",
                            r->model.path, stored[s]->name, cm3_shape_text(stored[s]->shape, found));
        if (!cm3_shape_equal(stored[s]->shape, wanted[w]->shape))
            return cm3_fail(CM3_ERR_SHAPE, "%s: parameter \"%s\" has shape %s, the model expects %s", r->model.path,
                            stored[s]->name, cm3_shape_text(stored[s]->shape, found),
                            cm3_shape_text(wanted[w]->shape, expected));
    }
    return CM3_OK;
}

static int by_begin(const void *a, const void *b) {
    const displacement *x = a, *y = b;
    return (x->from.begin > y->from.begin) - (x->from.begin < y->from.begin);
}

static cm3_status plan_moves(const reader *r, const cm3_checkpoint_table *table, displacement **moves) {
    const cm3_checkpoint_tensor **stored = sorted_by_name(r->model.tensors, r->model.tensor_count);
    const cm3_checkpoint_tensor **wanted = sorted_by_name(table->tensors, table->count);
    *moves = malloc((size_t)(table->count + 1) * sizeof **moves);
    cm3_status status = stored == NULL || wanted == NULL || *moves == NULL
                            ? cm3_fail(CM3_ERR_MEMORY, "out of memory to load %s", r->path)
                            : compare_tables(r, table, stored, wanted);
    for (int64_t t = 0; t < table->count && status == CM3_OK; t++) {
        const int64_t begin = stored[t]->offset;
        (*moves)[t] = (displacement){{begin, begin + cm3_shape_count(stored[t]->shape)}, wanted[t]->offset};
    }
    if (status == CM3_OK) qsort(*moves, (size_t)table->count, sizeof **moves, by_begin);
    free(stored);
    free(wanted);
    return status;
}

typedef struct mover {
    const displacement *moves;
    int64_t count, next; /* moves before `next` are done */
    float *data;
} mover;

static void move_values(void *context, int64_t begin, const float *values, int64_t count) {
    mover *m = context;
    const cm3_range piece = {begin, begin + count};
    for (; m->next < m->count; m->next++) {
        const displacement *move = &m->moves[m->next];
        const cm3_range part = cm3_range_intersect(move->from, piece);
        const size_t bytes = (size_t)cm3_range_length(part) * sizeof(float);
        if (bytes > 0)
            memcpy(m->data + move->to + (part.begin - move->from.begin), values + (part.begin - begin), bytes);
        if (move->from.end > piece.end) return; /* goes on in the next piece */
    }
}

static void clear_padding(const cm3_checkpoint_table *table, float *data) {
    int64_t at = 0;
    for (int64_t t = 0; t <= table->count; t++) {
        const int64_t next = t < table->count ? table->tensors[t].offset : table->total;
        if (next > at) memset(data + at, 0, (size_t)(next - at) * sizeof(float));
        if (t < table->count) at = next + cm3_shape_count(table->tensors[t].shape);
    }
}

static cm3_status load_buffers(const reader *r, const cm3_checkpoint_parts *parts, const displacement *moves) {
    CM3_TRY(check_shards(r));
    for (int b = 0; b < parts->buffer_count; b++) {
        int index;
        CM3_TRY(find_buffer(r, parts->buffers[b].name, &index));
        clear_padding(&parts->table, parts->buffers[b].data);
        mover m = {.moves = moves, .count = parts->table.count, .data = parts->buffers[b].data};
        CM3_TRY(read_buffer(r, index, move_values, &m));
    }
    return CM3_OK;
}

cm3_status cm3_checkpoint_load(const char *path, const cm3_checkpoint_parts *parts, cm3_checkpoint_state *state) {
    reader r;
    CM3_TRY(reader_open(path, &r));
    displacement *moves = NULL;
    cm3_status status = plan_moves(&r, &parts->table, &moves);
    if (status == CM3_OK) status = load_buffers(&r, parts, moves);
    for (int a = 0; a < parts->array_count && status == CM3_OK; a++)
        status = cm3__model_read_array(&r.model, &parts->arrays[a]);
    if (status == CM3_OK && state != NULL) status = cm3__model_read_state(&r.model, state);
    free(moves);
    reader_close(&r);
    return status;
}

/* --- information ------------------------------------------------------------------------------------------------- */

static bool copy_buffers(const reader *r, cm3_checkpoint_info *info) {
    info->buffers = calloc((size_t)r->manifest.buffer_count, sizeof *info->buffers);
    for (int b = 0; info->buffers != NULL && b < r->manifest.buffer_count; b++) {
        info->buffers[b] = strdup(r->manifest.buffers[b]);
        if (info->buffers[b] == NULL) return false;
        info->buffer_count++;
    }
    return info->buffers != NULL;
}

cm3_status cm3_checkpoint_read_info(const char *path, cm3_checkpoint_info *info) {
    reader r;
    *info = (cm3_checkpoint_info){0};
    CM3_TRY(reader_open(path, &r));
    cm3_status status = cm3__model_read_state(&r.model, &info->state);
    if (status == CM3_OK && !copy_buffers(&r, info))
        status = cm3_fail(CM3_ERR_MEMORY, "out of memory to read %s", path);
    if (status == CM3_OK) {
        info->tensors = r.model.tensors; /* taken over */
        info->tensor_count = r.model.tensor_count;
        r.model.tensors = NULL;
        r.model.tensor_count = 0;
        for (int64_t t = 0; t < info->tensor_count; t++) info->parameters += cm3_shape_count(info->tensors[t].shape);
        info->total = r.manifest.total;
        info->shards = r.manifest.shard_count;
        info->bytes = r.manifest.model_bytes;
        for (int s = 0; s < info->shards; s++) info->bytes += r.manifest.shards[s].bytes;
    } else {
        cm3_checkpoint_info_free(info);
    }
    reader_close(&r);
    return status;
}

void cm3_checkpoint_info_free(cm3_checkpoint_info *info) {
    cm3_checkpoint_state_free(&info->state);
    for (int64_t t = 0; t < info->tensor_count; t++) free((char *)info->tensors[t].name);
    free(info->tensors);
    for (int b = 0; b < info->buffer_count; b++) free(info->buffers[b]);
    free(info->buffers);
    *info = (cm3_checkpoint_info){0};
}

/* --- digests ----------------------------------------------------------------------------------------------------- */

/* Walks tensors and pieces of values together: a tensor's name and shape go in before its values, padding does not. */
typedef struct digester {
    const cm3_checkpoint_tensor *tensors;
    int64_t count, next;
    bool begun; /* the name of tensor `next` is in */
    cm3_hasher *hasher;
} digester;

static void add_header(digester *d) {
    const cm3_checkpoint_tensor *tensor = &d->tensors[d->next];
    cm3_hasher_add(d->hasher, tensor->name, strlen(tensor->name) + 1);
    const int64_t rank = tensor->shape.rank;
    cm3_hasher_add(d->hasher, &rank, sizeof rank);
    cm3_hasher_add(d->hasher, tensor->shape.dim, (size_t)rank * sizeof *tensor->shape.dim);
    d->begun = true;
}

static void digest_values(void *context, int64_t begin, const float *values, int64_t count) {
    digester *d = context;
    const cm3_range piece = {begin, begin + count};
    for (; d->next < d->count; d->next++, d->begun = false) {
        const cm3_checkpoint_tensor *tensor = &d->tensors[d->next];
        const cm3_range all = {tensor->offset, tensor->offset + cm3_shape_count(tensor->shape)},
                        part = cm3_range_intersect(all, piece);
        if (all.begin >= piece.end) return;
        if (!d->begun) add_header(d);
        cm3_hasher_add(d->hasher, values + (part.begin - begin), (size_t)cm3_range_length(part) * sizeof(float));
        if (all.end > piece.end) return;
    }
}

cm3_status cm3_checkpoint_digest(const char *path, const char *buffer, cm3_hash *digest) {
    reader r;
    CM3_TRY(reader_open(path, &r));
    int index = 0;
    digester d = {.tensors = r.model.tensors, .count = r.model.tensor_count, .hasher = cm3_hasher_new()};
    cm3_status status =
        d.hasher == NULL ? cm3_fail(CM3_ERR_MEMORY, "out of memory for a checksum") : find_buffer(&r, buffer, &index);
    if (status == CM3_OK) status = check_shards(&r);
    if (status == CM3_OK) status = read_buffer(&r, index, digest_values, &d);
    *digest = cm3_hasher_value(d.hasher);
    cm3_hasher_free(d.hasher);
    reader_close(&r);
    return status;
}

cm3_hash cm3_checkpoint_digest_values(const cm3_checkpoint_table *table, const float *values) {
    digester d = {.tensors = table->tensors, .count = table->count, .hasher = cm3_hasher_new()};
    digest_values(&d, 0, values, table->total);
    const cm3_hash digest = cm3_hasher_value(d.hasher);
    cm3_hasher_free(d.hasher);
    return digest;
}
