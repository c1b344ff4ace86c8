/* The tape: a network recorded once, planned once, run every step.
 *
 * A network records its operations with the functions below, from inputs and parameters to losses. cm3_tape_plan() then
 * writes the schedule of a whole step - forward, recomputation, backward - and gives every value its place in one
 * block of memory, which it frees after its last use. Shapes alone decide that plan: every step has the same
 * addresses, and on a backend that executes nothing (meta) the plan alone tells memory and FLOPs exactly.
 * cm3_tape_run() walks the schedule.
 *
 * Errors are sticky: after the first failure every later call is a no-op and returns NULL, and cm3_tape_plan() returns
 * that first error. So a network reads like its equations:
 *
 *     cm3_var *a = cm3_layer_norm(tape, x, NULL, NULL, 1e-5f);
 *     cm3_var *h = cm3_linear(tape, a, w_up, NULL, NULL, CM3_ACT_RELU);
 *     x = cm3_linear(tape, h, w_down, NULL, x, CM3_ACT_NONE);
 *
 * A tape of NULL records nothing: every operation and leaf gives NULL. (A network's walk that only declares.)
 *
 * A bucket (one transformer block, say) is the unit of recomputation and of gradient reduction. */
#ifndef CM3_CORE_TENSOR_TAPE_H
#define CM3_CORE_TENSOR_TAPE_H

#include "core/tensor/op.h"

typedef struct cm3_tape cm3_tape;
typedef struct cm3_var cm3_var; /* a value on a tape; owned by the tape */

/* What is not kept for the backward pass but computed again when it needs it. */
typedef enum cm3_recompute {
    CM3_RECOMPUTE_NONE,
    CM3_RECOMPUTE_ACTIVATIONS, /* the widest values only: outputs of LINEAR with an activation, SWIGLU and norms */
    CM3_RECOMPUTE_LAYERS       /* everything but the values that cross from one bucket to another */
} cm3_recompute;

typedef struct cm3_tape_options {
    const cm3_backend *backend;
    cm3_dtype compute; /* of parameters' values, and of all that comes of them: CM3_F32, or CM3_BF16 if it has that */
    cm3_recompute recompute;
    bool guards; /* tests: a zone behind every buffer that is checked after every kernel */
    /* Gradients of parameters take memory over from activations that the backward pass is done with, and hand it back
     * at the start of the next run that overwrites them, if that saves at least so many bytes; 0: never. Worth it where
     * every run overwrites them (one micro-batch a step). The values of a gradient hold until the next run, as ever;
     * its memory is of cm3_pages_alloc(), or at least private to the process. */
    size_t share_pages_from;
    /* A planned tape whose memory this one uses too, or NULL. The two take turns and need together no more than the
     * larger one: a run of this tape may overwrite everything of the other's but what that keeps, and the gradients of
     * its parameters where they share pages. Both are planned before either runs, and this one is freed first. */
    cm3_tape *shares;
} cm3_tape_options;

/* For tapes that train: what is less is not worth the time that the system takes to move pages. */
enum { CM3_SHARE_PAGES_FROM = 256 << 20 };

cm3_status cm3_tape_create(const cm3_tape_options *options, cm3_tape **tape);
void cm3_tape_free(cm3_tape *tape);
const cm3_tape_options *cm3_tape_get_options(const cm3_tape *tape);

/* --- leaves ------------------------------------------------------------------------------------------------------ */

/* Data of a step (token ids, images). `data` is the caller's memory, read at every run; NULL while only planning. */
cm3_var *cm3_tape_input(cm3_tape *tape, cm3_dtype type, cm3_shape shape, void *data);
/* A parameter, of the tape's type, and its gradient, in f32, both the caller's; NULL while only planning. `grad` NULL
 * on a planning or inference tape is fine: cm3_tape_plan() needs to know only that it is a parameter. `bucket` names
 * the range that is reduced and updated together. */
cm3_var *cm3_tape_parameter(cm3_tape *tape, cm3_shape shape, void *value, void *grad, int bucket);

/* All operations recorded from here on belong to this bucket (the first is 0 without a call). */
void cm3_tape_bucket(cm3_tape *tape, int bucket);

/* --- operations: core/tensor/op.h says what each computes -------------------------------------------------------- */

cm3_var *cm3_embed(cm3_tape *tape, cm3_var *table, cm3_var *ids, cm3_var *position_table, cm3_var *positions);
cm3_var *cm3_layer_norm(cm3_tape *tape, cm3_var *x, cm3_var *gain, cm3_var *bias, float epsilon);
cm3_var *cm3_rms_norm(cm3_tape *tape, cm3_var *x, cm3_var *gain, float epsilon);
cm3_var *cm3_linear(cm3_tape *tape, cm3_var *x, cm3_var *weight, cm3_var *bias, cm3_var *residual,
                    cm3_activation activation);
/* hidden (N,K) times table (V,K)^T, in f32 whatever the tape computes in: what tokens are drawn from. No gradient. */
cm3_var *cm3_logits(cm3_tape *tape, cm3_var *hidden, cm3_var *table);

typedef struct cm3_heads {
    int heads, kv_heads;
    int64_t sequence;
    float scale; /* 0: 1 / sqrt(head size) */
} cm3_heads;
cm3_var *cm3_attention(cm3_tape *tape, cm3_var *qkv, cm3_heads heads, bool causal);
cm3_var *cm3_attention_cached(cm3_tape *tape, cm3_var *qkv, cm3_var *key_cache, cm3_var *value_cache, cm3_var *start,
                              cm3_heads heads);
cm3_var *cm3_qk_norm(cm3_tape *tape, cm3_var *qkv, cm3_var *q_gain, cm3_var *q_bias, cm3_var *k_gain, cm3_var *k_bias,
                     cm3_var *positions, cm3_heads heads, float epsilon, float theta);
cm3_var *cm3_rotary(cm3_tape *tape, cm3_var *qkv, cm3_var *positions, cm3_heads heads, float theta);
cm3_var *cm3_swiglu(cm3_tape *tape, cm3_var *gate_up);
cm3_var *cm3_activate(cm3_tape *tape, cm3_var *x, cm3_activation activation);
cm3_var *cm3_add(cm3_tape *tape, cm3_var *a, cm3_var *b);
/* `weights` may be NULL; `per_row`, when not NULL, receives the (N) cross-entropies. */
cm3_var *cm3_linear_cross_entropy(cm3_tape *tape, cm3_var *hidden, cm3_var *table, cm3_var *targets, cm3_var *scale,
                                  cm3_var *weights, float z_loss, cm3_var **per_row);

cm3_var *cm3_conv2d(cm3_tape *tape, cm3_var *x, cm3_var *weight, cm3_var *bias, int stride, int pad, int pad_after);
cm3_var *cm3_group_norm(cm3_tape *tape, cm3_var *x, cm3_var *gain, cm3_var *bias, int groups, float epsilon,
                        cm3_activation activation);
cm3_var *cm3_upsample(cm3_tape *tape, cm3_var *x);
cm3_var *cm3_average_pool(cm3_tape *tape, cm3_var *x);
cm3_var *cm3_nearest_code(cm3_tape *tape, cm3_var *z, cm3_var *codebook);
cm3_var *cm3_code_lookup(cm3_tape *tape, cm3_var *z, cm3_var *codebook, cm3_var *codes);
cm3_var *cm3_code_loss(cm3_tape *tape, cm3_var *z, cm3_var *codebook, cm3_var *codes, cm3_var *scale, float commitment);
cm3_var *cm3_pixel_loss(cm3_tape *tape, cm3_var *x, cm3_var *y, cm3_var *scale, float l1, float l2);
cm3_var *cm3_view(cm3_tape *tape, cm3_var *x, cm3_shape shape);
/* The same value, cut from the tape: no gradient passes. */
cm3_var *cm3_detach(cm3_tape *tape, cm3_var *x);

/* Records any operation: what the functions above and the tests stand on. Absent inputs are NULL. */
cm3_var *cm3_tape_record(cm3_tape *tape, cm3_op op, const cm3_op_attr *attr, cm3_var *const in[], int inputs);
/* A further output of the operation that made `var` (statistics, per-row losses). */
cm3_var *cm3_tape_output(cm3_var *var, int output);

/* --- plan and run ------------------------------------------------------------------------------------------------ */

/* The value stays readable after a run. */
void cm3_tape_keep(cm3_tape *tape, cm3_var *var);
/* A loss (1): the backward pass starts from 1 at every one of them, adding to what another root that follows from it
 * brings. The first output of an operation. Kept, too. */
void cm3_tape_loss(cm3_tape *tape, cm3_var *loss);
/* A value whose gradient is given from outside, of another tape's input, say: the backward pass starts from it, too.
 * `gradient` is the caller's, of the value's type and shape, in the backend's memory, read at every run; NULL while
 * only planning. The first output of an operation. Kept, too. */
void cm3_tape_seed(cm3_tape *tape, cm3_var *var, void *gradient);
/* Wants the gradient of an input, readable after a run by cm3_var_grad() (tests; parameters always have theirs). */
void cm3_tape_want_gradient(cm3_tape *tape, cm3_var *input);

typedef struct cm3_tape_stats {
    /* Of the step's own memory: activations, gradients of them, workspaces. With `shares`, of both tapes. */
    size_t peak_bytes;
    size_t exchanged_bytes; /* saved by page sharing: peak of step and gradients below the sum of both */
    size_t instructions;
    double forward_flops, backward_flops, recompute_flops; /* model FLOPs: the first two */
} cm3_tape_stats;

/* Schedules the whole step. Without losses it is forward only. Reports the first failure of recording. */
cm3_status cm3_tape_plan(cm3_tape *tape);
const cm3_tape_stats *cm3_tape_get_stats(const cm3_tape *tape);

typedef struct cm3_tape_run_options {
    bool accumulate; /* parameter gradients: add to what they hold (later micro-batches), or overwrite */
    /* Called in the backward pass as soon as no later operation of it touches the gradients of this bucket.
     * A failure of a callback ends the run. */
    cm3_status (*bucket_ready)(void *context, int bucket);
    /* Called after every backward operation: a place to move communication along. */
    cm3_status (*progress)(void *context);
    /* Called at the end: what bucket_ready() queued is waited for, on the device, by what follows. */
    cm3_status (*all_ready)(void *context);
    /* The callbacks only queue work on the device: they are captured with the run's graph and not called again. Without
     * this, a run with callbacks is not captured. */
    bool queues;
    void *context;
} cm3_tape_run_options;

/* Runs the schedule. NULL options: overwrite, no callbacks. The first run takes the memory. */
cm3_status cm3_tape_run(cm3_tape *tape, const cm3_tape_run_options *options);

/* Address and shape of a kept value, loss or leaf, in the backend's memory. */
const cm3_tensor *cm3_var_tensor(const cm3_var *var);
const cm3_tensor *cm3_var_grad(const cm3_var *var);
/* The one number that a kept value holds, fetched from the backend's memory; NaN if that fails. */
float cm3_var_scalar(const cm3_var *var);

#endif
