#include "train/stages/stages.h"

#include "core/file.h"
#include "core/log.h"
#include "train/checkpoint.h"

#include <stdlib.h>
#include <string.h>

/* --- the table --------------------------------------------------------------------------------------------------- */

static cm3_status check_image_tokenizer(const cm3_recipe *recipe, int ranks) {
    const cm3_image_tokenizer_config *config = &recipe->image_tokenizer;
    cm3_batch_share share;
    return cm3_recipe_share("image_tokenizer", config->data.batch, &config->train, ranks, &share);
}

static cm3_status check_pretrain(const cm3_recipe *recipe, int ranks) {
    const cm3_pretrain_config *config = &recipe->pretrain;
    cm3_batch_share share;
    return cm3_recipe_share("pretrain", config->data.batch, &config->train, ranks, &share);
}

const cm3_stage cm3_stages[] = {
    {.name = "text-tokenizer",
     .summary = "source -> BPE",
     .help = "Trains the byte-level BPE on the captions of the recipe's source and writes "
             "OUT/text-tokenizer/tokenizer.json,\n"
             "a file that Hugging Face's tokenizers read, too. Validation captions are not read.\n\n"
             "    cm3leon text-tokenizer configs/emoji-quick.yaml\n",
     .run = cm3_stage_text_tokenizer,
     .sections = {"source", "text_tokenizer"},
     .results = {"tokenizer.json"}},
    {.name = "image-tokenizer",
     .summary = "source -> VQ model",
     .help = "Trains the VQ network that turns an image into codes and back. Resumes from its newest checkpoint; "
             "SIGUSR1 or\n"
             "SIGTERM saves one and stops (exit code 3).\n\n"
             "    mpirun -n 2 cm3leon image-tokenizer configs/emoji-quick.yaml image_tokenizer.train.steps=500\n",
     .run = cm3_stage_image_tokenizer,
     .sections = {"", "source", "image_tokenizer", "checkpoint", "guard"},
     .trains = true,
     .check = check_image_tokenizer},
    {.name = "retriever", .summary = "source -> text and image encoders"},
    {.name = "tokenize",
     .summary = "source + tokenizers + encoders -> token store",
     .help = "Turns every pair of the source into text tokens and image codes: OUT/tokenize/store.h5 and vocab.json. "
             "Needs\n"
             "both tokenizers.\n\n"
             "    mpirun -n 2 cm3leon tokenize configs/emoji-quick.yaml\n",
     .run = cm3_stage_tokenize,
     .sections = {"source", "vocab"},
     .reads = {"text-tokenizer", "image-tokenizer"},
     .results = {"store.h5", "vocab.json"}},
    {.name = "index", .summary = "token store -> neighbours of every sample"},
    {.name = "pretrain",
     .summary = "token store -> model",
     .help =
         "Trains the transformer on the token store with the CM3 objective. Resumes from its newest checkpoint, on "
         "any\n"
         "number of ranks; SIGUSR1 or SIGTERM saves one and stops (exit code 3). Watch it with: tensorboard --logdir\n"
         "OUT/pretrain\n\n"
         "    mpirun -n 2 cm3leon pretrain configs/emoji-quick.yaml\n",
     .run = cm3_stage_pretrain,
     .sections = {"", "model", "pretrain", "checkpoint", "guard"},
     .reads = {"tokenize"},
     .trains = true,
     .check = check_pretrain},
    {.name = "finetune", .summary = "task documents -> model"},
    {.name = NULL}};

const cm3_stage *cm3_stage_find(const char *name) {
    for (const cm3_stage *stage = cm3_stages; stage->name; stage++)
        if (strcmp(stage->name, name) == 0) return stage;
    return NULL;
}

/* --- what is up to date ------------------------------------------------------------------------------------------ */

/* CM3_OK with *found false if the stage has left no record. */
static cm3_status find_record(const char *out, const char *stage, cm3_stage_record *record, bool *found) {
    const cm3_status status = cm3_stage_record_read(out, stage, record);
    *found = status == CM3_OK;
    return status == CM3_ERR_NOT_FOUND ? CM3_OK : status;
}

/* The newest checkpoint's parameters: training may have gone on under the same record. */
static cm3_status add_checkpoint(cm3_hasher *hasher, const cm3_recipe *recipe, const cm3_stage *stage) {
    char *folder = cm3_stage_path(recipe, stage->name, NULL), *checkpoint = NULL;
    if (!folder) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a path");
    cm3_hash digest = {0};
    cm3_status status = cm3_checkpoint_latest(folder, &checkpoint);
    if (status == CM3_ERR_NOT_FOUND)
        status = cm3_fail(status, "%s: has no checkpoint; run `cm3leon %s` first", folder, stage->name);
    if (status == CM3_OK) status = cm3_checkpoint_digest(checkpoint, "parameters", &digest);
    cm3_hasher_add(hasher, &digest, sizeof digest);
    free(checkpoint);
    free(folder);
    return status;
}

static cm3_status hash_inputs(const cm3_recipe *recipe, const cm3_stage *stage, cm3_hash *inputs) {
    cm3_hasher *hasher = cm3_hasher_new();
    cm3_status status = CM3_OK;
    for (const char *const *name = stage->reads; *name && status == CM3_OK; name++) {
        const cm3_stage *read = cm3_stage_find(*name);
        cm3_stage_record record;
        bool found;
        status = find_record(recipe->run.out, *name, &record, &found);
        if (status == CM3_OK && !found)
            status = cm3_fail(CM3_ERR_NOT_FOUND, "%s/%s: is not there; run `cm3leon %s` first", recipe->run.out, *name,
                              *name);
        if (status == CM3_OK) cm3_hasher_add(hasher, &record, sizeof record);
        if (status == CM3_OK && read->trains) status = add_checkpoint(hasher, recipe, read);
    }
    *inputs = cm3_hasher_value(hasher);
    cm3_hasher_free(hasher);
    return status;
}

/* Names the first setting that differs from those the folder was made with. */
static cm3_status fail_changed(const cm3_recipe *recipe, const cm3_stage *stage) {
    char difference[256] = "";
    char *path = cm3_stage_path(recipe, stage->name, "config.yaml");
    cm3_recipe before;
    if (path && cm3_config_load(&cm3_recipe_schema, path, NULL, 0, &before) == CM3_OK) {
        cm3_config_difference(&cm3_recipe_schema, &before, recipe, stage->sections, difference, sizeof difference);
        cm3_config_free(&cm3_recipe_schema, &before);
    }
    free(path);
    return cm3_fail(CM3_ERR_RECIPE,
                    "%s/%s holds a run of other settings%s%s: give another `out`, or remove that folder",
                    recipe->run.out, stage->name, *difference ? ": " : "", difference);
}

static cm3_status check_one(const cm3_recipe *recipe, int ranks, const cm3_stage *stage) {
    cm3_stage_record record;
    bool found;
    if (stage->check) CM3_TRY(stage->check(recipe, ranks));
    CM3_TRY(find_record(recipe->run.out, stage->name, &record, &found));
    const cm3_hash settings = cm3_config_hash(&cm3_recipe_schema, recipe, stage->sections);
    if (found && stage->trains && !cm3_hash_equal(record.settings, settings)) return fail_changed(recipe, stage);
    return CM3_OK;
}

cm3_status cm3_stages_check(const cm3_recipe *recipe, int ranks, const cm3_stage *stages, int count) {
    CM3_TRY(cm3_stages_check_version(recipe->run.out));
    for (int i = 0; i < count; i++)
        if (stages[i].run) CM3_TRY(check_one(recipe, ranks, &stages[i]));
    return CM3_OK;
}

cm3_status cm3_stages_check_version(const char *out) {
    for (const cm3_stage *stage = cm3_stages; stage->name; stage++) {
        cm3_stage_record record;
        bool found;
        CM3_TRY(find_record(out, stage->name, &record, &found));
    }
    return CM3_OK;
}

/* --- running ----------------------------------------------------------------------------------------------------- */

static bool has_results(const cm3_recipe *recipe, const cm3_stage *stage) {
    for (const char *const *name = stage->results; *name; name++) {
        char *path = cm3_stage_path(recipe, stage->name, *name);
        const bool there = path && cm3_path_exists(path);
        free(path);
        if (!there) return false;
    }
    return true;
}

/* On the first rank: whether the stage is up to date already, and the record that it will leave. */
static cm3_status look_up(const cm3_recipe *recipe, const cm3_stage *stage, cm3_stage_record *now, bool *done) {
    cm3_stage_record before;
    bool found;
    CM3_TRY(find_record(recipe->run.out, stage->name, &before, &found));
    now->settings = cm3_config_hash(&cm3_recipe_schema, recipe, stage->sections);
    CM3_TRY(hash_inputs(recipe, stage, &now->inputs));
    const bool same_inputs = found && cm3_hash_equal(before.inputs, now->inputs);
    if (found && stage->trains && !same_inputs)
        return cm3_fail(CM3_ERR_RECIPE,
                        "%s/%s was trained on other results of %s: give another `out`, or remove that folder",
                        recipe->run.out, stage->name, stage->reads[0]);
    *done =
        same_inputs && cm3_hash_equal(before.settings, now->settings) && !stage->trains && has_results(recipe, stage);
    if (*done) cm3_log_info("%s: up to date", stage->name);
    return CM3_OK;
}

static cm3_status run_one(const cm3_stage_context *shared, const cm3_stage *stage) {
    cm3_stage_context context = *shared;
    const bool first = cm3_stage_is_first(shared);
    bool done = false;
    context.name = stage->name;
    context.trains = stage->trains;
    CM3_TRY(
        cm3_comm_agree_status(context.comm, first ? look_up(context.recipe, stage, &context.record, &done) : CM3_OK));
    CM3_TRY(cm3_comm_broadcast(context.comm, &done, sizeof done, 0));
    if (done) return CM3_OK;
    CM3_TRY(stage->run(&context));
    if (!first || stage->trains) return cm3_comm_agree_status(context.comm, CM3_OK);
    return cm3_comm_agree_status(context.comm,
                                 cm3_stage_record_write(context.recipe->run.out, stage->name, &context.record));
}

cm3_status cm3_stages_run(const cm3_stage_context *context, const cm3_stage *stages, int count) {
    for (int i = 0; i < count; i++)
        if (stages[i].run) CM3_TRY(run_one(context, &stages[i]));
    return CM3_OK;
}
