/* The stages of a run, a table: from it come `run`, the commands and their help, and what is up to date.
 *
 *     OUT/text-tokenizer/tokenizer.json      captions -> byte-level BPE
 *     OUT/image-tokenizer/checkpoints/...    images -> VQ network
 *     OUT/tokenize/store.h5, vocab.json      both -> tokens of every pair
 *     OUT/pretrain/checkpoints/...           tokens -> transformer
 *
 * A stage leaves a record (train/run_folder.h): a hash of the settings that it reads, and one of the results of other
 * stages that it reads. Where they have changed it is done again. A stage that trains leaves its record when it begins,
 * is resumed from its newest checkpoint, and refuses to be resumed under other settings: nothing is lost by a slip. */
#ifndef CM3_TRAIN_STAGES_STAGES_H
#define CM3_TRAIN_STAGES_STAGES_H

#include "train/stages/stage.h"

enum { CM3_STAGE_SECTIONS = 8, CM3_STAGE_READS = 4, CM3_STAGE_RESULTS = 4 };

/* Where the recipe has what a training loop reads. */
typedef struct cm3_stage_loop {
    const char *section;
    size_t batch, train; /* offsets of SECTION.data.batch and SECTION.train in cm3_recipe */
} cm3_stage_loop;

typedef struct cm3_stage {
    const char *name;                                    /* of the command and of the folder */
    const char *summary;                                 /* one line of `cm3leon --help` */
    const char *help;                                    /* of its own --help, with an example */
    cm3_status (*run)(const cm3_stage_context *context); /* NULL: not in this version */
    const char *sections[CM3_STAGE_SECTIONS];            /* of the recipe that it reads, "" for the top level */
    const char *reads[CM3_STAGE_READS];                  /* stages whose results it reads */
    const char *results[CM3_STAGE_RESULTS];              /* files that it leaves; not where it trains */
    bool trains;
    cm3_stage_loop loop;                                 /* where it trains */
} cm3_stage;

extern const cm3_stage cm3_stages[]; /* in the order in which `run` goes through them; ends with a NULL name */
const cm3_stage *cm3_stage_find(const char *name); /* NULL if there is none */

/* What a rank of so many has of a step of a stage that trains. */
cm3_status cm3_stage_share(const cm3_recipe *recipe, const cm3_stage *stage, int ranks, cm3_batch_share *share);
/* Whether these stages can begin and each one after those before it: ranks, the version of the run folder, settings of
 * every stage that has trained there, what the stages read. Writes nothing; not collective. */
cm3_status cm3_stages_check(const cm3_recipe *recipe, int ranks, const cm3_stage *stages, int count);
/* Collective. Runs those of `count` stages that are not up to date and are in this version, in order. */
cm3_status cm3_stages_run(const cm3_stage_context *context, const cm3_stage *stages, int count);
/* CM3_ERR_FORMAT if a stage of the run folder is of another version. */
cm3_status cm3_stages_check_version(const char *out);

#endif
