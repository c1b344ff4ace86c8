/* What a stage is given, and the functions of all of them. To add one: a file here with its function, a prototype
 * below, a row in the table (stages.c). */
#ifndef CM3_TRAIN_STAGES_STAGE_H
#define CM3_TRAIN_STAGES_STAGE_H

#include "dist/comm.h"
#include "train/run_folder.h"

typedef struct cm3_stage_context {
    const cm3_recipe *recipe;
    const char *config_text; /* the resolved recipe */
    cm3_comm *comm;
    const cm3_device *device; /* that computes */
    /* Set for each stage by cm3_stages_run(): */
    const char *name;
    bool trains;
    cm3_stage_record record; /* on the first rank */
} cm3_stage_context;

/* Collective. A stage calls it when everything is checked and before it writes anything: makes its folder, and writes
 * OUT/config.yaml and OUT/STAGE/config.yaml. The record of a stage that trains is written now, that of another one is
 * removed until it is finished. */
cm3_status cm3_stage_begin(const cm3_stage_context *context);

/* All are collective. */
cm3_status cm3_stage_text_tokenizer(const cm3_stage_context *context);
cm3_status cm3_stage_image_tokenizer(const cm3_stage_context *context);
cm3_status cm3_stage_tokenize(const cm3_stage_context *context);
cm3_status cm3_stage_pretrain(const cm3_stage_context *context);

/* FLOP/s of all ranks at most: measured of a CPU's multipliers, a GPU's peak in the type; 0: unknown. */
double cm3_stage_peak_flops(const cm3_stage_context *context, cm3_dtype compute);

static inline bool cm3_stage_is_first(const cm3_stage_context *context) {
    return cm3_comm_rank(context->comm) == 0;
}

#endif
