#include "train/stages/stage.h"

#include "core/file.h"

#include <stdlib.h>
#include <string.h>

double cm3_stage_peak_flops(const cm3_stage_context *context, cm3_dtype compute) {
    return context->device->backend->peak(compute) * cm3_comm_size(context->comm);
}

static cm3_status write_config(const cm3_stage_context *context, const char *folder) {
    char *path = cm3_path_join(folder, "config.yaml");
    if (!path) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a path");
    const cm3_status status = cm3_file_write(path, context->config_text, strlen(context->config_text));
    free(path);
    return status;
}

static cm3_status begin_on_first(const cm3_stage_context *context) {
    const char *out = context->recipe->run.out;
    char *folder = cm3_stage_path(context->recipe, context->name, NULL);
    cm3_status status = folder ? cm3_folder_make(folder) : cm3_fail(CM3_ERR_MEMORY, "out of memory for a path");
    if (status == CM3_OK && !context->trains) status = cm3_stage_record_remove(out, context->name);
    if (status == CM3_OK) status = write_config(context, out);
    if (status == CM3_OK) status = write_config(context, folder);
    if (status == CM3_OK && context->trains) status = cm3_stage_record_write(out, context->name, &context->record);
    free(folder);
    return status;
}

cm3_status cm3_stage_begin(const cm3_stage_context *context) {
    return cm3_comm_agree_status(context->comm, cm3_stage_is_first(context) ? begin_on_first(context) : CM3_OK);
}
