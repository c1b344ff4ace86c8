#include "core/json.h"
#include "data/slots.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What a set of cursors belongs to: any difference makes them point at other tokens. */
static void put_identity(cm3_json_writer *w, const cm3_data_config *config, const cm3_store *store) {
    const cm3_store_info *info = cm3_store_get_info(store);
    cm3_json_put_string(w, "format", "cm3leon slots");
    cm3_json_put_int(w, "version", 2);
    cm3_json_put_int(w, "seed", config->seed);
    cm3_json_put_int(w, "batch", config->batch);
    cm3_json_put_int(w, "training_samples", info->samples - info->validation);
    cm3_json_put_hash(w, "content", info->content);
    cm3_json_put_hash(w, "vocabulary", info->vocabulary);
}

cm3_status cm3_cursors_save(const cm3_data_config *config, const cm3_store *store, const cm3_cursor *cursors,
                            char **text) {
    *text = NULL;
    size_t length;
    FILE *file = open_memstream(text, &length);
    if (!file) return cm3_fail(CM3_ERR_MEMORY, "out of memory for the state of %" PRId64 " slots", config->batch);
    cm3_json_writer w = cm3_json_writer_on(file);
    cm3_json_begin_object(&w, NULL);
    put_identity(&w, config, store);
    cm3_json_begin_array(&w, "cursors");
    for (int64_t slot = 0; slot < config->batch; slot++) {
        cm3_json_begin_array(&w, NULL);
        cm3_json_put_int(&w, NULL, cursors[slot].sample);
        cm3_json_put_int(&w, NULL, cursors[slot].offset);
        cm3_json_put_int(&w, NULL, cursors[slot].block);
        cm3_json_end_array(&w);
    }
    cm3_json_end_array(&w);
    cm3_json_end_object(&w);
    const bool failed = ferror(file) != 0;
    if (fclose(file) == 0 && !failed) return CM3_OK;
    free(*text);
    *text = NULL;
    return cm3_fail(CM3_ERR_MEMORY, "out of memory for the state of %" PRId64 " slots", config->batch);
}

static cm3_status same_int(const json_t *root, const char *name, const char *key, int64_t expected) {
    int64_t found;
    CM3_TRY(cm3_json_need_int(root, name, key, INT64_MIN, INT64_MAX, &found));
    if (found != expected)
        return cm3_fail(CM3_ERR_FORMAT, "%s: %s: the saved slots have %" PRId64 ", this run has %" PRId64, name, key,
                        found, expected);
    return CM3_OK;
}

static cm3_status same_hash(const json_t *root, const char *name, const char *key, cm3_hash expected) {
    cm3_hash found;
    char saved[CM3_HASH_HEX], hex[CM3_HASH_HEX];
    CM3_TRY(cm3_json_need_hash(root, name, key, &found));
    if (cm3_hash_equal(found, expected)) return CM3_OK;
    cm3_hash_to_hex(found, saved);
    cm3_hash_to_hex(expected, hex);
    return cm3_fail(CM3_ERR_FORMAT,
                    "%s: %s: the saved slots belong to another token store (%.12s, this run's is %.12s)", name, key,
                    saved, hex);
}

static cm3_status read_cursor(const json_t *item, const char *name, int64_t slot, const cm3_data_config *config,
                              cm3_cursor *cursor) {
    int64_t values[3];
    for (size_t i = 0; i < 3; i++) {
        const json_t *value = json_array_get(item, i);
        values[i] = json_is_integer(value) ? json_integer_value(value) : -1;
        /* The upper limit keeps sums far from overflow, and is far above any run. */
        if (json_array_size(item) != 3 || values[i] < 0 || values[i] > INT64_MAX / 4)
            return cm3_fail(CM3_ERR_FORMAT, "%s: cursors: slot %" PRId64 " is not [sample, offset, block]", name, slot);
    }
    if (values[0] % config->batch != slot)
        return cm3_fail(CM3_ERR_FORMAT, "%s: cursors: sample %" PRId64 " does not belong to slot %" PRId64, name,
                        values[0], slot);
    *cursor = (cm3_cursor){values[0], values[1], values[2]};
    return CM3_OK;
}

static cm3_status read_cursors(const json_t *root, const char *name, const cm3_data_config *config,
                               const cm3_store *store, cm3_cursor *cursors) {
    const cm3_store_info *info = cm3_store_get_info(store);
    const json_t *items;
    CM3_TRY(cm3_json_need_format(root, name, "cm3leon slots", 2));
    CM3_TRY(same_int(root, name, "seed", config->seed));
    CM3_TRY(same_int(root, name, "batch", config->batch));
    CM3_TRY(same_int(root, name, "training_samples", info->samples - info->validation));
    CM3_TRY(same_hash(root, name, "content", info->content));
    CM3_TRY(same_hash(root, name, "vocabulary", info->vocabulary));
    CM3_TRY(cm3_json_need_array(root, name, "cursors", &items));
    if (json_array_size(items) != (size_t)config->batch)
        return cm3_fail(CM3_ERR_FORMAT, "%s: cursors: found %zu, expected %" PRId64, name, json_array_size(items),
                        config->batch);
    for (int64_t slot = 0; slot < config->batch; slot++)
        CM3_TRY(read_cursor(json_array_get(items, (size_t)slot), name, slot, config, &cursors[slot]));
    return CM3_OK;
}

cm3_status cm3_cursors_load(const cm3_data_config *config, const cm3_store *store, const char *name, const char *text,
                            cm3_cursor *cursors) {
    json_t *root;
    CM3_TRY(cm3_json_parse(name, text, strlen(text), &root));
    const cm3_status status = read_cursors(root, name, config, store, cursors);
    json_decref(root);
    return status;
}

cm3_status cm3_cursors_vocabulary(const char *name, const char *text, cm3_hash *fingerprint) {
    json_t *root;
    const char *hex;
    CM3_TRY(cm3_json_parse(name, text, strlen(text), &root));
    cm3_status status = cm3_json_need_string(root, name, "vocabulary", &hex);
    if (status == CM3_OK && !cm3_hash_from_hex(hex, fingerprint))
        status = cm3_fail(CM3_ERR_FORMAT, "%s: vocabulary: found \"%.40s\", expected 32 hexadecimal digits", name, hex);
    json_decref(root);
    return status;
}
