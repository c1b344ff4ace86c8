#include "train/stages/stages.h"

#include "core/auto.h"
#include "core/log.h"
#include "train/checkpoint.h"

#include <stdlib.h>
#include <string.h>

/* --- the table --------------------------------------------------------------------------------------------------- */

/* The loop of a recipe's section that holds `data.batch` and `train`. */
#define LOOP(path)                                                                                                     \
    { .section = #path, .batch = offsetof(cm3_recipe, path.data.batch), .train = offsetof(cm3_recipe, path.train) }

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
     .loop = LOOP(image_tokenizer)},
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
     .loop = LOOP(pretrain)},
    {.name = "finetune", .summary = "task documents -> model"},
    {.name = NULL}};

const cm3_stage *cm3_stage_find(const char *name) {
    for (const cm3_stage *stage = cm3_stages; stage->name; stage++)
        if (strcmp(stage->name, name) == 0) return stage;
    return NULL;
}

/* --- what is up to date ------------------------------------------------------------------------------------------ */

/* Stages that will have run, in order; none: what is there counts as it is. */
typedef struct stage_list {
    const cm3_stage *first;
    int count;
} stage_list;

static bool is_listed(stage_list list, const cm3_stage *stage) {
    return stage >= list.first && stage < list.first + list.count;
}

/* CM3_OK with *found false if the stage has left no record. */
static cm3_status find_record(const char *out, const char *stage, cm3_stage_record *record, bool *found) {
    const cm3_status status = cm3_stage_record_read(out, stage, record);
    *found = status == CM3_OK;
    return status == CM3_ERR_NOT_FOUND ? CM3_OK : status;
}

static cm3_hash settings_of(const cm3_recipe *recipe, const cm3_stage *stage) {
    return cm3_config_hash(&cm3_recipe_schema, recipe, stage->sections);
}

static int64_t steps_of(const cm3_recipe *recipe, const cm3_stage *stage) {
    return ((const cm3_train_config *)((const char *)recipe + stage->loop.train))->steps;
}

/* The newest checkpoint of a stage that trains, and its step; -1 if there is none. */
static cm3_status find_checkpoint(const cm3_recipe *recipe, const cm3_stage *stage, cm3_path *checkpoint,
                                  int64_t *step) {
    CM3_AUTO(cm3_checkpoint_info_free) cm3_checkpoint_info info = {0};
    *step = -1;
    const cm3_status status = cm3_checkpoint_latest(cm3_stage_path(recipe, stage->name, NULL).text, checkpoint);
    if (status == CM3_ERR_NOT_FOUND) return CM3_OK;
    CM3_TRY(status);
    CM3_TRY(cm3_checkpoint_read_info(checkpoint->text, &info));
    *step = info.state.step;
    return CM3_OK;
}

/* The newest checkpoint's parameters: training may have gone on under the same record. Those of a listed stage that
 * goes on are not known yet, and so equal no others. */
static cm3_status add_checkpoint(cm3_hasher *hasher, const cm3_recipe *recipe, stage_list list,
                                 const cm3_stage *stage) {
    cm3_path checkpoint;
    int64_t step;
    cm3_hash digest = {0};
    cm3_status status = find_checkpoint(recipe, stage, &checkpoint, &step);
    if (status == CM3_OK && !(is_listed(list, stage) && step < steps_of(recipe, stage)))
        status = step >= 0 ? cm3_checkpoint_digest(checkpoint.text, "parameters", &digest)
                           : cm3_fail(CM3_ERR_NOT_FOUND, "%s/%s: has no checkpoint; run `cm3leon %s` first",
                                      recipe->run.out, stage->name, stage->name);
    cm3_hasher_add(hasher, &digest, sizeof digest);
    return status;
}

static cm3_status hash_inputs(const cm3_recipe *recipe, stage_list list, const cm3_stage *stage, cm3_hash *inputs);

/* The record of a stage that another one reads: a listed one's as it will be, any other's as it is and up to date. */
static cm3_status find_input(const cm3_recipe *recipe, stage_list list, const cm3_stage *stage,
                             cm3_stage_record *record) {
    const char *out = recipe->run.out, *name = stage->name;
    cm3_hash inputs;
    bool found;
    CM3_TRY(find_record(out, name, record, &found));
    if (!is_listed(list, stage) && !found)
        return cm3_fail(CM3_ERR_NOT_FOUND, "%s/%s: is not there; run `cm3leon %s` first", out, name, name);
    CM3_TRY(hash_inputs(recipe, list, stage, &inputs));
    if (is_listed(list, stage))
        *record = (cm3_stage_record){.settings = settings_of(recipe, stage), .inputs = inputs};
    else if (!cm3_hash_equal(record->inputs, inputs))
        return cm3_fail(CM3_ERR_RECIPE, "%s/%s is out of date; run `cm3leon %s`", out, name, name);
    return CM3_OK;
}

static cm3_status hash_inputs(const cm3_recipe *recipe, stage_list list, const cm3_stage *stage, cm3_hash *inputs) {
    cm3_hasher *hasher = cm3_hasher_new();
    cm3_status status = CM3_OK;
    for (const char *const *name = stage->reads; *name && status == CM3_OK; name++) {
        const cm3_stage *read = cm3_stage_find(*name);
        cm3_stage_record record;
        status = find_input(recipe, list, read, &record);
        if (status == CM3_OK) cm3_hasher_add(hasher, &record, sizeof record);
        if (status == CM3_OK && read->trains) status = add_checkpoint(hasher, recipe, list, read);
    }
    *inputs = cm3_hasher_value(hasher);
    cm3_hasher_free(hasher);
    return status;
}

/* The first setting that differs from those the stage's folder was made with; "" if none does. */
static void describe_change(const cm3_recipe *recipe, const cm3_stage *stage, char *text, size_t size) {
    const cm3_path path = cm3_stage_path(recipe, stage->name, "config.yaml");
    cm3_recipe before;
    *text = '\0';
    if (cm3_config_load(&cm3_recipe_schema, path.text, NULL, 0, &before) == CM3_OK) {
        cm3_config_difference(&cm3_recipe_schema, &before, recipe, stage->sections, text, size);
        cm3_config_free(&cm3_recipe_schema, &before);
    }
}

/* The setting for which the results that `stage` reads are made again; "" if it is none. */
static void describe_changed_input(const cm3_recipe *recipe, stage_list list, const cm3_stage *stage, char *text,
                                   size_t size) {
    *text = '\0';
    for (const char *const *name = stage->reads; *name && !*text; name++) {
        const cm3_stage *read = cm3_stage_find(*name);
        cm3_path checkpoint;
        int64_t step;
        describe_changed_input(recipe, list, read, text, size);
        if (*text || !is_listed(list, read)) continue;
        describe_change(recipe, read, text, size);
        if (!*text && read->trains && find_checkpoint(recipe, read, &checkpoint, &step) == CM3_OK &&
            step < steps_of(recipe, read))
            snprintf(text, size, "%s.train.steps is %lld, its newest checkpoint's step %lld", read->loop.section,
                     (long long)steps_of(recipe, read), (long long)step);
    }
}

static cm3_status check_settings(const cm3_recipe *recipe, const cm3_stage *stage) {
    char difference[256];
    cm3_stage_record record;
    bool found;
    CM3_TRY(find_record(recipe->run.out, stage->name, &record, &found));
    if (!found || !stage->trains || cm3_hash_equal(record.settings, settings_of(recipe, stage))) return CM3_OK;
    describe_change(recipe, stage, difference, sizeof difference);
    return cm3_fail(CM3_ERR_RECIPE,
                    "%s/%s holds a run of other settings%s%s: give another `out`, or remove that folder",
                    recipe->run.out, stage->name, *difference ? ": " : "", difference);
}

/* The record that the stage will leave when the list has run, and the one that is there. */
static cm3_status look_up(const cm3_recipe *recipe, stage_list list, const cm3_stage *stage, cm3_stage_record *now,
                          bool *same) {
    char change[256];
    cm3_stage_record before;
    bool found;
    CM3_TRY(find_record(recipe->run.out, stage->name, &before, &found));
    now->settings = settings_of(recipe, stage);
    CM3_TRY(hash_inputs(recipe, list, stage, &now->inputs));
    const bool same_inputs = found && cm3_hash_equal(before.inputs, now->inputs);
    *same = same_inputs && cm3_hash_equal(before.settings, now->settings);
    if (!found || !stage->trains || same_inputs) return CM3_OK;
    describe_changed_input(recipe, list, stage, change, sizeof change);
    return cm3_fail(CM3_ERR_RECIPE,
                    "%s/%s was trained on other results of %s%s%s: give another `out`, or remove that folder",
                    recipe->run.out, stage->name, stage->reads[0], *change ? ": " : "", change);
}

static cm3_status check_one(const cm3_recipe *recipe, int ranks, stage_list list, const cm3_stage *stage) {
    cm3_stage_record now;
    cm3_batch_share share;
    bool same;
    if (stage->trains) CM3_TRY(cm3_stage_share(recipe, stage, ranks, &share));
    return look_up(recipe, list, stage, &now, &same);
}

cm3_status cm3_stage_share(const cm3_recipe *recipe, const cm3_stage *stage, int ranks, cm3_batch_share *share) {
    const char *bytes = (const char *)recipe;
    return cm3_recipe_share(stage->loop.section, *(const int64_t *)(bytes + stage->loop.batch),
                            (const cm3_train_config *)(bytes + stage->loop.train), ranks, share);
}

cm3_status cm3_stages_check(const cm3_recipe *recipe, int ranks, const cm3_stage *stages, int count) {
    CM3_TRY(cm3_stages_check_version(recipe->run.out));
    for (const cm3_stage *stage = cm3_stages; stage->name; stage++) CM3_TRY(check_settings(recipe, stage));
    for (int i = 0; i < count; i++)
        if (stages[i].run) CM3_TRY(check_one(recipe, ranks, (stage_list){stages, count}, &stages[i]));
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
    for (const char *const *name = stage->results; *name; name++)
        if (!cm3_path_exists(cm3_stage_path(recipe, stage->name, *name).text)) return false;
    return true;
}

/* On the first rank: whether the stage is up to date already, and the record that it will leave. */
static cm3_status prepare_one(const cm3_recipe *recipe, const cm3_stage *stage, cm3_stage_record *now, bool *done) {
    bool same;
    CM3_TRY(look_up(recipe, (stage_list){0}, stage, now, &same));
    *done = same && !stage->trains && has_results(recipe, stage);
    if (*done) cm3_log_info("%s: up to date", stage->name);
    return CM3_OK;
}

static cm3_status run_one(const cm3_stage_context *shared, const cm3_stage *stage) {
    cm3_stage_context context = *shared;
    const bool first = cm3_stage_is_first(shared);
    bool done = false;
    context.name = stage->name;
    context.trains = stage->trains;
    CM3_TRY(cm3_comm_agree_status(context.comm,
                                  first ? prepare_one(context.recipe, stage, &context.record, &done) : CM3_OK));
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
