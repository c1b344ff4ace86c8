#include "train/run_folder.h"

#include "core/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

cm3_path cm3_stage_path(const cm3_recipe *recipe, const char *stage, const char *file) {
    const cm3_path folder = cm3_path_join(recipe->run.out, stage);
    return file ? cm3_path_join(folder.text, file) : folder;
}

cm3_status cm3_stage_checkpoint(const cm3_recipe *recipe, const char *stage, cm3_path *checkpoint) {
    const cm3_path folder = cm3_stage_path(recipe, stage, NULL);
    const cm3_status status = cm3_checkpoint_latest(folder.text, checkpoint);
    if (status != CM3_ERR_NOT_FOUND) return status;
    return cm3_fail(status, "%s: has no checkpoint; run `cm3leon %s` first", folder.text, stage);
}

static cm3_path record_path(const char *out, const char *stage) {
    return cm3_path_format("%s/%s/stage.json", out, stage);
}

static cm3_status read_members(const json_t *root, const char *path, const char *out, cm3_stage_record *record) {
    int64_t version = 1; /* the first had no number */
    if (json_object_get(root, "version")) CM3_TRY(cm3_json_need_int(root, path, "version", 0, INT64_MAX, &version));
    if (version != CM3_RUN_VERSION)
        return cm3_fail(CM3_ERR_FORMAT,
                        "%s: the run folder has format version %" PRId64
                        ", expected %d: give another `out`, or remove %s",
                        path, version, CM3_RUN_VERSION, out);
    CM3_TRY(cm3_json_need_hash(root, path, "settings", &record->settings));
    return cm3_json_need_hash(root, path, "inputs", &record->inputs);
}

cm3_status cm3_stage_record_read(const char *out, const char *stage, cm3_stage_record *record) {
    const cm3_path path = record_path(out, stage);
    if (!cm3_path_exists(path.text)) return cm3_fail(CM3_ERR_NOT_FOUND, "%s: does not exist", path.text);
    json_t *root;
    CM3_TRY(cm3_json_load(path.text, 4096, &root));
    const cm3_status status = read_members(root, path.text, out, record);
    json_decref(root);
    return status;
}

cm3_status cm3_stage_record_write(const char *out, const char *stage, const cm3_stage_record *record) {
    char text[160], settings[CM3_HASH_HEX], inputs[CM3_HASH_HEX];
    cm3_hash_to_hex(record->settings, settings);
    cm3_hash_to_hex(record->inputs, inputs);
    const int length = snprintf(text, sizeof text, "{\"version\":%d,\"settings\":\"%s\",\"inputs\":\"%s\"}\n",
                                CM3_RUN_VERSION, settings, inputs);
    return cm3_file_write(record_path(out, stage).text, text, (size_t)length);
}

cm3_status cm3_stage_record_remove(const char *out, const char *stage) {
    const cm3_path path = record_path(out, stage);
    if (unlink(path.text) != 0 && errno != ENOENT)
        return cm3_fail(CM3_ERR_IO, "%s: cannot be removed: %s", path.text, strerror(errno));
    return CM3_OK;
}
