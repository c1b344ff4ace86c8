#include "train/checkpoint_internal.h"

#include "core/file.h"
#include "core/json.h"

#include <stdlib.h>
#include <string.h>

/* The text ends with its own checksum, taken over all that stands before this. */
static const char seal[] = ",\"hash\":\"";

void cm3__shard_name(int shard, int shards, char name[CM3__NAME_MAX]) {
    snprintf(name, CM3__NAME_MAX, "shard-%04d-of-%04d.h5", shard, shards);
}

static void put_hash(cm3_json_writer *w, const char *key, cm3_hash hash) {
    char hex[CM3_HASH_HEX];
    cm3_hash_to_hex(hash, hex);
    cm3_json_put_string(w, key, hex);
}

static void put_shard(cm3_json_writer *w, const cm3__manifest *manifest, int shard) {
    const cm3__shard_entry *entry = &manifest->shards[shard];
    cm3_json_begin_object(w, NULL);
    char name[CM3__NAME_MAX];
    cm3__shard_name(shard, manifest->shard_count, name);
    cm3_json_put_string(w, "name", name);
    cm3_json_put_int(w, "begin", entry->range.begin);
    cm3_json_put_int(w, "end", entry->range.end);
    cm3_json_put_int(w, "bytes", entry->bytes);
    put_hash(w, "structure", entry->structure);
    cm3_json_begin_array(w, "datasets");
    for (int b = 0; b < manifest->buffer_count; b++) {
        cm3_json_begin_object(w, NULL);
        cm3_json_put_string(w, "name", manifest->buffers[b]);
        cm3_json_put_int(w, "offset", entry->regions[b].offset);
        put_hash(w, "hash", entry->regions[b].hash);
        cm3_json_end_object(w);
    }
    cm3_json_end_array(w);
    cm3_json_end_object(w);
}

static void put_manifest(FILE *file, const cm3__manifest *manifest) {
    cm3_json_writer w = cm3_json_writer_on(file);
    cm3_json_begin_object(&w, NULL);
    cm3_json_put_int(&w, "version", CM3__VERSION);
    cm3_json_put_int(&w, "step", manifest->step);
    cm3_json_put_int(&w, "total", manifest->total);
    cm3_json_begin_array(&w, "buffers");
    for (int b = 0; b < manifest->buffer_count; b++) cm3_json_put_string(&w, NULL, manifest->buffers[b]);
    cm3_json_end_array(&w);
    cm3_json_begin_object(&w, "model");
    cm3_json_put_string(&w, "name", CM3__MODEL);
    cm3_json_put_int(&w, "bytes", manifest->model_bytes);
    put_hash(&w, "hash", manifest->model_hash);
    cm3_json_end_object(&w);
    cm3_json_begin_array(&w, "shards");
    for (int s = 0; s < manifest->shard_count; s++) put_shard(&w, manifest, s);
    cm3_json_end_array(&w); /* the root stays open: the seal closes it */
}

cm3_status cm3__manifest_write(const char *folder, const cm3__manifest *manifest) {
    char *text = NULL, *path = cm3_path_join(folder, CM3__MANIFEST);
    size_t length = 0;
    FILE *memory = open_memstream(&text, &length);
    cm3_status status = CM3_ERR_MEMORY;
    if (memory != NULL && path != NULL) {
        put_manifest(memory, manifest);
        fflush(memory);
        char hex[CM3_HASH_HEX];
        cm3_hash_to_hex(cm3_hash_bytes(text, length), hex);
        fprintf(memory, "%s%s\"}\n", seal, hex);
        if (ferror(memory) == 0) status = CM3_OK;
    }
    if (memory != NULL && fclose(memory) != 0) status = CM3_ERR_MEMORY;
    status = status == CM3_OK ? cm3_file_write(path, text, length)
                              : cm3_fail(status, "out of memory for a checkpoint's manifest");
    free(text);
    free(path);
    return status;
}

/* The seal and what follows have a fixed length, so that nothing before it needs to be understood to check it. */
static cm3_status check_seal(const char *name, const char *text, size_t length) {
    const size_t tail = sizeof seal - 1 + 32 + strlen("\"}\n");
    cm3_hash expected;
    char hex[CM3_HASH_HEX] = "";
    const char *at = length > tail ? text + length - tail : NULL;
    if (at != NULL) memcpy(hex, at + sizeof seal - 1, 32);
    if (at == NULL || memcmp(at, seal, sizeof seal - 1) != 0 || !cm3_hash_from_hex(hex, &expected) ||
        !cm3_hash_equal(expected, cm3_hash_bytes(text, length - tail)))
        return cm3_fail(CM3_ERR_FORMAT, "%s: damaged: its checksum does not fit its content", name);
    return CM3_OK;
}

static cm3_status read_hash(const json_t *object, const char *name, const char *key, cm3_hash *hash) {
    const char *hex;
    CM3_TRY(cm3_json_need_string(object, name, key, &hex));
    if (!cm3_hash_from_hex(hex, hash))
        return cm3_fail(CM3_ERR_FORMAT, "%s: %s: found \"%.40s\", expected 32 hexadecimal digits", name, key, hex);
    return CM3_OK;
}

static cm3_status read_regions(const json_t *shard, const char *name, const cm3__manifest *manifest,
                               cm3__shard_entry *entry) {
    const json_t *datasets;
    CM3_TRY(cm3_json_need_array(shard, name, "datasets", &datasets));
    if ((int)json_array_size(datasets) != manifest->buffer_count)
        return cm3_fail(CM3_ERR_FORMAT, "%s: a shard has %zu datasets, expected %d", name, json_array_size(datasets),
                        manifest->buffer_count);
    int64_t end_of_last = 0;
    for (int b = 0; b < manifest->buffer_count; b++) {
        const json_t *dataset = json_array_get(datasets, (size_t)b);
        cm3__region *region = &entry->regions[b];
        region->bytes = cm3_range_length(entry->range) * (int64_t)sizeof(float);
        CM3_TRY(cm3_json_need_int(dataset, name, "offset", 0, entry->bytes, &region->offset));
        CM3_TRY(read_hash(dataset, name, "hash", &region->hash));
        if (region->bytes == 0) continue;
        if (region->offset < end_of_last || region->bytes > entry->bytes - region->offset)
            return cm3_fail(CM3_ERR_FORMAT, "%s: datasets of a shard overlap or reach beyond its file", name);
        end_of_last = region->offset + region->bytes;
    }
    return CM3_OK;
}

static cm3_status read_shards(const json_t *root, const char *name, cm3__manifest *manifest) {
    const json_t *shards;
    CM3_TRY(cm3_json_need_array(root, name, "shards", &shards));
    const size_t count = json_array_size(shards);
    if (count < 1 || count > CM3__SHARDS_MAX)
        return cm3_fail(CM3_ERR_FORMAT, "%s: shards: found %zu, expected 1 to %d", name, count, CM3__SHARDS_MAX);
    manifest->shards = calloc(count, sizeof *manifest->shards);
    if (manifest->shards == NULL) return cm3_fail(CM3_ERR_MEMORY, "out of memory for %zu shards", count);
    manifest->shard_count = (int)count;
    int64_t at = 0;
    for (size_t s = 0; s < count; s++) {
        const json_t *shard = json_array_get(shards, s);
        cm3__shard_entry *entry = &manifest->shards[s];
        CM3_TRY(cm3_json_need_int(shard, name, "begin", at, at, &entry->range.begin)); /* no gap, no overlap */
        CM3_TRY(cm3_json_need_int(shard, name, "end", at, manifest->total, &entry->range.end));
        CM3_TRY(cm3_json_need_int(shard, name, "bytes", 0, INT64_MAX, &entry->bytes));
        CM3_TRY(read_hash(shard, name, "structure", &entry->structure));
        CM3_TRY(read_regions(shard, name, manifest, entry));
        at = entry->range.end;
    }
    if (at != manifest->total)
        return cm3_fail(CM3_ERR_FORMAT, "%s: shards end at element %lld of %lld", name, (long long)at,
                        (long long)manifest->total);
    return CM3_OK;
}

static cm3_status read_buffers(const json_t *root, const char *name, cm3__manifest *manifest) {
    const json_t *buffers;
    CM3_TRY(cm3_json_need_array(root, name, "buffers", &buffers));
    const size_t count = json_array_size(buffers);
    if (count < 1 || count > CM3__BUFFERS_MAX)
        return cm3_fail(CM3_ERR_FORMAT, "%s: buffers: found %zu, expected 1 to %d", name, count, CM3__BUFFERS_MAX);
    for (size_t b = 0; b < count; b++) {
        const char *buffer = json_string_value(json_array_get(buffers, b));
        if (buffer == NULL || strlen(buffer) >= CM3__NAME_MAX)
            return cm3_fail(CM3_ERR_FORMAT, "%s: buffers: expected short names", name);
        strcpy(manifest->buffers[b], buffer);
    }
    manifest->buffer_count = (int)count;
    return CM3_OK;
}

static cm3_status read_root(const json_t *root, const char *name, cm3__manifest *manifest) {
    int64_t version;
    const json_t *model;
    CM3_TRY(cm3_json_need_int(root, name, "version", 1, INT64_MAX, &version));
    if (version != CM3__VERSION)
        return cm3_fail(CM3_ERR_UNSUPPORTED, "%s: a checkpoint of format %lld; this program reads %d", name,
                        (long long)version, CM3__VERSION);
    CM3_TRY(cm3_json_need_int(root, name, "step", 0, INT64_MAX, &manifest->step));
    CM3_TRY(cm3_json_need_int(root, name, "total", 0, INT64_MAX / 8, &manifest->total));
    CM3_TRY(read_buffers(root, name, manifest));
    CM3_TRY(cm3_json_need_object(root, name, "model", &model));
    CM3_TRY(cm3_json_need_int(model, name, "bytes", 0, INT64_MAX, &manifest->model_bytes));
    CM3_TRY(read_hash(model, name, "hash", &manifest->model_hash));
    return read_shards(root, name, manifest);
}

cm3_status cm3__manifest_parse(const char *name, const char *text, size_t length, cm3__manifest *manifest) {
    *manifest = (cm3__manifest){0};
    CM3_TRY(check_seal(name, text, length));
    json_t *root;
    CM3_TRY(cm3_json_parse(name, text, length, &root));
    const cm3_status status = read_root(root, name, manifest);
    json_decref(root);
    if (status != CM3_OK) cm3__manifest_free(manifest);
    return status;
}

cm3_status cm3__manifest_read(const char *folder, cm3__manifest *manifest) {
    *manifest = (cm3__manifest){0};
    char *path = cm3_path_join(folder, CM3__MANIFEST), *text = NULL;
    size_t length = 0;
    cm3_status status = path == NULL ? cm3_fail(CM3_ERR_MEMORY, "out of memory for a path")
                                     : cm3_file_read(path, 1u << 30, &text, &length);
    if (status == CM3_OK) status = cm3__manifest_parse(path, text, length, manifest);
    free(text);
    free(path);
    return status;
}

void cm3__manifest_free(cm3__manifest *manifest) {
    free(manifest->shards);
    *manifest = (cm3__manifest){0};
}
