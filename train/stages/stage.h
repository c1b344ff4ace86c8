/* The stages of a run: what each command of the same name does. Every stage has its own folder inside the recipe's
 * `out`:
 *
 *     OUT/text-tokenizer/tokenizer.json      captions -> byte-level BPE
 *     OUT/image-tokenizer/checkpoints/...    images -> VQ network
 *     OUT/tokenize/store.h5, vocab.json      both -> tokens of every pair
 *     OUT/pretrain/checkpoints/...           tokens -> transformer
 *
 * A stage that is whole leaves stage.json: the hash of the settings it depends on and of its inputs. It is done again
 * when they change; a stage that trains refuses to go on under other settings instead, so that nothing is lost by a
 * slip. All functions are collective. */
#ifndef CM3_TRAIN_STAGES_STAGE_H
#define CM3_TRAIN_STAGES_STAGE_H

#include "core/hash.h"
#include "dist/comm.h"
#include "train/recipe.h"

typedef struct cm3_run {
    const cm3_recipe *recipe;
    const char *config_text; /* the resolved recipe */
    cm3_comm *comm;
    const cm3_device *device; /* that computes */
    double sgemm_flops;       /* measured, of all ranks' processors together */
} cm3_run;

cm3_status cm3_stage_text_tokenizer(const cm3_run *run);
cm3_status cm3_stage_image_tokenizer(const cm3_run *run);
cm3_status cm3_stage_tokenize(const cm3_run *run);
cm3_status cm3_stage_pretrain(const cm3_run *run);

/* --- for the stages themselves ----------------------------------------------------------------------------------- */

/* FLOP/s of all ranks that mfu is a share of: the rate of sgemm on processors, a GPU's peak in the type; 0: not known.
 */
double cm3_run_peak_flops(const cm3_run *run, cm3_dtype compute);

/* OUT/STAGE, or OUT/STAGE/FILE; the caller frees it. NULL when memory is out. */
char *cm3_stage_path(const cm3_recipe *recipe, const char *stage, const char *file);

typedef enum cm3_stage_state {
    CM3_STAGE_NEW,    /* nothing there */
    CM3_STAGE_SAME,   /* stage.json names the same settings and inputs */
    CM3_STAGE_CHANGED /* it names others */
} cm3_stage_state;

/* Makes the folder, writes OUT/config.yaml and OUT/STAGE/config.yaml (rank 0), and tells whether the stage was made
 * before. `inputs` is a hash of what it reads. */
cm3_status cm3_stage_open(const cm3_run *run, const char *stage, const char *const *sections, int section_count,
                          cm3_hash inputs, cm3_stage_state *state);
/* Notes the present settings and inputs as those of the stage's folder. */
cm3_status cm3_stage_note(const cm3_run *run, const char *stage, const char *const *sections, int section_count,
                          cm3_hash inputs);
/* For stages that train: notes at the start, and refuses a folder of other settings. */
cm3_status cm3_stage_claim(const cm3_run *run, const char *stage, const char *const *sections, int section_count,
                           cm3_hash inputs);

static inline bool cm3_run_is_first(const cm3_run *run) {
    return cm3_comm_rank(run->comm) == 0;
}

#endif
