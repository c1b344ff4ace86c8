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
    CM3_FIELD_INT(C, steps, NULL, 1, 1e12, "", "updates to make", .effect = CM3_CHANGES_LENGTH),
    CM3_FIELD_INT(C, micro_batch, "0", 0, 1e6, "",
                  "sequences or images that a rank computes at once; 0: its whole share", .effect = CM3_CHANGES_MEMORY),
    CM3_FIELD_INT(C, log_every, "10", 1, 1e9, "steps", "between lines on the terminal; metrics.jsonl gets every step",
                  .effect = CM3_CHANGES_REPORTS),
    CM3_FIELD_INT(C, validate_every, "0", 0, 1e12, "steps",
                  "between validations on validation data; 0: only at the end", .effect = CM3_CHANGES_REPORTS),
    CM3_FIELD_INT(C, validate_batches, "0", 0, 1e9, "", "micro-batches of one validation; 0: all validation data",
                  .effect = CM3_CHANGES_REPORTS),
    CM3_FIELD_INT(C, sample_every, "0", 0, 1e12, "steps", "between sample images; 0: none",
                  .effect = CM3_CHANGES_REPORTS),
    CM3_FIELD_END};
#undef C

/* A step whose gradients are computed, or queued: what remains to be told of it. */
typedef struct told {
    int64_t step, tokens; /* done with it */
    double rate, norm, sums[CM3_SUMS_MAX];
    double began;
} told;

/* One run of the loop. */
typedef struct trainer {
    const cm3_trainer_config *config;
    const cm3_learner *learner;
    cm3_comm *comm;
    cm3_metrics *metrics;
    cm3_checkpoint_group *groups; /* of the network */
    int group_count;
    cm3_train_state state;
    cm3_status moved; /* first failure of moving reductions along */
    cm3_guard guard;
    int64_t step, tokens; /* done */
    double best;
    double started; /* when this process began, at step `resumed`: for the time that is left */
    int64_t resumed;
    bool late;    /* steps are told when the next one is queued */
    bool waiting; /* one is not told yet: */
    told last;
    double told_at;
} trainer;

static bool is_first(const trainer *t) {
    return cm3_comm_rank(t->comm) == 0;
}

/* --- one step: gradients ----------------------------------------------------------------------------------------- */

static void bucket_ready(void *context, int segment) {
    trainer *t = context;
    const cm3_status status = cm3_train_state_reduce(&t->state, segment);
    if (t->moved == CM3_OK) t->moved = status;
}

static void move_along(void *context) {
    trainer *t = context;
    const cm3_status status = cm3_comm_progress(t->comm);
    if (t->moved == CM3_OK) t->moved = status;
}

/* The devices' own sums: queued, like everything else of the run. */
static cm3_status join_sums(void *context) {
    const trainer *t = context;
    return t->state.backend->collective->join();
}

static cm3_status tell_last(trainer *t);

/* All micro-batches of a step: gradients, summed over the ranks. */
static cm3_status compute_gradients(trainer *t) {
    const cm3_learner *learner = t->learner;
    const bool alone = cm3_comm_size(t->comm) == 1, queues = t->state.collective;
    for (int64_t micro = 0; micro < learner->micro_batches; micro++) {
        const bool last = micro == learner->micro_batches - 1;
        const cm3_tape_run_options options = {.accumulate = micro > 0,
                                              .context = t,
                                              .bucket_ready = last && !alone ? bucket_ready : NULL,
                                              .progress = last && !alone && !queues ? move_along : NULL,
                                              .all_ready = last && queues ? join_sums : NULL,
                                              .queues = queues};
        /* Agreed before anyone starts to reduce: a rank whose data fails must not leave the others waiting for its
         * sums. */
        const cm3_status loaded = cm3_comm_agree_status(t->comm, learner->load(learner->context, t->step, micro));
        if (loaded != CM3_OK) CM3_TRY(tell_last(t)); /* it was made before the data failed */
        CM3_TRY(loaded);
        CM3_TRY(cm3_tape_run(learner->tape, &options));
        if (t->late) CM3_TRY(cm3_train_state_watch(&t->state, cm3_var_tensor(learner->loss), micro == 0));
        CM3_TRY(learner->note(learner->context, t->step, micro));
    }
    const cm3_status reduced = cm3_train_state_reduced(&t->state);
    CM3_TRY(t->moved);
    return reduced;
}

/* What the step measured, of all ranks. */
static cm3_status measure(trainer *t, told *now) {
    memset(now->sums, 0, sizeof now->sums);
    CM3_TRY(t->learner->measure(t->learner->context, now->step - 1, now->sums));
    return cm3_comm_reduce_f64(t->comm, now->sums, CM3_SUMS_MAX, CM3_REDUCE_SUM);
}

/* --- one step: the update ---------------------------------------------------------------------------------------- */

/* None is made of a loss or a gradient that is not finite, whether the host decides that or the device; the guard says
 * whether to go on. */
static cm3_status update(trainer *t, told *now) {
    const cm3_adamw_config *adamw = t->config->adamw;
    CM3_TRY(isfinite(now->sums[0]) ? cm3_train_state_update(&t->state, adamw, now->step, now->rate, &now->norm)
                                   : cm3_train_state_norm(&t->state, &now->norm));
    return cm3_guard_judge(&t->guard, now->step, now->sums[0], now->norm);
}

/* The guard judges by what the device has decided by. */
static cm3_status judge_late(trainer *t, told *now) {
    cm3_flat_verdict verdict;
    CM3_TRY(cm3_comm_agree_status(t->comm, cm3_train_state_reach(&t->state, now->step, &verdict)));
    CM3_TRY(measure(t, now));
    now->norm = verdict.norm;
    const double loss = isfinite(verdict.loss) ? now->sums[0] : (double)verdict.loss;
    return cm3_comm_agree_status(t->comm, cm3_guard_judge(&t->guard, now->step, loss, now->norm));
}

/* --- telling ----------------------------------------------------------------------------------------------------- */

static void print_line(const trainer *t, const told *now, const char *text, double seconds, double mfu) {
    const cm3_train_config *train = t->config->train;
    if (now->step % train->log_every && now->step != train->steps) return;
    char left[32];
    const double per_step = (cm3_clock_seconds() - t->started) / (double)(now->step - t->resumed);
    cm3_progress_format_seconds(per_step * (double)(train->steps - now->step), left, sizeof left);
    char speed[64];
    if (mfu > 0)
        snprintf(speed, sizeof speed, "%.0f /s, mfu %.2f", (double)t->learner->tokens_per_step / seconds, mfu);
    else
        snprintf(speed, sizeof speed, "%.0f /s", (double)t->learner->tokens_per_step / seconds);
    cm3_log_info("step %lld/%lld  %s  norm %.3g  lr %.2e  %s  %s left", (long long)now->step, (long long)train->steps,
                 text, now->norm, now->rate, speed, left);
}

static cm3_status write_line(trainer *t, const told *now, double seconds) {
    if (!is_first(t)) return CM3_OK;
    char text[256] = "";
    const double flops = t->learner->flops_per_step / seconds;
    const double mfu = t->config->peak_flops > 0 ? flops / t->config->peak_flops : 0;
    cm3_metrics_begin(t->metrics, "train", now->step);
    t->learner->report(t->learner->context, now->sums, t->metrics, text, sizeof text);
    cm3_metrics_put(t->metrics, "lr", now->rate);
    cm3_metrics_put(t->metrics, "grad_norm", now->norm);
    cm3_metrics_put_int(t->metrics, "tokens", now->tokens);
    cm3_metrics_put(t->metrics, "seconds", seconds);
    cm3_metrics_put(t->metrics, "tokens_per_second", (double)t->learner->tokens_per_step / seconds);
    cm3_metrics_put(t->metrics, "mfu", mfu);
    if (t->guard.skips) cm3_metrics_put_int(t->metrics, "skipped", t->guard.skips);
    print_line(t, now, text, seconds, mfu);
    return cm3_metrics_end(t->metrics);
}

/* Of the time between one that is told and the next, each takes what is its own. */
static cm3_status tell(trainer *t, const told *now) {
    const double end = cm3_clock_seconds(), seconds = end - fmax(now->began, t->told_at);
    t->told_at = end;
    return cm3_comm_agree_status(t->comm, write_line(t, now, seconds));
}

/* Collective. Waits for the step that is not told yet, if there is one. */
static cm3_status tell_last(trainer *t) {
    if (!t->waiting) return CM3_OK;
    told now = t->last;
    t->waiting = false;
    CM3_TRY(judge_late(t, &now));
    return tell(t, &now);
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

enum { OWN_ARRAYS = 1 };

typedef struct parts_storage {
    cm3_checkpoint_array arrays[OWN_ARRAYS + CM3_LEARNER_ARRAYS];
    int32_t skips;
} parts_storage;

static cm3_checkpoint_parts checkpoint_parts(trainer *t, parts_storage *s) {
    s->skips = (int32_t)t->guard.skips;
    s->arrays[0] =
        (cm3_checkpoint_array){.name = "skips", .type = CM3_I32, .shape = cm3_shape_of(1), .data = &s->skips};
    for (int i = 0; i < t->learner->array_count; i++) s->arrays[OWN_ARRAYS + i] = t->learner->arrays[i];
    return (cm3_checkpoint_parts){.groups = t->groups,
                                  .group_count = t->group_count,
                                  .arrays = s->arrays,
                                  .array_count = OWN_ARRAYS + t->learner->array_count};
}

static cm3_status save(trainer *t) {
    parts_storage storage;
    const cm3_checkpoint_parts parts = checkpoint_parts(t, &storage);
    char *data = NULL;
    CM3_TRY(cm3_comm_agree_status(t->comm, cm3_params_download(t->learner->params)));
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
    cm3_log_warn("no sample images: %s", cm3_message());
    return CM3_OK;
}

/* Updates and tells it. */
static cm3_status finish_step(trainer *t, told *now) {
    CM3_TRY(cm3_comm_agree_status(t->comm, t->state.backend->memory->sync()));
    CM3_TRY(measure(t, now));
    CM3_TRY(cm3_comm_agree_status(t->comm, update(t, now)));
    if (t->learner->updated)
        CM3_TRY(t->learner->updated(t->learner->context, t->comm, t->step, t->state.group->there.m,
                                    t->state.group->there.v));
    return tell(t, now);
}

/* Queues its update behind its gradients, then tells the one before. */
static cm3_status queue_step(trainer *t, const told *now) {
    CM3_TRY(cm3_comm_agree_status(t->comm, cm3_train_state_queue(&t->state, t->config->adamw, now->step, now->rate)));
    CM3_TRY(tell_last(t));
    t->last = *now;
    t->waiting = true;
    return CM3_OK;
}

static cm3_status train_step(trainer *t) {
    told now = {.step = t->step + 1,
                .tokens = t->tokens + t->learner->tokens_per_step,
                .rate = t->config->adamw->learning_rate *
                        cm3_schedule_factor(t->config->schedule, t->step, t->config->train->steps),
                .began = cm3_clock_seconds()};
    CM3_TRY(compute_gradients(t));
    CM3_TRY(t->late ? queue_step(t, &now) : finish_step(t, &now));
    t->step = now.step;
    t->tokens = now.tokens;
    return CM3_OK;
}

/* One step, and what is to be done behind it. */
static cm3_status one_step(trainer *t) {
    const cm3_train_config *train = t->config->train;
    CM3_TRY(train_step(t));
    const bool end = t->step == train->steps, validates = end || every(train->validate_every, t->step),
               draws = t->learner->sample && (every(train->sample_every, t->step) || (train->sample_every && end));
    const double best = t->best;
    if (validates || draws) CM3_TRY(tell_last(t));
    if (validates) CM3_TRY(validate(t));
    const bool better = t->best < best;
    if (draws) CM3_TRY(cm3_comm_agree_status(t->comm, draw_samples(t)));
    bool stop;
    CM3_TRY(cm3_signals_agree(t->comm, &stop));
    if (stop || better || end || every(t->config->checkpoint->every, t->step)) {
        CM3_TRY(tell_last(t));
        CM3_TRY(save(t));
        if (better)
            CM3_TRY(cm3_comm_agree_status(t->comm,
                                          is_first(t) ? cm3_checkpoint_mark_best(t->config->run, t->step) : CM3_OK));
    }
    if (!stop || end) return CM3_OK;
    return cm3_comm_agree_status(t->comm, cm3_fail(CM3_INTERRUPTED,
                                                   "stopped by a signal after step %lld of %lld, which is saved",
                                                   (long long)t->step, (long long)train->steps));
}

static cm3_status list_groups(trainer *t) {
    const int count = cm3_params_group_count(t->learner->params);
    t->groups = calloc((size_t)count, sizeof *t->groups);
    if (!t->groups) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a table of parameters");
    for (; t->group_count < count; t->group_count++)
        CM3_TRY(
            cm3_checkpoint_group_of(t->learner->kind, t->learner->params, t->group_count, &t->groups[t->group_count]));
    return CM3_OK;
}

static cm3_status prepare(trainer *t) {
    CM3_TRY(cm3_comm_agree_status(t->comm, list_groups(t)));
    const cm3_backend *backend = cm3_tape_get_options(t->learner->tape)->backend;
    CM3_TRY(cm3_train_state_open(t->learner->params, t->comm, &t->state));
    t->late = !backend->memory->host && (cm3_comm_size(t->comm) == 1 || t->state.collective) && t->learner->loss &&
              !t->learner->updated;
    return CM3_OK;
}

cm3_status cm3_train(const cm3_trainer_config *config, const cm3_learner *learner, cm3_comm *comm) {
    trainer t = {
        .config = config, .learner = learner, .comm = comm, .guard = cm3_guard_new(config->guard), .best = INFINITY};
    cm3_status status = prepare(&t);
    if (status == CM3_OK) status = cm3_comm_agree_status(comm, resume(&t));
    if (status == CM3_OK) status = cm3_comm_agree_status(comm, cm3_params_upload(learner->params));
    if (status == CM3_OK)
        status = cm3_comm_agree_status(comm, is_first(&t) ? cm3_metrics_open(config->run, t.step, &t.metrics) : CM3_OK);
    t.started = cm3_clock_seconds();
    t.resumed = t.step;
    while (status == CM3_OK && t.step < config->train->steps) status = one_step(&t);
    const cm3_status closed = cm3_metrics_close(t.metrics);
    if (status == CM3_OK) status = closed;
    for (int g = 0; g < t.group_count; g++) cm3_checkpoint_group_free(&t.groups[g]);
    free(t.groups);
    cm3_train_state_close(&t.state);
    return status;
}
