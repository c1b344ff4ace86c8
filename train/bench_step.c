#include "train/bench_step.h"

#include "core/clock.h"
#include "core/kernels/cpu/machine.h"
#include "core/pages.h"
#include "core/rng.h"
#include "optim/clip.h"
#include "train/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench {
    const cm3_recipe *recipe;
    cm3_params *params;
    cm3_transformer *model;
    cm3_tape *tape;
    cm3_adamw_span *spans;
    int64_t span_count, rows, tokens;
    int32_t *ids, *targets, *positions;
    float *m, *v, scale;
    double peak_memory; /* of the process, in steps so far */
} bench;

static cm3_status set_up(bench *b) {
    const cm3_recipe *recipe = b->recipe;
    cm3_vocab vocab;
    const cm3_vocab_sizes sizes = cm3_recipe_vocab_sizes(recipe);
    CM3_TRY(cm3_vocab_build(&sizes, &vocab));
    b->rows = recipe->train.micro_batch ? recipe->train.micro_batch : recipe->data.lanes;
    b->tokens = b->rows * recipe->data.context;
    b->scale = 1.0f / (float)b->tokens;
    CM3_TRY(cm3_params_create(&b->params));
    CM3_TRY(cm3_transformer_declare(&recipe->model, vocab.size, b->params, &b->model));
    CM3_TRY(cm3_params_layout(b->params, CM3_SHARD_UNIT));
    CM3_TRY(cm3_params_allocate(b->params, true));
    cm3_params_init(b->params, (uint64_t)recipe->run.seed);
    CM3_TRY(cm3_params_adamw_spans(b->params, &b->spans, &b->span_count));
    b->m = cm3_pages_take((size_t)cm3_params_size(b->params) * sizeof(float));
    b->v = cm3_pages_take((size_t)cm3_params_size(b->params) * sizeof(float));
    b->ids = calloc((size_t)b->tokens, sizeof(int32_t));
    b->targets = calloc((size_t)b->tokens, sizeof(int32_t));
    b->positions = calloc((size_t)b->tokens, sizeof(int32_t));
    if (!b->m || !b->v || !b->ids || !b->targets || !b->positions)
        return cm3_fail(CM3_ERR_MEMORY, "no memory for a step");
    cm3_rng rng = cm3_rng_stream((uint64_t)recipe->run.seed, CM3_RNG_TEST, 0, 0);
    for (int64_t i = 0; i < b->tokens; i++) {
        b->ids[i] = (int32_t)cm3_rng_below(&rng, (uint64_t)vocab.size);
        b->targets[i] = (int32_t)cm3_rng_below(&rng, (uint64_t)vocab.size);
        b->positions[i] = (int32_t)(i % recipe->data.context);
    }
    const cm3_tape_options options = {.backend = cm3_backend_cpu(),
                                      .recompute = (cm3_recompute)recipe->model.recompute,
                                      .exchange_from = CM3_EXCHANGE_FROM};
    CM3_TRY(cm3_tape_create(&options, &b->tape));
    const cm3_sequence_batch batch = {.batch = b->rows,
                                      .sequence = recipe->data.context,
                                      .ids = b->ids,
                                      .targets = b->targets,
                                      .positions = b->positions,
                                      .scale = &b->scale};
    cm3_var *per_token;
    cm3_tape_loss(b->tape, cm3_transformer_loss(b->model, b->tape, &batch, &per_token));
    return cm3_tape_plan(b->tape);
}

static void tear_down(bench *b) {
    const size_t bytes = b->params ? (size_t)cm3_params_size(b->params) * sizeof(float) : 0;
    cm3_pages_give(b->m, bytes);
    cm3_pages_give(b->v, bytes);
    cm3_tape_free(b->tape);
    cm3_transformer_free(b->model);
    cm3_params_free(b->params);
    free(b->spans);
    free(b->ids);
    free(b->targets);
    free(b->positions);
}

static cm3_status one_step(bench *b, int64_t step, double *gradients, double *update) {
    cm3_machine_watch_memory();
    const double begin = cm3_clock_seconds();
    CM3_TRY(cm3_tape_run(b->tape, NULL));
    const double middle = cm3_clock_seconds();
    const float *grad = cm3_params_gradients(b->params);
    double norm;
    CM3_TRY(cm3_gradient_norm(grad, cm3_params_size(b->params), NULL, &norm));
    const cm3_adamw_update now = {
        .step = step + 1, .learning_rate = 1e-4, .clip_factor = cm3_clip_factor(norm, b->recipe->optimizer.clip)};
    cm3_adamw_apply(&b->recipe->optimizer, &now, b->spans, b->span_count, cm3_params_values(b->params), grad, b->m,
                    b->v);
    *gradients = middle - begin;
    *update = cm3_clock_seconds() - middle;
    b->peak_memory = fmax(b->peak_memory, cm3_machine_peak_memory());
    return CM3_OK;
}

/* Steps and sgemm take turns of about TURN seconds, so that both meet the same machine; of both the fastest counts:
 * what other work on the machine takes away from a step says nothing about the step. */
static cm3_status measure(bench *b, double seconds, double base_memory, cm3_bench_step_result *r) {
    const double TURN = 0.3;
    double gradients, update, spent = 0, fastest = INFINITY;
    CM3_TRY(one_step(b, 0, &gradients, &update));
    while (spent < seconds || r->steps < 2) {
        for (double turn = 0; turn < TURN; turn += gradients + update) {
            CM3_TRY(one_step(b, ++r->steps, &gradients, &update));
            spent += gradients + update;
            if (gradients + update >= fastest) continue;
            fastest = gradients + update;
            r->seconds_gradients = gradients;
            r->seconds_update = update;
        }
        if (r->peak_bytes <= 0) r->peak_bytes = b->peak_memory - base_memory; /* later ones carry what sgemm leaves */
        const double rate = cm3_machine_sgemm_rate(TURN);
        if (rate > r->sgemm_flops_per_second) r->sgemm_flops_per_second = rate;
    }
    r->tokens = b->tokens;
    r->mean_seconds = spent / (double)r->steps;
    r->tokens_per_second = (double)b->tokens / fastest;
    r->flops_per_second = cm3_transformer_flops_per_token(b->model, b->recipe->data.context) * r->tokens_per_second;
    r->ratio = r->flops_per_second / r->sgemm_flops_per_second;
    const cm3_tape_stats *stats = cm3_tape_get_stats(b->tape);
    r->planned_bytes = 4.0 * (double)cm3_params_size(b->params) * sizeof(float) + (double)stats->peak_bytes -
                       (double)stats->exchanged_bytes;
    return CM3_OK;
}

cm3_status cm3_bench_step(const cm3_recipe *recipe, double seconds, cm3_bench_step_result *result) {
    *result = (cm3_bench_step_result){0};
    cm3_machine_warm_up(); /* is not part of a step */
    const double base_memory = cm3_machine_memory();
    bench b = {.recipe = recipe};
    cm3_status status = set_up(&b);
    if (status == CM3_OK) status = measure(&b, seconds, base_memory, result);
    tear_down(&b);
    return status;
}
