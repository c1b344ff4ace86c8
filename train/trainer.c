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

/* What a step was: read and logged when the next one is queued. */
typedef struct step_record {
    int64_t step, tokens;                  /* done with it */
    int64_t updates[CM3_LEARNER_NETWORKS]; /* its number, of each network; 0: it was not its turn */
    double rates[CM3_LEARNER_NETWORKS], norms[CM3_LEARNER_NETWORKS], sums[CM3_SUMS_MAX];
    double began, queued;
} step_record;

/* One run of the loop. */
typedef struct trainer {
    const cm3_trainer_config *config;
    const cm3_learner *learner;
    cm3_comm *comm;
    cm3_metrics *metrics;
    cm3_train_state states[CM3_LEARNER_NETWORKS];
    cm3_checkpoint_group *groups; /* of all networks */
    int group_count;
    int running;       /* network whose tape runs */
    cm3_status logged; /* of this rank's metrics, which the next collective tells the others */
    cm3_guard guard;
    int64_t step, tokens; /* done */
    double best;
    double started; /* when this process began, at step `resumed`: for the time that is left */
    int64_t resumed;
    bool stop;    /* some rank was asked to */
    bool pending; /* `last` is not logged yet */
    step_record last;
    double logged_at;
} trainer;

static bool is_first(const trainer *t) {
    return cm3_comm_rank(t->comm) == 0;
}

static const cm3_train_network *network_of(const trainer *t, int n) {
    return &t->learner->networks[n];
}

/* --- log the step ------------------------------------------------------------------------------------------------ */

/* "1,234" */
static void format_count(double count, char text[32]) {
    char digits[32];
    const int length = snprintf(digits, sizeof digits, "%.0f", count);
    int at = 0;
    for (int i = 0; i < length && at < 30; i++) {
        if (i > 0 && (length - i) % 3 == 0) text[at++] = ',';
        text[at++] = digits[i];
    }
    text[at] = 0;
}

static void print_line(const trainer *t, const step_record *now, const char *text, double seconds, double share) {
    const cm3_train_config *train = t->config->train;
    if (now->step % train->log_every && now->step != train->steps) return;
    char left[32], speed[32], of_peak[48] = "";
    const double per_step = (cm3_clock_seconds() - t->started) / (double)(now->step - t->resumed);
    cm3_progress_format_seconds(per_step * (double)(train->steps - now->step), left, sizeof left);
    format_count((double)t->learner->items_per_step / seconds, speed);
    if (share > 0)
        snprintf(of_peak, sizeof of_peak, ", %s %.2f", t->states[0].backend->memory->host ? "share of peak" : "mfu",
                 share);
    cm3_log_info("step %lld/%lld  %s  norm %.3g  lr %.2e  %s %ss/s%s  %s left", (long long)now->step,
                 (long long)train->steps, text, now->norms[0], now->rates[0], speed, t->learner->item, of_peak, left);
}

static cm3_status write_line(trainer *t, const step_record *now, double seconds) {
    if (!is_first(t)) return CM3_OK;
    char text[256] = "", name[96];
    const double flops = t->learner->flops_per_step / seconds;
    const double share = t->config->peak_flops > 0 ? flops / t->config->peak_flops : 0;
    cm3_metrics_begin(t->metrics, "train", now->step);
    t->learner->report(t->learner->context, now->sums, t->metrics, text, sizeof text);
    for (int n = 0; n < t->learner->network_count; n++) {
        if (!now->updates[n]) continue;
        const char *of = n ? network_of(t, n)->name : "", *between = n ? "_" : "";
        snprintf(name, sizeof name, "lr%s%s", between, of);
        cm3_metrics_put(t->metrics, name, now->rates[n]);
        snprintf(name, sizeof name, "grad_norm%s%s", between, of);
        cm3_metrics_put(t->metrics, name, now->norms[n]);
    }
    cm3_metrics_put_int(t->metrics, "tokens", now->tokens);
    cm3_metrics_put(t->metrics, "seconds", seconds);
    cm3_metrics_put(t->metrics, "tokens_per_second", (double)t->learner->items_per_step / seconds);
    cm3_metrics_put(t->metrics, "mfu", share);
    if (t->guard.skips) cm3_metrics_put_int(t->metrics, "skipped", t->guard.skips);
    print_line(t, now, text, seconds, share);
    return cm3_metrics_end(t->metrics);
}

/* Waits for the updates of a step; what decided them. */
static cm3_status reach(trainer *t, step_record *now, float *loss) {
    for (int n = 0; n < t->learner->network_count; n++) {
        if (!now->updates[n]) continue;
        cm3_flat_verdict verdict;
        CM3_TRY(cm3_train_state_reach(&t->states[n], now->updates[n], &verdict));
        now->norms[n] = verdict.norm;
        if (!isfinite(verdict.loss)) *loss = verdict.loss;
    }
    return t->learner->collect(t->learner->context, now->step - 1, now->sums);
}

/* The guard judges by what the device has decided by, equal on all ranks. */
static cm3_status judge(trainer *t, const step_record *now, float loss) {
    double norm = now->norms[0];
    for (int n = 1; n < t->learner->network_count; n++)
        if (!isfinite(now->norms[n])) norm = now->norms[n];
    return cm3_guard_judge(&t->guard, now->step, isfinite(loss) ? now->sums[0] : (double)loss, norm);
}

/* Collective. Reads, judges and logs the step that is not logged yet, if there is one. Of the time between one that is
 * logged and the next, each takes what is its own. */
static cm3_status flush(trainer *t) {
    if (!t->pending) return CM3_OK;
    step_record now = t->last;
    float loss = 0;
    t->pending = false;
    const cm3_status mine = reach(t, &now, &loss);
    double sums[CM3_SUMS_MAX + 1];
    memcpy(sums, now.sums, sizeof now.sums);
    sums[CM3_SUMS_MAX] = mine != CM3_OK;
    CM3_TRY(cm3_comm_reduce_f64(t->comm, sums, CM3_SUMS_MAX + 1, CM3_REDUCE_SUM));
    if (sums[CM3_SUMS_MAX] > 0) return cm3_comm_agree_status(t->comm, mine);
    memcpy(now.sums, sums, sizeof now.sums);
    const cm3_status judged = judge(t, &now, loss);
    if (judged != CM3_OK) return cm3_comm_agree_status(t->comm, judged);
    /* In the host's memory a step is done when it is queued; a device may have ended it just now. */
    const double end = t->states[0].backend->memory->host ? now.queued : cm3_clock_seconds();
    const double seconds = end - fmax(now.began, t->logged_at);
    t->logged_at = end;
    t->logged = write_line(t, &now, seconds);
    return CM3_OK;
}

/* The same, and all ranks know whether it was written. */
static cm3_status settle(trainer *t) {
    CM3_TRY(flush(t));
    return cm3_comm_agree_status(t->comm, t->logged);
}

/* --- one step ---------------------------------------------------------------------------------------------------- */

static cm3_status bucket_ready(void *context, int bucket) {
    trainer *t = context;
    return cm3_train_state_reduce(&t->states[t->running], bucket);
}

static cm3_status move_along(void *context) {
    return cm3_comm_progress(((trainer *)context)->comm);
}

/* The devices' own sums: queued, like everything else of the run. */
static cm3_status join_sums(void *context) {
    const trainer *t = context;
    return t->states[t->running].backend->collective->join();
}

/* The first small collective of a step: whether every rank has its batch (one whose data fail must not leave the others
 * waiting for its gradients), what all of them weigh, and whether one was asked to stop. */
static cm3_status load_batch(trainer *t, double *weight) {
    double own = 0;
    const cm3_status mine =
        t->logged != CM3_OK ? t->logged : t->learner->load_batch(t->learner->context, t->step, &own);
    double sums[] = {own, cm3_signals_pending() != 0, mine != CM3_OK};
    CM3_TRY(cm3_comm_reduce_f64(t->comm, sums, 3, CM3_REDUCE_SUM));
    *weight = sums[0];
    t->stop = sums[1] > 0;
    if (sums[2] <= 0) return CM3_OK;
    const cm3_status agreed = cm3_comm_agree_status(t->comm, mine);
    CM3_TRY(flush(t)); /* that step was made before the data failed */
    return agreed;
}

/* All micro-batches of a network: gradients, all-reduced over the ranks, and the update behind them. */
static cm3_status queue_network(trainer *t, int n, const step_record *now, double weight) {
    const cm3_learner *learner = t->learner;
    const cm3_train_network *network = network_of(t, n);
    cm3_train_state *state = &t->states[n];
    const bool alone = cm3_comm_size(t->comm) == 1, queues = state->collective;
    t->running = n;
    for (int64_t micro = 0; micro < learner->micro_batches; micro++) {
        const bool last = micro == learner->micro_batches - 1;
        const cm3_tape_run_options options = {.accumulate = micro > 0,
                                              .context = t,
                                              .bucket_ready = last && !alone ? bucket_ready : NULL,
                                              .progress = last && !alone && !queues ? move_along : NULL,
                                              .all_ready = last && queues ? join_sums : NULL,
                                              .queues = queues};
        CM3_TRY(learner->queue_inputs(learner->context, n, t->step, micro, weight));
        CM3_TRY(cm3_tape_run(network->tape, &options));
        for (int i = 0; i < CM3_NETWORK_LOSSES && network->losses[i]; i++)
            CM3_TRY(cm3_train_state_watch(state, cm3_var_tensor(network->losses[i]), micro == 0 && i == 0));
        CM3_TRY(learner->queue_readback(learner->context, n, t->step, micro));
    }
    CM3_TRY(cm3_train_state_reduced(state));
    return cm3_train_state_queue(state, network->adamw, now->updates[n], now->rates[n]);
}

/* Which networks take their turn in a step, and at what learning rate. */
static step_record plan_step(const trainer *t) {
    step_record now = {.step = t->step + 1, .tokens = t->tokens + t->learner->items_per_step};
    for (int n = 0; n < t->learner->network_count; n++) {
        const cm3_train_network *network = network_of(t, n);
        const int64_t every = network->every > 0 ? network->every : 1, steps = t->config->train->steps;
        if (t->step % every) continue;
        now.updates[n] = t->step / every + 1;
        now.rates[n] = network->adamw->learning_rate *
                       cm3_schedule_factor(network->schedule, t->step / every, (steps + every - 1) / every);
    }
    return now;
}

/* What a stage does behind an update, which a skipped one does not call for. */
static cm3_status care(trainer *t, const step_record *now) {
    for (int n = 0; n < t->learner->network_count; n++) {
        cm3_flat_verdict verdict;
        if (!now->updates[n]) continue;
        CM3_TRY(cm3_train_state_reach(&t->states[n], now->updates[n], &verdict));
        if (!verdict.finite) return CM3_OK;
    }
    return t->learner->updated(t->learner->context, t->comm, t->step);
}

/* Queues a step, then logs the one before. */
static cm3_status train_step(trainer *t) {
    const cm3_learner *learner = t->learner;
    step_record now = plan_step(t);
    double weight;
    now.began = cm3_clock_seconds();
    CM3_TRY(load_batch(t, &weight));
    for (int n = 0; n < learner->network_count; n++)
        if (now.updates[n]) CM3_TRY(queue_network(t, n, &now, weight));
    if (learner->updated) CM3_TRY(care(t, &now));
    now.queued = cm3_clock_seconds();
    CM3_TRY(flush(t));
    t->last = now;
    t->pending = true;
    t->step = now.step;
    t->tokens = now.tokens;
    return CM3_OK;
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
    int64_t skips[2]; /* of the run, and in a row */
} parts_storage;

static cm3_checkpoint_parts checkpoint_parts(trainer *t, parts_storage *s) {
    s->skips[0] = t->guard.skips;
    s->skips[1] = t->guard.skips_in_row;
    s->arrays[0] = (cm3_checkpoint_array){.name = "skips",
                                          .type = CM3_I32,
                                          .shape = cm3_shape_of(2, 2),
                                          .data = s->skips}; /* halves, the low one first */
    for (int i = 0; i < t->learner->array_count; i++) s->arrays[OWN_ARRAYS + i] = t->learner->arrays[i];
    return (cm3_checkpoint_parts){.groups = t->groups,
                                  .group_count = t->group_count,
                                  .arrays = s->arrays,
                                  .array_count = OWN_ARRAYS + t->learner->array_count};
}

/* Between the host's memory and the device's, of all networks. */
static cm3_status transfer(const trainer *t, cm3_status (*way)(const cm3_params *params)) {
    for (int n = 0; n < t->learner->network_count; n++) CM3_TRY(way(network_of(t, n)->params));
    return CM3_OK;
}

static cm3_status save(trainer *t) {
    parts_storage storage;
    const cm3_checkpoint_parts parts = checkpoint_parts(t, &storage);
    char *data = NULL;
    CM3_TRY(cm3_comm_agree_status(t->comm, transfer(t, cm3_params_download)));
    cm3_status status = cm3_comm_agree_status(t->comm, t->learner->save(t->learner->context, t->comm, &data));
    const cm3_checkpoint_state state = {.step = t->step,
                                        .tokens = t->tokens,
                                        .seed = t->config->seed,
                                        .best = t->best,
                                        .kind = (char *)(uintptr_t)network_of(t, 0)->name,
                                        .config = (char *)(uintptr_t)t->config->config_text,
                                        .data = data};
    if (status == CM3_OK)
        status = cm3_checkpoint_save(t->comm, t->config->run, t->config->checkpoint->keep, &parts, &state);
    free(data);
    if (status == CM3_OK) cm3_log_debug("saved step %lld", (long long)t->step);
    return status;
}

/* The newest checkpoint as rank 0 finds it, for all ranks: folders of hosts may differ. "" if there is none. */
static cm3_status choose_checkpoint(trainer *t, cm3_path *path) {
    cm3_status status = is_first(t) ? cm3_checkpoint_latest(t->config->run, path) : CM3_OK;
    if (status == CM3_ERR_NOT_FOUND) {
        path->text[0] = 0;
        status = CM3_OK;
    }
    CM3_TRY(cm3_comm_agree_status(t->comm, status));
    return cm3_comm_broadcast(t->comm, path, sizeof *path, 0);
}

/* Resumes from a checkpoint. */
static cm3_status resume(trainer *t, const char *path) {
    parts_storage storage;
    const cm3_checkpoint_parts parts = checkpoint_parts(t, &storage);
    cm3_checkpoint_state state = {0};
    cm3_status status = cm3_checkpoint_load(path, &parts, &state);
    if (status == CM3_OK && strcmp(state.kind, network_of(t, 0)->name) != 0)
        status = cm3_fail(CM3_ERR_FORMAT, "%s: holds a %s, expected a %s", path, state.kind, network_of(t, 0)->name);
    if (status == CM3_OK && state.seed != t->config->seed)
        status = cm3_fail(CM3_ERR_RECIPE,
                          "%s: was made with seed %llu, the recipe says %llu; give another `out` to start anew", path,
                          (unsigned long long)state.seed, (unsigned long long)t->config->seed);
    if (status == CM3_OK) status = t->learner->restore(t->learner->context, path, state.data, state.step);
    if (status == CM3_OK) {
        t->step = state.step;
        t->tokens = state.tokens;
        t->guard.skips = storage.skips[0];
        t->guard.skips_in_row = storage.skips[1];
        t->best = state.best;
        if (is_first(t)) cm3_log_info("resuming from step %lld (%s)", (long long)t->step, path);
    }
    cm3_checkpoint_state_free(&state);
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

/* One step, and what is to be done behind it. */
static cm3_status one_step(trainer *t) {
    const cm3_train_config *train = t->config->train;
    CM3_TRY(train_step(t));
    const bool end = t->step == train->steps, validates = end || every(train->validate_every, t->step),
               draws = t->learner->sample && (every(train->sample_every, t->step) || (train->sample_every && end));
    const double best = t->best;
    if (validates || draws) CM3_TRY(settle(t));
    if (validates) CM3_TRY(validate(t));
    const bool better = t->best < best;
    if (draws) CM3_TRY(cm3_comm_agree_status(t->comm, draw_samples(t)));
    if (t->stop || better || end || every(t->config->checkpoint->every, t->step)) {
        CM3_TRY(settle(t));
        CM3_TRY(save(t));
        if (better)
            CM3_TRY(cm3_comm_agree_status(t->comm,
                                          is_first(t) ? cm3_checkpoint_mark_best(t->config->run, t->step) : CM3_OK));
    }
    if (!t->stop || end) return CM3_OK;
    return cm3_comm_agree_status(t->comm, cm3_fail(CM3_INTERRUPTED,
                                                   "stopped by a signal after step %lld of %lld, which is saved",
                                                   (long long)t->step, (long long)train->steps));
}

static cm3_status list_groups(trainer *t) {
    int count = 0;
    for (int n = 0; n < t->learner->network_count; n++) count += cm3_params_group_count(network_of(t, n)->params);
    t->groups = calloc((size_t)count, sizeof *t->groups);
    if (!t->groups) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a table of parameters");
    for (int n = 0; n < t->learner->network_count; n++) {
        const cm3_train_network *network = network_of(t, n);
        for (int g = 0; g < cm3_params_group_count(network->params); g++)
            CM3_TRY(cm3_checkpoint_group_of(network->name, network->params, g, &t->groups[t->group_count++]));
    }
    return CM3_OK;
}

static cm3_status check_networks(const trainer *t) {
    if (network_of(t, 0)->every > 1)
        return cm3_fail(CM3_ERR_INTERNAL,
                        "network %s is the first one, which takes its turn in every step, not in each %lldth",
                        network_of(t, 0)->name, (long long)network_of(t, 0)->every);
    for (int n = 0; n < t->learner->network_count; n++) {
        const char *name = network_of(t, n)->name;
        if (!*name) return cm3_fail(CM3_ERR_INTERNAL, "network %d of %d has no name", n, t->learner->network_count);
        for (int m = 0; m < n; m++)
            if (strcmp(network_of(t, m)->name, name) == 0)
                return cm3_fail(CM3_ERR_INTERNAL, "two networks have the name %s", name);
    }
    return CM3_OK;
}

static cm3_status prepare(trainer *t) {
    cm3_path path = {0};
    CM3_TRY(check_networks(t)); /* equal on all ranks */
    CM3_TRY(cm3_comm_agree_status(t->comm, list_groups(t)));
    for (int n = 0; n < t->learner->network_count; n++)
        CM3_TRY(cm3_train_state_open(network_of(t, n)->params, t->comm, &t->states[n]));
    CM3_TRY(choose_checkpoint(t, &path));
    CM3_TRY(cm3_comm_agree_status(t->comm, *path.text ? resume(t, path.text) : CM3_OK));
    CM3_TRY(cm3_comm_agree_status(t->comm, transfer(t, cm3_params_upload)));
    return cm3_comm_agree_status(t->comm,
                                 is_first(t) ? cm3_metrics_open(t->config->run, t->step, &t->metrics) : CM3_OK);
}

cm3_status cm3_train(const cm3_trainer_config *config, const cm3_learner *learner, cm3_comm *comm) {
    trainer t = {
        .config = config, .learner = learner, .comm = comm, .guard = cm3_guard_new(config->guard), .best = INFINITY};
    cm3_status status = prepare(&t);
    t.started = cm3_clock_seconds();
    t.resumed = t.step;
    while (status == CM3_OK && t.step < config->train->steps) status = one_step(&t);
    const cm3_status closed = cm3_metrics_close(t.metrics);
    if (status == CM3_OK) status = closed;
    for (int g = 0; g < t.group_count; g++) cm3_checkpoint_group_free(&t.groups[g]);
    free(t.groups);
    for (int n = 0; n < learner->network_count; n++) cm3_train_state_close(&t.states[n]);
    return status;
}
