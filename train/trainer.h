/* The loop: what every stage that trains has in common.
 *
 * A stage describes what it trains as a cm3_learner: a list of networks, each with a planned tape for one micro-batch
 * and an optimizer, and a few functions that fill their inputs and read their results. The loop does the rest:
 * micro-batches, gradients all-reduced a bucket at a time while the backward pass goes on, the guard, clipping, AdamW,
 * metrics, validation, checkpoints, signals. Networks of one step come in the order of the list; one with `every` k
 * takes its turn in each k-th step alone (a discriminator, say), by a schedule of its own.
 *
 * All ranks hold all parameters and make the same update, from the same bits. Resuming is automatic: the newest
 * complete checkpoint of the run folder is where it resumes, and the bits are those of a run that never stopped (on a
 * GPU: with CM3_CUDNN=0, or if autotuning of cuDNN's kernels decides as before).
 *
 * Steps are asynchronous, on every backend: a step is queued - copies, kernels, update - and its record (losses, norm)
 * is read when the next step is queued. The device decides whether an update is made (a loss or a norm that is not
 * finite makes none). Validation, sample images and checkpoints first flush the pending step record. There are two
 * small collectives on the host a step: before it, whether every rank has its batch, what the batch weighs, and who was
 * asked to stop; behind it, the sums of its record. A learner with `updated` waits for each step and may have
 * collectives of its own there. */
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

enum { CM3_SUMS_MAX = 16, CM3_LEARNER_ARRAYS = 4, CM3_LEARNER_NETWORKS = 4, CM3_NETWORK_LOSSES = 4 };

/* A network of a learner, and the optimizer of its trained group. */
typedef struct cm3_train_network {
    const char *name;   /* in checkpoints, unique: a row of model/networks.c */
    cm3_params *params; /* allocated for training */
    cm3_tape *tape;     /* one micro-batch, planned; its losses are scaled so that a step's gradients simply add up */
    cm3_var *losses[CM3_NETWORK_LOSSES]; /* (1) each; an update is made if their sum is finite. NULL behind the last */
    const cm3_adamw_config *adamw;
    const cm3_schedule_config *schedule; /* over its own updates */
    int64_t every;                       /* takes its turn in steps 0, k, 2 k, ...; 0: 1, as for the first network */
} cm3_train_network;

/* What a stage trains. Functions get `context`; those that may be NULL say so. */
typedef struct cm3_learner {
    cm3_train_network networks[CM3_LEARNER_NETWORKS];
    int network_count;
    const char *item;       /* "token", "image" */
    int64_t items_per_step; /* of all ranks */
    double flops_per_step;  /* of all ranks */
    int64_t micro_batches;  /* of one step on this rank */
    void *context;
    /* Gets all micro-batches of update `step` (0 is the first) of this rank ready in host memory, and gives the sum of
     * their targets' weights. Host memory of a step may be used again CM3_STEPS_QUEUED steps later (train/state.h). */
    cm3_status (*load_batch)(void *context, int64_t step, double *weight);
    /* Queues the inputs of a network's tape for a micro-batch. `weight`: of all ranks' batches together. */
    cm3_status (*queue_inputs)(void *context, int network, int64_t step, int64_t micro, double weight);
    /* After its run: queues the copies of what the micro-batch measured to the host. */
    cm3_status (*queue_readback)(void *context, int network, int64_t step, int64_t micro);
    /* After the update of all networks, for which the loop waits; not if one was skipped (image tokenizer: dead codes).
     * May change parameters and moments, equally on all ranks. May be NULL. */
    cm3_status (*updated)(void *context, cm3_comm *comm, int64_t step);
    /* Adds up what the micro-batches of `step` measured, all of which is there. sums[0] is the loss, the rest the
     * stage's own. The loop sums over the ranks. */
    cm3_status (*collect)(void *context, int64_t step, double sums[CM3_SUMS_MAX]);
    /* Turns the sums of a step into metrics (between begin and end of a line) and a short text for the terminal. */
    void (*report)(void *context, const double sums[CM3_SUMS_MAX], cm3_metrics *metrics, char *text, size_t size);
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
    double peak_flops; /* of all ranks; 0: not known */
    const cm3_train_config *train;
    const cm3_checkpoint_config *checkpoint;
    const cm3_guard_config *guard;
} cm3_trainer_config;

/* Collective. Trains to the last step, or returns CM3_INTERRUPTED on all ranks when a signal asked for it and a
 * checkpoint was saved. A run that is done already returns at once. */
cm3_status cm3_train(const cm3_trainer_config *config, const cm3_learner *learner, cm3_comm *comm);

#endif
