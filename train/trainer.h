/* The loop: what every stage that learns has in common.
 *
 * A stage describes what it teaches as a cm3_learner: parameters, a planned tape for one micro-batch, and a few
 * functions that fill its inputs and read its results. The loop does the rest: micro-batches, gradients summed over
 * the ranks a segment at a time while the backward pass goes on, the guard, clipping, AdamW, metrics, validation,
 * checkpoints, signals.
 *
 * All ranks hold all parameters and make the same update, from the same bits. Resuming is automatic: the newest whole
 * checkpoint of the run folder is where it goes on, and the bits are those of a run that never stopped
 * (on a GPU: with CM3_CUDNN=0, or if the trials of cuDNN's kernels end as they did before).
 *
 * A device is never waited for but to read what a step measured, and that one step late: when the next one is queued.
 * It decides itself whether an update is made (a loss or a norm that is not finite makes none), so lateness changes no
 * bit and no line, only when a line is written. Whoever looks - validation, sample images, a checkpoint, the end -
 * finds all steps told. Steps are told before the next begins on the host's processor, where a learner gives no `loss`
 * or has `updated`, and where gradients go through host memory. */
#ifndef CM3_TRAIN_TRAINER_H
#define CM3_TRAIN_TRAINER_H

#include "model/params.h"
#include "optim/adamw.h"
#include "optim/schedule.h"
#include "train/checkpoint.h"
#include "train/guard.h"
#include "train/metrics.h"

typedef struct cm3_train_config {
    int64_t steps;
    int64_t micro_batch;      /* sequences (or images) that a rank computes at once; 0: all of its share */
    int64_t log_every;        /* steps between lines on the terminal; every step goes to metrics.jsonl */
    int64_t validate_every;   /* 0: only at the end */
    int64_t validate_batches; /* micro-batches of one validation; 0: all validation data */
    int64_t sample_every;     /* 0: no images while training */
} cm3_train_config;

extern const cm3_field cm3_train_fields[];

enum { CM3_SUMS_MAX = 16, CM3_LEARNER_ARRAYS = 4 };

/* What a stage teaches. Functions get `context`; those that may be NULL say so. */
typedef struct cm3_learner {
    const char *kind;   /* "transformer", "image-tokenizer": stored in checkpoints */
    cm3_params *params; /* allocated, initialised, with gradients */
    cm3_tape *tape;     /* one micro-batch, planned; its losses are scaled so that a step's gradients simply add up */
    int64_t micro_batches;   /* of one step on this rank */
    int64_t tokens_per_step; /* of all ranks; images for the image tokenizer */
    double flops_per_step;   /* of all ranks */
    void *context;
    /* The loss (1) of a micro-batch on the tape, which the guard watches: sums[0] is its sum. NULL: there is no such
     * one, and a device must be waited for before every update. */
    cm3_var *loss;
    /* Fills the inputs of the tape for micro-batch `micro` of update `step` (0 is the first). */
    cm3_status (*load)(void *context, int64_t step, int64_t micro);
    /* After its run: sees to it that what the micro-batch measured gets to the host, without waiting where there is a
     * `loss`. Host memory of a step may be used again CM3_STEPS_QUEUED steps later (train/state.h). */
    cm3_status (*note)(void *context, int64_t step, int64_t micro);
    /* Adds up what the micro-batches of `step` measured, all of which is there. sums[0] is the loss, the rest the
     * stage's own. The loop sums over the ranks. */
    cm3_status (*measure)(void *context, int64_t step, double sums[CM3_SUMS_MAX]);
    /* Turns the sums of a step into metrics (between begin and end of a line) and a short text for the terminal. */
    void (*report)(void *context, const double sums[CM3_SUMS_MAX], cm3_metrics *metrics, char *text, size_t size);
    /* After the update (image tokenizer: dead codes). May change parameters and AdamW's moments, flat buffers like
     * the parameters and in the same memory, equally on all ranks. May be NULL. */
    cm3_status (*updated)(void *context, cm3_comm *comm, int64_t step, float *m, float *v);
    /* Collective. Puts validation figures into a metrics line that is already begun; *score is what `best` compares,
     * lower is better. May be NULL. */
    cm3_status (*validate)(void *context, cm3_comm *comm, int64_t step, cm3_metrics *metrics, double *score);
    /* On rank 0: sample images for TensorBoard and the run folder. May be NULL. */
    cm3_status (*sample)(void *context, int64_t step, cm3_metrics *metrics);
    /* Collective. The stage's own state as JSON text (the data pipeline's cursors) and back; `*text` is malloc'ed. */
    cm3_status (*save)(void *context, cm3_comm *comm, char **text);
    cm3_status (*restore)(void *context, const char *name, const char *text, int64_t step);
    /* Small arrays of the stage that checkpoints hold too. */
    cm3_checkpoint_array arrays[CM3_LEARNER_ARRAYS];
    int array_count;
} cm3_learner;

typedef struct cm3_trainer_config {
    const char *run;         /* the stage's folder */
    const char *config_text; /* the resolved recipe, kept in checkpoints */
    uint64_t seed;
    double peak_flops; /* of all ranks, for mfu; 0: not known */
    const cm3_train_config *train;
    const cm3_adamw_config *adamw;
    const cm3_schedule_config *schedule;
    const cm3_checkpoint_config *checkpoint;
    const cm3_guard_config *guard;
} cm3_trainer_config;

/* Collective. Trains to the last step, or returns CM3_INTERRUPTED on all ranks when a signal asked for it and a
 * checkpoint was saved. A run that is done already returns at once. */
cm3_status cm3_train(const cm3_trainer_config *config, const cm3_learner *learner, cm3_comm *comm);

#endif
