#include "train/stages/stage.h"

#include "core/file.h"

#include <string.h>

double cm3_stage_peak_flops(const cm3_stage_context *context, cm3_dtype compute) {
    return context->device->backend->peak(compute) * cm3_comm_size(context->comm);
}

static cm3_status write_config(const cm3_stage_context *context, const char *folder) {
    return cm3_file_write(cm3_path_join(folder, "config.yaml").text, context->config_text,
                          strlen(context->config_text));
}

static cm3_status begin_on_first(const cm3_stage_context *context) {
    const char *out = context->recipe->run.out;
    const cm3_path folder = cm3_stage_path(context->recipe, context->name, NULL);
    CM3_TRY(cm3_folder_make(folder.text));
    if (!context->trains) CM3_TRY(cm3_stage_record_remove(out, context->name));
    CM3_TRY(write_config(context, out));
    CM3_TRY(write_config(context, folder.text));
    return context->trains ? cm3_stage_record_write(out, context->name, &context->record) : CM3_OK;
}

cm3_status cm3_stage_begin(const cm3_stage_context *context) {
    return cm3_comm_agree_status(context->comm, cm3_stage_is_first(context) ? begin_on_first(context) : CM3_OK);
}
