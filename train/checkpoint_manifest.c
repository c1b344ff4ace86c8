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
    cm3_json_put_int(w, "bytes", entry->bytes);
    put_hash(w, "structure", entry->structure);
    cm3_json_begin_array(w, "datasets");
    for (int d = 0; d < manifest->dataset_count; d++) {
        cm3_json_begin_object(w, NULL);
        cm3_json_put_int(w, "begin", entry->regions[d].range.begin);
        cm3_json_put_int(w, "end", entry->regions[d].range.end);
        cm3_json_put_int(w, "offset", entry->regions[d].offset);
        put_hash(w, "hash", entry->regions[d].hash);
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
    cm3_json_begin_array(&w, "datasets");
    for (int d = 0; d < manifest->dataset_count; d++) {
        cm3_json_begin_object(&w, NULL);
        cm3_json_put_string(&w, "buffer", manifest->datasets[d].buffer);
        cm3_json_put_string(&w, "group", manifest->datasets[d].group);
        cm3_json_put_int(&w, "total", manifest->datasets[d].total);
        cm3_json_end_object(&w);
    }
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
    char *text = NULL;
    size_t length = 0;
    FILE *memory = open_memstream(&text, &length);
    cm3_status status = CM3_ERR_MEMORY;
    if (memory != NULL) {
        put_manifest(memory, manifest);
        fflush(memory);
        char hex[CM3_HASH_HEX];
        cm3_hash_to_hex(cm3_hash_bytes(text, length), hex);
        fprintf(memory, "%s%s\"}\n", seal, hex);
        if (ferror(memory) == 0) status = CM3_OK;
    }
    if (memory != NULL && fclose(memory) != 0) status = CM3_ERR_MEMORY;
    status = status == CM3_OK ? cm3_file_write(cm3_path_join(folder, CM3__MANIFEST).text, text, length)
                              : cm3_fail(status, "out of memory for a checkpoint's manifest");
    free(text);
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

int cm3__regions_in_file(const cm3__shard_entry *entry, int regions, int order[CM3__DATASETS_MAX]) {
    int count = 0;
    for (int r = 0; r < regions; r++) {
        if (entry->regions[r].bytes == 0) continue;
        int at = count++;
        for (; at > 0 && entry->regions[order[at - 1]].offset > entry->regions[r].offset; at--)
            order[at] = order[at - 1];
        order[at] = r;
    }
    return count;
}

static cm3_status check_offsets(const char *name, const cm3__shard_entry *entry, int regions) {
    int order[CM3__DATASETS_MAX];
    const int count = cm3__regions_in_file(entry, regions, order);
    int64_t end_of_last = 0;
    for (int i = 0; i < count; i++) {
        const cm3__region *region = &entry->regions[order[i]];
        if (region->offset < end_of_last || region->bytes > entry->bytes - region->offset)
            return cm3_fail(CM3_ERR_FORMAT, "%s: datasets of a shard overlap or reach beyond its file", name);
        end_of_last = region->offset + region->bytes;
    }
    return CM3_OK;
}

/* `at`: where the shards so far end in each dataset: no gap, no overlap. */
static cm3_status read_regions(const json_t *shard, const char *name, const cm3__manifest *manifest,
                               cm3__shard_entry *entry, int64_t *at) {
    const json_t *datasets;
    CM3_TRY(cm3_json_need_array(shard, name, "datasets", &datasets));
    if ((int)json_array_size(datasets) != manifest->dataset_count)
        return cm3_fail(CM3_ERR_FORMAT, "%s: a shard has %zu datasets, expected %d", name, json_array_size(datasets),
                        manifest->dataset_count);
    for (int d = 0; d < manifest->dataset_count; d++) {
        const json_t *dataset = json_array_get(datasets, (size_t)d);
        cm3__region *region = &entry->regions[d];
        CM3_TRY(cm3_json_need_int(dataset, name, "begin", at[d], at[d], &region->range.begin));
        CM3_TRY(cm3_json_need_int(dataset, name, "end", at[d], manifest->datasets[d].total, &region->range.end));
        CM3_TRY(cm3_json_need_int(dataset, name, "offset", 0, entry->bytes, &region->offset));
        CM3_TRY(read_hash(dataset, name, "hash", &region->hash));
        at[d] = region->range.end;
        region->bytes = cm3_range_length(region->range) * (int64_t)sizeof(float);
    }
    return check_offsets(name, entry, manifest->dataset_count);
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
    int64_t at[CM3__DATASETS_MAX] = {0};
    for (size_t s = 0; s < count; s++) {
        const json_t *shard = json_array_get(shards, s);
        cm3__shard_entry *entry = &manifest->shards[s];
        CM3_TRY(cm3_json_need_int(shard, name, "bytes", 0, INT64_MAX, &entry->bytes));
        CM3_TRY(read_hash(shard, name, "structure", &entry->structure));
        CM3_TRY(read_regions(shard, name, manifest, entry, at));
    }
    for (int d = 0; d < manifest->dataset_count; d++)
        if (at[d] != manifest->datasets[d].total)
            return cm3_fail(CM3_ERR_FORMAT, "%s: shards end at element %lld of %lld", name, (long long)at[d],
                            (long long)manifest->datasets[d].total);
    return CM3_OK;
}

static cm3_status read_name(const json_t *dataset, const char *name, const char *key, char *to) {
    const char *text;
    CM3_TRY(cm3_json_need_string(dataset, name, key, &text));
    if (strlen(text) >= CM3__NAME_MAX || *text == 0)
        return cm3_fail(CM3_ERR_FORMAT, "%s: datasets: %s: expected 1 to %d characters", name, key, CM3__NAME_MAX - 1);
    strcpy(to, text);
    return CM3_OK;
}

int cm3__manifest_find(const cm3__manifest *manifest, const char *buffer, const char *group) {
    for (int d = 0; d < manifest->dataset_count; d++)
        if (strcmp(manifest->datasets[d].buffer, buffer) == 0 && strcmp(manifest->datasets[d].group, group) == 0)
            return d;
    return -1;
}

static cm3_status read_datasets(const json_t *root, const char *name, cm3__manifest *manifest) {
    const json_t *datasets;
    CM3_TRY(cm3_json_need_array(root, name, "datasets", &datasets));
    const size_t count = json_array_size(datasets);
    if (count < 1 || count > CM3__DATASETS_MAX)
        return cm3_fail(CM3_ERR_FORMAT, "%s: datasets: found %zu, expected 1 to %d", name, count, CM3__DATASETS_MAX);
    for (size_t d = 0; d < count; d++) {
        const json_t *dataset = json_array_get(datasets, d);
        cm3__dataset read = {0};
        CM3_TRY(read_name(dataset, name, "buffer", read.buffer));
        CM3_TRY(read_name(dataset, name, "group", read.group));
        CM3_TRY(cm3_json_need_int(dataset, name, "total", 0, INT64_MAX / 8, &read.total));
        if (cm3__manifest_find(manifest, read.buffer, read.group) >= 0)
            return cm3_fail(CM3_ERR_FORMAT, "%s: datasets: /%s/%s is there twice", name, read.buffer, read.group);
        for (int e = 0; e < manifest->dataset_count; e++)
            if (strcmp(manifest->datasets[e].group, read.group) == 0 && manifest->datasets[e].total != read.total)
                return cm3_fail(CM3_ERR_FORMAT, "%s: datasets: /%s/%s has %lld elements, /%s/%s has %lld", name,
                                read.buffer, read.group, (long long)read.total, manifest->datasets[e].buffer,
                                read.group, (long long)manifest->datasets[e].total);
        manifest->datasets[manifest->dataset_count++] = read;
    }
    return CM3_OK;
}

static cm3_status read_root(const json_t *root, const char *name, cm3__manifest *manifest) {
    int64_t version;
    const json_t *model;
    CM3_TRY(cm3_json_need_int(root, name, "version", 1, INT64_MAX, &version));
    if (version != CM3__VERSION)
        return cm3_fail(CM3_ERR_UNSUPPORTED, "%s: is a checkpoint of format %lld, expected %d", name,
                        (long long)version, CM3__VERSION);
    CM3_TRY(cm3_json_need_int(root, name, "step", 0, INT64_MAX, &manifest->step));
    CM3_TRY(read_datasets(root, name, manifest));
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
    const cm3_path path = cm3_path_join(folder, CM3__MANIFEST);
    char *text;
    size_t length;
    CM3_TRY(cm3_file_read(path.text, 1u << 30, &text, &length));
    const cm3_status status = cm3__manifest_parse(path.text, text, length, manifest);
    free(text);
    return status;
}

void cm3__manifest_free(cm3__manifest *manifest) {
    free(manifest->shards);
    *manifest = (cm3__manifest){0};
}
