#include "train/stages/stage.h"

#include "core/file.h"
#include "core/json.h"

#include <stdlib.h>
#include <string.h>

double cm3_run_peak_flops(const cm3_run *run, cm3_dtype compute) {
    const cm3_backend *backend = run->device->backend;
    if (!backend->peak) return backend->memory->host ? run->sgemm_flops : 0;
    return backend->peak(compute) * cm3_comm_size(run->comm);
}

char *cm3_stage_path(const cm3_recipe *recipe, const char *stage, const char *file) {
    char *folder = cm3_path_join(recipe->run.out, stage);
    if (!folder || !file) return folder;
    char *path = cm3_path_join(folder, file);
    free(folder);
    return path;
}

static cm3_status write_text(const char *folder, const char *name, const char *text) {
    char *path = cm3_path_join(folder, name);
    if (!path) return cm3_fail(CM3_ERR_MEMORY, "no memory for a path");
    const cm3_status status = cm3_file_write(path, text, strlen(text));
    free(path);
    return status;
}

static void note_text(const cm3_run *run, const char *const *sections, int count, cm3_hash inputs, char text[160]) {
    char hex[CM3_HASH_HEX];
    cm3_hash_to_hex(inputs, hex);
    snprintf(text, 160, "{\"settings\":\"%016llx\",\"inputs\":\"%s\"}\n",
             (unsigned long long)cm3_config_hash(&cm3_recipe_schema, run->recipe, sections, count), hex);
}

static cm3_status open_on_first(const cm3_run *run, const char *stage, const char *wanted, int *state) {
    char *folder = cm3_stage_path(run->recipe, stage, NULL), *note = cm3_stage_path(run->recipe, stage, "stage.json"),
         *found = NULL;
    size_t length = 0;
    cm3_status status = folder && note ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "no memory for a path");
    if (status == CM3_OK) status = cm3_folder_make(folder);
    if (status == CM3_OK) status = write_text(run->recipe->run.out, "config.yaml", run->config_text);
    if (status == CM3_OK) status = write_text(folder, "config.yaml", run->config_text);
    if (status == CM3_OK) {
        *state = CM3_STAGE_NEW;
        if (cm3_path_exists(note)) {
            status = cm3_file_read(note, 4096, &found, &length);
            if (status == CM3_OK) *state = strcmp(found, wanted) == 0 ? CM3_STAGE_SAME : CM3_STAGE_CHANGED;
        }
    }
    free(found);
    free(folder);
    free(note);
    return status;
}

cm3_status cm3_stage_open(const cm3_run *run, const char *stage, const char *const *sections, int section_count,
                          cm3_hash inputs, cm3_stage_state *state) {
    char wanted[160];
    note_text(run, sections, section_count, inputs, wanted);
    int32_t found = CM3_STAGE_NEW;
    CM3_TRY(
        cm3_comm_agree_status(run->comm, cm3_run_is_first(run) ? open_on_first(run, stage, wanted, &found) : CM3_OK));
    CM3_TRY(cm3_comm_broadcast(run->comm, &found, sizeof found, 0));
    *state = (cm3_stage_state)found;
    return CM3_OK;
}

static cm3_status note_on_first(const cm3_run *run, const char *stage, const char *text) {
    char *folder = cm3_stage_path(run->recipe, stage, NULL);
    if (!folder) return cm3_fail(CM3_ERR_MEMORY, "no memory for a path");
    const cm3_status status = write_text(folder, "stage.json", text);
    free(folder);
    return status;
}

cm3_status cm3_stage_note(const cm3_run *run, const char *stage, const char *const *sections, int section_count,
                          cm3_hash inputs) {
    char text[160];
    note_text(run, sections, section_count, inputs, text);
    return cm3_comm_agree_status(run->comm, cm3_run_is_first(run) ? note_on_first(run, stage, text) : CM3_OK);
}

cm3_status cm3_stage_claim(const cm3_run *run, const char *stage, const char *const *sections, int section_count,
                           cm3_hash inputs) {
    cm3_stage_state state;
    CM3_TRY(cm3_stage_open(run, stage, sections, section_count, inputs, &state));
    if (state == CM3_STAGE_CHANGED)
        return cm3_fail(CM3_ERR_RECIPE,
                        "%s/%s holds a run of other settings or inputs: give another `out`, or remove that folder",
                        run->recipe->run.out, stage);
    return state == CM3_STAGE_SAME ? CM3_OK : cm3_stage_note(run, stage, sections, section_count, inputs);
}
