#include "train/trainer.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/progress.h"
#include "train/signals.h"
#include "train/state.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define C cm3_train_config
const cm3_field cm3_train_fields[] = {
    CM3_FIELD_INT(C, steps, NULL, 1, 1e12, "", "updates to make"),
    CM3_FIELD_INT(C, micro_batch, "0", 0, 1e6, "",
                  "sequences or pictures that a rank computes at once; 0: its whole share"),
    CM3_FIELD_INT(C, log_every, "10", 1, 1e9, "steps", "between lines on the terminal; metrics.jsonl gets every step"),
    CM3_FIELD_INT(C, validate_every, "0", 0, 1e12, "steps", "between validations on held-out data; 0: only at the end"),
    CM3_FIELD_INT(C, validate_batches, "0", 0, 1e9, "", "micro-batches of one validation; 0: all held-out data"),
    CM3_FIELD_INT(C, sample_every, "0", 0, 1e12, "steps", "between sample pictures; 0: none"),
    CM3_FIELD_END};
#undef C

/* One run of the loop. */
typedef struct trainer {
    const cm3_trainer_config *config;
    const cm3_learner *learner;
    cm3_comm *comm;
    cm3_metrics *metrics;
    cm3_checkpoint_table table;
    cm3_train_state state;
    cm3_status moved; /* first failure of moving reductions along */
    cm3_guard guard;
    int64_t step, tokens; /* done */
    double best;
    double started, session_steps; /* of this process, for the time that is left */
} trainer;

static bool is_first(const trainer *t) {
    return cm3_comm_rank(t->comm) == 0;
}

/* --- one step: gradients ----------------------------------------------------------------------------------------- */

static void segment_ready(void *context, int segment) {
    trainer *t = context;
    const cm3_status status = cm3_train_state_reduce(&t->state, t->comm, segment);
    if (t->moved == CM3_OK) t->moved = status;
}

static void move_along(void *context) {
    trainer *t = context;
    const cm3_status status = cm3_comm_progress(t->comm);
    if (t->moved == CM3_OK) t->moved = status;
}

/* All micro-batches of a step: gradients and sums of all ranks. */
static cm3_status compute_gradients(trainer *t, double sums[CM3_SUMS_MAX]) {
    const cm3_learner *learner = t->learner;
    const bool alone = cm3_comm_size(t->comm) == 1;
    memset(sums, 0, CM3_SUMS_MAX * sizeof *sums);
    for (int64_t micro = 0; micro < learner->micro_batches; micro++) {
        const bool last = micro == learner->micro_batches - 1;
        const cm3_tape_run_options options = {.accumulate = micro > 0,
                                              .context = t,
                                              .segment_ready = last && !alone ? segment_ready : NULL,
                                              .progress = last && !alone ? move_along : NULL};
        /* Agreed before anyone starts to reduce: a rank whose data fails must not leave the others waiting for its
         * sums. */
        CM3_TRY(cm3_comm_agree_status(t->comm, learner->load(learner->context, t->step, micro)));
        CM3_TRY(cm3_tape_run(learner->tape, &options));
        CM3_TRY(learner->measure(learner->context, sums));
    }
    const cm3_status reduced = cm3_train_state_reduced(&t->state);
    CM3_TRY(t->moved);
    CM3_TRY(reduced);
    return cm3_comm_reduce_f64(t->comm, sums, CM3_SUMS_MAX, CM3_REDUCE_SUM);
}

/* No update is made of a loss or a gradient that is not finite; the guard says whether to go on. */
static cm3_status update(trainer *t, const double sums[CM3_SUMS_MAX], double *norm, double *rate) {
    *rate =
        t->config->adamw->learning_rate * cm3_schedule_factor(t->config->schedule, t->step, t->config->train->steps);
    CM3_TRY(isfinite(sums[0]) ? cm3_train_state_update(&t->state, t->config->adamw, t->step + 1, *rate, norm)
                              : cm3_train_state_norm(&t->state, norm));
    return cm3_guard_judge(&t->guard, t->step + 1, sums[0], *norm);
}

/* --- telling ----------------------------------------------------------------------------------------------------- */

static void print_line(const trainer *t, const char *text, double norm, double rate, double seconds, double mfu) {
    const cm3_train_config *train = t->config->train;
    if (t->step % train->log_every && t->step != train->steps) return;
    char left[32];
    const double per_step = (cm3_clock_seconds() - t->started) / fmax(t->session_steps, 1);
    cm3_progress_format_seconds(per_step * (double)(train->steps - t->step), left, sizeof left);
    char speed[64];
    if (mfu > 0)
        snprintf(speed, sizeof speed, "%.0f /s, mfu %.2f", (double)t->learner->tokens_per_step / seconds, mfu);
    else
        snprintf(speed, sizeof speed, "%.0f /s", (double)t->learner->tokens_per_step / seconds);
    cm3_log_info("step %lld/%lld  %s  norm %.3g  lr %.2e  %s  %s left", (long long)t->step, (long long)train->steps,
                 text, norm, rate, speed, left);
}

static cm3_status tell(trainer *t, const double sums[CM3_SUMS_MAX], double norm, double rate, double seconds) {
    if (!is_first(t)) return CM3_OK;
    char text[256] = "";
    const double flops = t->learner->flops_per_step / seconds;
    const double mfu = t->config->peak_flops > 0 ? flops / t->config->peak_flops : 0;
    cm3_metrics_begin(t->metrics, "train", t->step);
    t->learner->report(t->learner->context, sums, t->metrics, text, sizeof text);
    cm3_metrics_put(t->metrics, "lr", rate);
    cm3_metrics_put(t->metrics, "grad_norm", norm);
    cm3_metrics_put_int(t->metrics, "tokens", t->tokens);
    cm3_metrics_put(t->metrics, "seconds", seconds);
    cm3_metrics_put(t->metrics, "tokens_per_second", (double)t->learner->tokens_per_step / seconds);
    cm3_metrics_put(t->metrics, "mfu", mfu);
    if (t->guard.skips) cm3_metrics_put_int(t->metrics, "skipped", t->guard.skips);
    print_line(t, text, norm, rate, seconds, mfu);
    return cm3_metrics_end(t->metrics);
}

static cm3_status validate(trainer *t) {
    const cm3_learner *learner = t->learner;
    if (!learner->validate) return CM3_OK;
    double score = INFINITY;
    cm3_metrics_begin(t->metrics, "validation", t->step);
    CM3_TRY(learner->validate(learner->context, t->comm, t->step, t->metrics, &score));
    CM3_TRY(cm3_comm_agree_status(t->comm, cm3_metrics_end(t->metrics)));
    if (score < t->best) t->best = score;
    return CM3_OK;
}

/* --- checkpoints ------------------------------------------------------------------------------------------------- */

enum { BUFFERS = 3, OWN_ARRAYS = 1 };

typedef struct parts_storage {
    cm3_checkpoint_buffer buffers[BUFFERS];
    cm3_checkpoint_array arrays[OWN_ARRAYS + CM3_LEARNER_ARRAYS];
    int32_t skips;
} parts_storage;

static cm3_checkpoint_parts checkpoint_parts(trainer *t, parts_storage *s) {
    s->buffers[0] = (cm3_checkpoint_buffer){.name = "parameters", .data = cm3_params_values(t->learner->params)};
    s->buffers[1] = (cm3_checkpoint_buffer){.name = "m", .data = t->state.m};
    s->buffers[2] = (cm3_checkpoint_buffer){.name = "v", .data = t->state.v};
    s->skips = (int32_t)t->guard.skips;
    s->arrays[0] =
        (cm3_checkpoint_array){.name = "skips", .type = CM3_I32, .shape = cm3_shape_of(1), .data = &s->skips};
    for (int i = 0; i < t->learner->array_count; i++) s->arrays[OWN_ARRAYS + i] = t->learner->arrays[i];
    return (cm3_checkpoint_parts){.table = t->table,
                                  .buffers = s->buffers,
                                  .buffer_count = BUFFERS,
                                  .arrays = s->arrays,
                                  .array_count = OWN_ARRAYS + t->learner->array_count};
}

static cm3_status save(trainer *t) {
    parts_storage storage;
    const cm3_checkpoint_parts parts = checkpoint_parts(t, &storage);
    char *data = NULL;
    CM3_TRY(cm3_comm_agree_status(t->comm, cm3_train_state_download(&t->state)));
    CM3_TRY(cm3_comm_agree_status(t->comm, t->learner->save(t->learner->context, t->comm, &data)));
    const cm3_checkpoint_state state = {.step = t->step,
                                        .tokens = t->tokens,
                                        .seed = t->config->seed,
                                        .best = t->best,
                                        .kind = (char *)(uintptr_t)t->learner->kind,
                                        .config = (char *)(uintptr_t)t->config->config_text,
                                        .data = data};
    const cm3_status status = cm3_checkpoint_save(t->comm, t->config->run, t->config->checkpoint->keep, &parts, &state);
    free(data);
    if (status == CM3_OK) cm3_log_debug("saved step %lld", (long long)t->step);
    return status;
}

/* Goes on from the newest checkpoint, if there is one. */
static cm3_status resume(trainer *t) {
    char *path = NULL;
    cm3_status status = cm3_checkpoint_latest(t->config->run, &path);
    if (status == CM3_ERR_NOT_FOUND) return CM3_OK;
    CM3_TRY(status);
    parts_storage storage;
    const cm3_checkpoint_parts parts = checkpoint_parts(t, &storage);
    cm3_checkpoint_state state = {0};
    status = cm3_checkpoint_load(path, &parts, &state);
    if (status == CM3_OK && strcmp(state.kind, t->learner->kind) != 0)
        status = cm3_fail(CM3_ERR_FORMAT, "%s: holds a %s, expected a %s", path, state.kind, t->learner->kind);
    if (status == CM3_OK && state.seed != t->config->seed)
        status = cm3_fail(CM3_ERR_RECIPE,
                          "%s: was made with seed %llu, the recipe says %llu; give another `out` to start anew", path,
                          (unsigned long long)state.seed, (unsigned long long)t->config->seed);
    if (status == CM3_OK) status = t->learner->restore(t->learner->context, path, state.data, state.step);
    if (status == CM3_OK) {
        t->step = state.step;
        t->tokens = state.tokens;
        t->guard.skips = storage.skips;
        t->best = state.best;
        if (is_first(t)) cm3_log_info("going on from step %lld (%s)", (long long)t->step, path);
    }
    cm3_checkpoint_state_free(&state);
    free(path);
    return status;
}

/* --- the loop ---------------------------------------------------------------------------------------------------- */

static bool every(int64_t period, int64_t step) {
    return period > 0 && step % period == 0;
}

/* On rank 0, in what memory training leaves: too little of it is no reason to end a run. */
static cm3_status draw_samples(trainer *t) {
    if (!is_first(t)) return CM3_OK;
    const cm3_status status = t->learner->sample(t->learner->context, t->step, t->metrics);
    if (status != CM3_ERR_MEMORY) return status;
    cm3_log_warn("no sample pictures: %s", cm3_message());
    return CM3_OK;
}

static cm3_status one_step(trainer *t) {
    const cm3_train_config *train = t->config->train;
    double sums[CM3_SUMS_MAX], norm = 0, rate = 0;
    const double begin = cm3_clock_seconds();
    CM3_TRY(compute_gradients(t, sums));
    CM3_TRY(cm3_comm_agree_status(t->comm, update(t, sums, &norm, &rate)));
    if (t->learner->updated)
        CM3_TRY(t->learner->updated(t->learner->context, t->comm, t->step, t->state.device_m, t->state.device_v));
    t->step++;
    t->tokens += t->learner->tokens_per_step;
    t->session_steps++;
    CM3_TRY(cm3_comm_agree_status(t->comm, tell(t, sums, norm, rate, cm3_clock_seconds() - begin)));
    const double best = t->best;
    if (every(train->validate_every, t->step) || t->step == train->steps) CM3_TRY(validate(t));
    const bool better = t->best < best;
    if (t->learner->sample && (every(train->sample_every, t->step) || (train->sample_every && t->step == train->steps)))
        CM3_TRY(cm3_comm_agree_status(t->comm, draw_samples(t)));
    bool stop;
    CM3_TRY(cm3_signals_agree(t->comm, &stop));
    if (stop || better || every(t->config->checkpoint->every, t->step) || t->step == train->steps) {
        CM3_TRY(save(t));
        if (better)
            CM3_TRY(cm3_comm_agree_status(t->comm,
                                          is_first(t) ? cm3_checkpoint_mark_best(t->config->run, t->step) : CM3_OK));
    }
    if (!stop || t->step == train->steps) return CM3_OK;
    return cm3_comm_agree_status(t->comm, cm3_fail(CM3_INTERRUPTED,
                                                   "stopped by a signal after step %lld of %lld, which is saved",
                                                   (long long)t->step, (long long)train->steps));
}

static cm3_status prepare(trainer *t) {
    CM3_TRY(cm3_comm_agree_status(t->comm, cm3_checkpoint_table_of(t->learner->params, &t->table)));
    const cm3_backend *backend = cm3_tape_get_options(t->learner->tape)->backend;
    return cm3_train_state_open(backend, t->learner->params, t->comm, &t->state);
}

cm3_status cm3_train(const cm3_trainer_config *config, const cm3_learner *learner, cm3_comm *comm) {
    trainer t = {
        .config = config, .learner = learner, .comm = comm, .guard = cm3_guard_new(config->guard), .best = INFINITY};
    cm3_status status = prepare(&t);
    if (status == CM3_OK) status = cm3_comm_agree_status(comm, resume(&t));
    if (status == CM3_OK) status = cm3_comm_agree_status(comm, cm3_train_state_upload(&t.state));
    if (status == CM3_OK)
        status = cm3_comm_agree_status(comm, is_first(&t) ? cm3_metrics_open(config->run, t.step, &t.metrics) : CM3_OK);
    t.started = cm3_clock_seconds();
    while (status == CM3_OK && t.step < config->train->steps) status = one_step(&t);
    const cm3_status closed = cm3_metrics_close(t.metrics);
    if (status == CM3_OK) status = closed;
    cm3_checkpoint_table_free(&t.table);
    cm3_train_state_close(&t.state);
    return status;
}
