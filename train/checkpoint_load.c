#include "train/checkpoint_internal.h"

#include <stdlib.h>
#include <string.h>

/* A checkpoint that is open for reading. */
typedef struct reader {
    const char *path;
    cm3__manifest manifest;
    cm3__model model;
    bool checked;   /* all shards are there and laid out as they were written */
    bool *verified; /* (shards, datasets): the checksum of the numbers fits */
} reader;

static void reader_close(reader *r) {
    cm3__model_close(&r->model);
    cm3__manifest_free(&r->manifest);
    free(r->verified);
}

static cm3_status reader_open(const char *path, reader *r) {
    *r = (reader){.path = path, .model = {.file = -1}};
    CM3_TRY(cm3__manifest_read(path, &r->manifest));
    r->verified = calloc((size_t)(r->manifest.shard_count * r->manifest.dataset_count), sizeof *r->verified);
    const cm3_status status = r->verified ? cm3__model_open(path, &r->manifest, &r->model)
                                          : cm3_fail(CM3_ERR_MEMORY, "out of memory to read %s", path);
    if (status != CM3_OK) reader_close(r);
    return status;
}

/* The numbers of a shard are verified as a whole before any of them is used. */
static cm3_status verify(reader *r, int shard, int dataset) {
    bool *verified = &r->verified[shard * r->manifest.dataset_count + dataset];
    for (int s = 0; s < r->manifest.shard_count && !r->checked; s++)
        CM3_TRY(cm3__shard_check(r->path, &r->manifest, s));
    r->checked = true;
    if (!*verified) CM3_TRY(cm3__shard_verify(r->path, &r->manifest, shard, dataset));
    *verified = true;
    return CM3_OK;
}

/* Elements of a stored tensor, whoever wrote them. */
static cm3_status read_tensor(reader *r, const cm3_checkpoint_tensor *tensor, const char *buffer, cm3_param_range range,
                              float *values) {
    const int dataset = cm3__manifest_find(&r->manifest, buffer, r->manifest.datasets[tensor->group].group);
    if (dataset < 0)
        return cm3_fail(CM3_ERR_NOT_FOUND, "%s: holds no \"%s\" of %s; it was saved without", r->path, buffer,
                        tensor->name);
    const cm3_range wanted = {tensor->offset + range.offset, tensor->offset + range.offset + range.count};
    for (int s = 0; s < r->manifest.shard_count; s++) {
        const cm3_range part = cm3_range_intersect(wanted, r->manifest.shards[s].regions[dataset].range);
        if (cm3_range_length(part) == 0) continue;
        CM3_TRY(verify(r, s, dataset));
        CM3_TRY(cm3__shard_read(r->path, &r->manifest, s, dataset, part, values + (part.begin - wanted.begin)));
    }
    return CM3_OK;
}

/* --- comparing tables -------------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b) {
    return strcmp(((const cm3_checkpoint_tensor *)a)->name, ((const cm3_checkpoint_tensor *)b)->name);
}

static int compare_names(const cm3_checkpoint_tensor *stored, const cm3_checkpoint_tensor *wanted) {
    return !stored ? 1 : !wanted ? -1 : strcmp(stored->name, wanted->name);
}

/* Both tables side by side in order of names: every one of each must have its partner, of the same shape. */
static cm3_status compare_sorted(const char *path, const cm3_checkpoint_tensor *stored, int64_t stored_count,
                                 const cm3_checkpoint_tensor *wanted, int64_t wanted_count) {
    char found[96], expected[96];
    for (int64_t s = 0, w = 0; s < stored_count || w < wanted_count; s++, w++) {
        const int order = compare_names(s < stored_count ? &stored[s] : NULL, w < wanted_count ? &wanted[w] : NULL);
        if (order > 0)
            return cm3_fail(CM3_ERR_SHAPE, "%s: holds no parameter \"%s\", which the model has with shape %s", path,
                            wanted[w].name, cm3_shape_text(wanted[w].shape, expected));
        if (order < 0)
            return cm3_fail(CM3_ERR_SHAPE, "%s: holds parameter \"%s\" of shape %s, which the model does not have",
                            path, stored[s].name, cm3_shape_text(stored[s].shape, found));
        if (!cm3_shape_equal(stored[s].shape, wanted[w].shape))
            return cm3_fail(CM3_ERR_SHAPE, "%s: parameter \"%s\" has shape %s, the model expects %s", path,
                            stored[s].name, cm3_shape_text(stored[s].shape, found),
                            cm3_shape_text(wanted[w].shape, expected));
    }
    return CM3_OK;
}

/* The stored tensors whose names begin with `prefix` in order of their names; the caller's to free, not the names. */
static cm3_checkpoint_tensor *stored_of(const reader *r, const char *prefix, int64_t *count) {
    cm3_checkpoint_tensor *stored = malloc((size_t)(r->model.tensor_count + 1) * sizeof *stored);
    *count = 0;
    for (int64_t t = 0; stored && t < r->model.tensor_count; t++)
        if (strncmp(r->model.tensors[t].name, prefix, strlen(prefix)) == 0) stored[(*count)++] = r->model.tensors[t];
    if (stored) qsort(stored, (size_t)*count, sizeof *stored, by_name);
    return stored;
}

static const cm3_checkpoint_tensor *find_stored(const cm3_checkpoint_tensor *stored, int64_t count, const char *name) {
    const cm3_checkpoint_tensor key = {.name = name};
    return bsearch(&key, stored, (size_t)count, sizeof *stored, by_name);
}

/* --- loading ----------------------------------------------------------------------------------------------------- */

static void clear_padding(const cm3_checkpoint_table *table, float *data) {
    int64_t at = 0;
    for (int64_t t = 0; t <= table->count; t++) {
        const int64_t next = t < table->count ? table->tensors[t].offset : table->total;
        if (next > at) memset(data + at, 0, (size_t)(next - at) * sizeof(float));
        if (t < table->count) at = next + cm3_shape_count(table->tensors[t].shape);
    }
}

static cm3_status load_buffer(reader *r, const cm3_checkpoint_tensor *stored, int64_t count,
                              const cm3_checkpoint_table *table, const cm3_checkpoint_buffer *buffer) {
    clear_padding(table, buffer->data);
    for (int64_t t = 0; t < table->count; t++) {
        const cm3_checkpoint_tensor *to = &table->tensors[t];
        CM3_TRY(read_tensor(r, find_stored(stored, count, to->name), buffer->name,
                            (cm3_param_range){0, cm3_shape_count(to->shape)}, buffer->data + to->offset));
    }
    return CM3_OK;
}

static cm3_status compare_tables(const reader *r, const cm3_checkpoint_tensor *stored, int64_t stored_count,
                                 const cm3_checkpoint_parts *parts) {
    int64_t count = 0;
    for (int g = 0; g < parts->group_count; g++) count += parts->groups[g].table.count;
    cm3_checkpoint_tensor *wanted = malloc((size_t)(count + 1) * sizeof *wanted);
    if (!wanted) return cm3_fail(CM3_ERR_MEMORY, "out of memory to load %s", r->path);
    count = 0;
    for (int g = 0; g < parts->group_count; g++)
        for (int64_t t = 0; parts->groups[g].buffer_count > 0 && t < parts->groups[g].table.count; t++)
            wanted[count++] = parts->groups[g].table.tensors[t];
    qsort(wanted, (size_t)count, sizeof *wanted, by_name);
    const cm3_status status = compare_sorted(r->model.path, stored, stored_count, wanted, count);
    free(wanted);
    return status;
}

static cm3_status load_parts(reader *r, const cm3_checkpoint_parts *parts) {
    int64_t count;
    cm3_checkpoint_tensor *stored = stored_of(r, "", &count);
    cm3_status status = stored ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "out of memory to load %s", r->path);
    for (int g = 0; g < parts->group_count && status == CM3_OK; g++)
        if (parts->groups[g].buffer_count == 0) status = cm3__model_check_frozen(&r->model, &parts->groups[g]);
    if (status == CM3_OK) status = compare_tables(r, stored, count, parts);
    for (int g = 0; g < parts->group_count; g++)
        for (int b = 0; b < parts->groups[g].buffer_count && status == CM3_OK; b++)
            status = load_buffer(r, stored, count, &parts->groups[g].table, &parts->groups[g].buffers[b]);
    for (int a = 0; a < parts->array_count && status == CM3_OK; a++)
        status = cm3__model_read_array(&r->model, &parts->arrays[a]);
    free(stored);
    return status;
}

cm3_status cm3_checkpoint_load(const char *path, const cm3_checkpoint_parts *parts, cm3_checkpoint_state *state) {
    reader r;
    CM3_TRY(reader_open(path, &r));
    cm3_status status = load_parts(&r, parts);
    if (status == CM3_OK && state != NULL) status = cm3__model_read_state(&r.model, state);
    reader_close(&r);
    return status;
}

/* --- a source of values ------------------------------------------------------------------------------------------ */

typedef struct checkpoint_source {
    cm3_weights_source base;
    reader reader;
    char *path;
    char prefix[CM3__NAME_MAX]; /* of the network's tensors: "transformer/" */
    cm3_checkpoint_tensor *stored;
    int64_t count;
} checkpoint_source;

static void close_source(cm3_weights_source *source) {
    checkpoint_source *s = (checkpoint_source *)source;
    reader_close(&s->reader);
    free(s->stored);
    free(s->path);
    free(s);
}

static cm3_status check_source(cm3_weights_source *source, const cm3_params *params) {
    const checkpoint_source *s = (const checkpoint_source *)source;
    const int count = cm3_params_count(params);
    cm3_checkpoint_tensor *wanted = calloc((size_t)count + 1, sizeof *wanted),
                          *stored = calloc((size_t)s->count + 1, sizeof *stored);
    cm3_status status = wanted && stored ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "out of memory to load %s", s->path);
    for (int i = 0; i < count && status == CM3_OK; i++)
        wanted[i] =
            (cm3_checkpoint_tensor){.name = cm3_params_get(params, i)->name, .shape = cm3_params_get(params, i)->shape};
    for (int64_t t = 0; t < s->count && status == CM3_OK; t++) {
        stored[t] = s->stored[t];
        stored[t].name += strlen(s->prefix);
    }
    if (status == CM3_OK) {
        qsort(wanted, (size_t)count, sizeof *wanted, by_name);
        status = compare_sorted(s->reader.model.path, stored, s->count, wanted, count);
    }
    free(wanted);
    free(stored);
    return status;
}

static cm3_status read_source(cm3_weights_source *source, const cm3_param *param, cm3_param_range range,
                              float *values) {
    checkpoint_source *s = (checkpoint_source *)source;
    char name[512];
    snprintf(name, sizeof name, "%s%s", s->prefix, param->name);
    const cm3_checkpoint_tensor *tensor = find_stored(s->stored, s->count, name);
    if (!tensor) return cm3_fail(CM3_ERR_NOT_FOUND, "%s: holds no parameter \"%s\"", s->path, name);
    return read_tensor(&s->reader, tensor, "parameters", range, values);
}

/* "transformer, teacher": what stands before the first '/' of names, which lie by groups. */
static const char *list_networks(const checkpoint_source *s, char list[256]) {
    const char *last = "";
    size_t last_length = 0, at = 0;
    for (int64_t t = 0; t < s->reader.model.tensor_count && at < 256; t++) {
        const char *name = s->reader.model.tensors[t].name;
        const size_t length = strcspn(name, "/");
        if (length == last_length && strncmp(name, last, length) == 0) continue;
        at += (size_t)snprintf(list + at, 256 - at, "%s%.*s", at ? ", " : "", (int)length, name);
        last = name;
        last_length = length;
    }
    return list;
}

static cm3_status prepare_source(checkpoint_source *s, const char *network, cm3_checkpoint_state *state) {
    cm3_checkpoint_state present = {0};
    char names[256] = "nothing";
    CM3_TRY(reader_open(s->path, &s->reader));
    snprintf(s->prefix, sizeof s->prefix, "%s/", network);
    s->stored = stored_of(&s->reader, s->prefix, &s->count);
    if (!s->stored) return cm3_fail(CM3_ERR_MEMORY, "out of memory to load %s", s->path);
    CM3_TRY(cm3__model_read_state(&s->reader.model, &present));
    const cm3_status status =
        s->count ? CM3_OK
                 : cm3_fail(CM3_ERR_FORMAT, "%s: holds no %s, but %s", s->path, network, list_networks(s, names));
    if (state && status == CM3_OK)
        *state = present;
    else
        cm3_checkpoint_state_free(&present);
    return status;
}

cm3_status cm3_checkpoint_weights(const char *path, const char *network, cm3_checkpoint_state *state,
                                  cm3_weights_source **source) {
    checkpoint_source *s = calloc(1, sizeof *s);
    *source = NULL;
    if (s) *s = (checkpoint_source){.base = {check_source, read_source, close_source, 0}, .path = strdup(path)};
    if (s) s->reader.model.file = -1;
    cm3_status status =
        s && s->path ? prepare_source(s, network, state) : cm3_fail(CM3_ERR_MEMORY, "out of memory to load %s", path);
    if (status == CM3_OK)
        *source = &s->base;
    else if (s)
        close_source(&s->base);
    return status;
}

cm3_status cm3_weights_open(const char *path, const char *network, cm3_checkpoint_state *state,
                            cm3_weights_source **source) {
    static const char suffix[] = ".safetensors";
    const size_t length = strlen(path), tail = sizeof suffix - 1;
    if (length > tail && strcmp(path + length - tail, suffix) == 0) return cm3_weights_safetensors(path, source);
    return cm3_checkpoint_weights(path, network, state, source);
}

/* --- information ------------------------------------------------------------------------------------------------- */

static bool copy_buffers(const reader *r, cm3_checkpoint_info *info) {
    info->buffers = calloc((size_t)r->manifest.dataset_count, sizeof *info->buffers);
    for (int d = 0; info->buffers != NULL && d < r->manifest.dataset_count; d++) {
        bool known = false;
        for (int b = 0; b < info->buffer_count; b++)
            known |= strcmp(info->buffers[b], r->manifest.datasets[d].buffer) == 0;
        if (known) continue;
        info->buffers[info->buffer_count] = strdup(r->manifest.datasets[d].buffer);
        if (info->buffers[info->buffer_count] == NULL) return false;
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
        for (int d = 0; d < r.manifest.dataset_count; d++)
            if (strcmp(r.manifest.datasets[d].buffer, "parameters") == 0) info->total += r.manifest.datasets[d].total;
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

enum { DIGEST_PIECE = 1 << 18 };

static void add_header(cm3_hasher *hasher, const char *name, cm3_shape shape) {
    const int64_t rank = shape.rank;
    cm3_hasher_add(hasher, name, strlen(name) + 1);
    cm3_hasher_add(hasher, &rank, sizeof rank);
    cm3_hasher_add(hasher, shape.dim, (size_t)rank * sizeof *shape.dim);
}

static cm3_status digest_stored(reader *r, const char *buffer, cm3_hasher *hasher, float *piece) {
    for (int64_t t = 0; t < r->model.tensor_count; t++) {
        const cm3_checkpoint_tensor *tensor = &r->model.tensors[t];
        const int64_t count = cm3_shape_count(tensor->shape);
        add_header(hasher, tensor->name, tensor->shape);
        for (int64_t at = 0; at < count; at += DIGEST_PIECE) {
            const cm3_param_range range = {at, count - at < DIGEST_PIECE ? count - at : DIGEST_PIECE};
            CM3_TRY(read_tensor(r, tensor, buffer, range, piece));
            cm3_hasher_add(hasher, piece, (size_t)range.count * sizeof *piece);
        }
    }
    return CM3_OK;
}

cm3_status cm3_checkpoint_digest(const char *path, const char *buffer, cm3_hash *digest) {
    reader r;
    CM3_TRY(reader_open(path, &r));
    cm3_hasher *hasher = cm3_hasher_new();
    float *piece = malloc(DIGEST_PIECE * sizeof *piece);
    const cm3_status status = hasher && piece ? digest_stored(&r, buffer, hasher, piece)
                                              : cm3_fail(CM3_ERR_MEMORY, "out of memory for a checksum");
    *digest = cm3_hasher_value(hasher);
    cm3_hasher_free(hasher);
    free(piece);
    reader_close(&r);
    return status;
}

/* --- groups ------------------------------------------------------------------------------------------------------ */

static cm3_status fingerprint(const cm3_params *params, int group, cm3_hash *hash) {
    cm3_hasher *hasher = cm3_hasher_new();
    float *piece = malloc(DIGEST_PIECE * sizeof *piece);
    for (int i = 0; hasher && piece && i < cm3_params_count(params); i++) {
        const cm3_param *param = cm3_params_get(params, i);
        if (param->group != group) continue;
        add_header(hasher, param->name, param->shape);
        for (int64_t at = 0; at < param->count; at += DIGEST_PIECE) {
            const cm3_param_range range = {at, param->count - at < DIGEST_PIECE ? param->count - at : DIGEST_PIECE};
            cm3_params_read(params, i, range, piece);
            cm3_hasher_add(hasher, piece, (size_t)range.count * sizeof *piece);
        }
    }
    const bool good = hasher && piece;
    *hash = cm3_hasher_value(hasher);
    cm3_hasher_free(hasher);
    free(piece);
    return good ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "out of memory for a checksum");
}

cm3_status cm3_checkpoint_group_of(const char *network, const cm3_params *params, int index,
                                   cm3_checkpoint_group *group) {
    const cm3_param_group *of = cm3_params_group(params, index);
    cm3_checkpoint_tensor *tensors = calloc((size_t)cm3_params_count(params) + 1, sizeof *tensors);
    *group = (cm3_checkpoint_group){.table = {.tensors = tensors, .total = of->size}};
    if (!tensors) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a table of parameters");
    if (snprintf(group->name, sizeof group->name, "%s/%s", network, of->name) >= (int)sizeof group->name)
        return cm3_fail(CM3_ERR_INTERNAL, "the name %s/%s is too long", network, of->name);
    if (!of->trainable) return fingerprint(params, index, &group->fingerprint);
    for (int i = 0; i < cm3_params_count(params); i++) {
        const cm3_param *param = cm3_params_get(params, i);
        char *name;
        if (param->group != index) continue;
        if (asprintf(&name, "%s/%s", network, param->name) < 0)
            return cm3_fail(CM3_ERR_MEMORY, "out of memory for a table of parameters");
        tensors[group->table.count++] =
            (cm3_checkpoint_tensor){.name = name, .shape = param->shape, .offset = param->offset};
    }
    group->buffers[group->buffer_count++] = (cm3_checkpoint_buffer){"parameters", of->host.values};
    if (of->host.m) group->buffers[group->buffer_count++] = (cm3_checkpoint_buffer){"m", of->host.m};
    if (of->host.v) group->buffers[group->buffer_count++] = (cm3_checkpoint_buffer){"v", of->host.v};
    return CM3_OK;
}

void cm3_checkpoint_group_free(cm3_checkpoint_group *group) {
    for (int64_t t = 0; t < group->table.count; t++) free((char *)(uintptr_t)group->table.tensors[t].name);
    free((void *)(uintptr_t)group->table.tensors);
    *group = (cm3_checkpoint_group){0};
}
