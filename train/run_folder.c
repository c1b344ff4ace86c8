#include "train/run_folder.h"

#include "core/file.h"
#include "core/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *cm3_stage_path(const cm3_recipe *recipe, const char *stage, const char *file) {
    char *folder = cm3_path_join(recipe->run.out, stage);
    if (!folder || !file) return folder;
    char *path = cm3_path_join(folder, file);
    free(folder);
    return path;
}

static cm3_status record_path(const char *out, const char *stage, char **path) {
    return asprintf(path, "%s/%s/stage.json", out, stage) < 0 ? cm3_fail(CM3_ERR_MEMORY, "out of memory for a path")
                                                              : CM3_OK;
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
    char *path;
    CM3_TRY(record_path(out, stage, &path));
    json_t *root = NULL;
    cm3_status status = cm3_path_exists(path) ? cm3_json_load(path, 4096, &root)
                                              : cm3_fail(CM3_ERR_NOT_FOUND, "%s: is not there", path);
    if (status == CM3_OK) status = read_members(root, path, out, record);
    json_decref(root);
    free(path);
    return status;
}

cm3_status cm3_stage_record_write(const char *out, const char *stage, const cm3_stage_record *record) {
    char *path, text[160], settings[CM3_HASH_HEX], inputs[CM3_HASH_HEX];
    cm3_hash_to_hex(record->settings, settings);
    cm3_hash_to_hex(record->inputs, inputs);
    const int length = snprintf(text, sizeof text, "{\"version\":%d,\"settings\":\"%s\",\"inputs\":\"%s\"}\n",
                                CM3_RUN_VERSION, settings, inputs);
    CM3_TRY(record_path(out, stage, &path));
    const cm3_status status = cm3_file_write(path, text, (size_t)length);
    free(path);
    return status;
}

cm3_status cm3_stage_record_remove(const char *out, const char *stage) {
    char *path;
    CM3_TRY(record_path(out, stage, &path));
    cm3_status status = CM3_OK;
    if (unlink(path) != 0 && errno != ENOENT)
        status = cm3_fail(CM3_ERR_IO, "%s: cannot be removed: %s", path, strerror(errno));
    free(path);
    return status;
}
