#include "train/bench_step.h"

#include "core/clock.h"
#include "core/kernels/cpu/machine.h"
#include "core/rng.h"
#include "core/kernels/rates.h"
#include "train/state.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench {
    const cm3_recipe *recipe;
    const cm3_backend *backend;
    cm3_network *network;
    cm3_tape *tape;
    cm3_train_state state;
    int64_t rows, tokens;
    int32_t *ids, *targets, *positions; /* in the backend's memory, like `scale` */
    float *scale;
    double peak_memory; /* of the process, in steps so far */
} bench;

/* Random tokens. */
static cm3_status fill_inputs(bench *b, int64_t vocabulary) {
    const cm3_memory *memory = b->backend->memory;
    const size_t count = (size_t)b->tokens, bytes = count * sizeof(int32_t);
    const float scale = 1.0f / (float)b->tokens;
    int32_t *tokens = malloc(3 * bytes);
    b->ids = memory->alloc(bytes);
    b->targets = memory->alloc(bytes);
    b->positions = memory->alloc(bytes);
    b->scale = memory->alloc(sizeof *b->scale);
    cm3_status status = tokens && b->ids && b->targets && b->positions && b->scale
                            ? CM3_OK
                            : cm3_fail(CM3_ERR_MEMORY, "out of memory for a step");
    cm3_rng rng = cm3_rng_stream((uint64_t)b->recipe->run.seed, CM3_RNG_TEST, 0, 0);
    for (size_t i = 0; i < count && status == CM3_OK; i++) {
        tokens[i] = (int32_t)cm3_rng_below(&rng, (uint64_t)vocabulary);
        tokens[count + i] = (int32_t)cm3_rng_below(&rng, (uint64_t)vocabulary);
        tokens[2 * count + i] = (int32_t)((int64_t)i % b->recipe->pretrain.data.context);
    }
    if (status == CM3_OK) status = memory->upload(b->ids, tokens, bytes);
    if (status == CM3_OK) status = memory->upload(b->targets, tokens + count, bytes);
    if (status == CM3_OK) status = memory->upload(b->positions, tokens + 2 * count, bytes);
    if (status == CM3_OK) status = memory->upload(b->scale, &scale, sizeof scale);
    free(tokens);
    return status;
}

static cm3_status set_up(bench *b) {
    const cm3_recipe *recipe = b->recipe;
    cm3_vocab vocab;
    const cm3_vocab_sizes sizes = cm3_recipe_vocab_sizes(recipe);
    CM3_TRY(cm3_vocab_build(&sizes, &vocab));
    b->rows = recipe->pretrain.train.micro_batch ? recipe->pretrain.train.micro_batch : recipe->pretrain.data.batch;
    b->tokens = b->rows * recipe->pretrain.data.context;
    cm3_network_options of = cm3_recipe_network(recipe, "transformer");
    of.vocabulary = vocab.size;
    of.use = CM3_USE_TRAIN;
    of.backend = b->backend;
    of.compute = cm3_recipe_compute(recipe, b->backend);
    CM3_TRY(cm3_network_open(&of, &b->network));
    CM3_TRY(cm3_train_state_open(b->network->params, NULL, &b->state));
    CM3_TRY(fill_inputs(b, vocab.size));
    const cm3_tape_options options = {.backend = b->backend,
                                      .compute = of.compute,
                                      .recompute = (cm3_recompute)recipe->model.recompute,
                                      .share_pages_from = CM3_SHARE_PAGES_FROM};
    CM3_TRY(cm3_tape_create(&options, &b->tape));
    const cm3_sequence_batch batch = {.batch = b->rows,
                                      .sequence = recipe->pretrain.data.context,
                                      .ids = b->ids,
                                      .targets = b->targets,
                                      .positions = b->positions,
                                      .scale = b->scale};
    cm3_var *per_token;
    cm3_tape_loss(b->tape, cm3_transformer_loss(b->network->model, b->tape, &batch, &per_token));
    return cm3_tape_plan(b->tape);
}

static void tear_down(bench *b) {
    const cm3_memory *memory = b->backend->memory;
    const size_t bytes = (size_t)b->tokens * sizeof(int32_t);
    cm3_train_state_close(&b->state);
    cm3_tape_free(b->tape);
    cm3_network_close(b->network);
    memory->free(b->ids, bytes);
    memory->free(b->targets, bytes);
    memory->free(b->positions, bytes);
    memory->free(b->scale, sizeof *b->scale);
}

static cm3_status one_step(bench *b, int64_t step, double *gradients, double *update) {
    cm3_machine_watch_memory();
    const double begin = cm3_clock_seconds();
    CM3_TRY(cm3_tape_run(b->tape, NULL));
    const double middle = cm3_clock_seconds();
    CM3_TRY(cm3_train_state_queue(&b->state, &b->recipe->pretrain.optimizer, step + 1, 1e-4));
    CM3_TRY(b->backend->memory->sync());
    *gradients = middle - begin;
    *update = cm3_clock_seconds() - middle;
    b->peak_memory = fmax(b->peak_memory, cm3_machine_peak_memory());
    return CM3_OK;
}

/* Steps and sgemm take turns of at least TURN seconds, sgemm a SHARE of a step that is longer, so that both meet the
 * same machine, whose clock may rise and fall by the second: they are compared by the means of all their turns. */
static cm3_status measure(bench *b, double seconds, double base_memory, cm3_bench_step_result *r) {
    const double TURN = 0.3, SHARE = 0.1;
    double gradients, update, spent = 0, fastest = INFINITY, sgemm_flops = 0, sgemm_seconds = 0;
    CM3_TRY(one_step(b, 0, &gradients, &update));
    while (spent < seconds || r->steps < 2) {
        double turn = 0;
        for (; turn < TURN; turn += gradients + update) {
            CM3_TRY(one_step(b, ++r->steps, &gradients, &update));
            spent += gradients + update;
            if (gradients + update >= fastest) continue;
            fastest = gradients + update;
            r->seconds_gradients = gradients;
            r->seconds_update = update;
        }
        const bool on_host = b->backend->memory->host;
        if (r->peak_bytes <= 0 && on_host)
            r->peak_bytes = b->peak_memory - base_memory; /* later ones carry what sgemm leaves */
        double best, mean;
        const double of_sgemm = fmax(TURN, SHARE * turn);
        const cm3_dtype compute = cm3_recipe_compute(b->recipe, b->backend);
        CM3_TRY(cm3_product_rate(b->backend, compute, of_sgemm, &best, &mean));
        r->peak_flops_per_second = fmax(r->peak_flops_per_second, b->backend->peak(compute));
        sgemm_flops += mean * of_sgemm;
        sgemm_seconds += of_sgemm;
    }
    r->tokens = b->tokens;
    r->mean_seconds = spent / (double)r->steps;
    r->tokens_per_second = (double)b->tokens / fastest;
    r->sgemm_flops_per_second = sgemm_flops / sgemm_seconds;
    r->flops_per_second = b->network->kind->flops_per_item(b->network->model, b->recipe->pretrain.data.context) *
                          (double)b->tokens / r->mean_seconds;
    r->ratio = r->flops_per_second / r->sgemm_flops_per_second;
    if (r->peak_flops_per_second > 0) r->share_of_peak = r->flops_per_second / r->peak_flops_per_second;
    const cm3_tape_stats *stats = cm3_tape_get_stats(b->tape);
    const cm3_params_bytes bytes =
        cm3_params_count_bytes(b->network->params, cm3_tape_get_options(b->tape)->compute, CM3_USE_TRAIN);
    r->planned_bytes =
        bytes.values + bytes.gradients + bytes.moments + (double)stats->peak_bytes - (double)stats->exchanged_bytes;
    return CM3_OK;
}

cm3_status cm3_bench_step(const cm3_recipe *recipe, const cm3_backend *backend, double seconds,
                          cm3_bench_step_result *result) {
    *result = (cm3_bench_step_result){0};
    cm3_machine_warm_up(); /* is not part of a step */
    const double base_memory = cm3_machine_memory();
    bench b = {.recipe = recipe, .backend = backend};
    cm3_status status = set_up(&b);
    if (status == CM3_OK) status = measure(&b, seconds, base_memory, result);
    tear_down(&b);
    return status;
}
