#include "train/bench_generate.h"

#include "core/clock.h"
#include "core/rng.h"
#include "core/kernels/rates.h"
#include "model/decode/generate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    PROMPT = 32, /* tokens, where the context has room for them */
    STREAMS = 2,
    WARM_STEPS = 4 /* kernels make what they make once, and a step becomes a graph at its second run */
};

typedef struct bench {
    const cm3_recipe *recipe;
    const cm3_backend *backend;
    cm3_vocab vocab;
    cm3_network *network;
    int64_t tokens, prompt_tokens;
    int32_t prompt[PROMPT];
} bench;

/* Zeros are quicker to multiply than what a trained model holds: weights that start as zeros get those of the table. */
static void fill_zeros(cm3_params *params) {
    const int64_t most = cm3_params_get(params, 0)->count;
    for (int i = 1; i < cm3_params_count(params); i++) {
        const cm3_param *p = cm3_params_get(params, i);
        if (p->init.kind != CM3_INIT_ZEROS || p->decay != CM3_DECAY) continue;
        for (int64_t at = 0; at < p->count; at += most)
            memcpy(cm3_params_value(params, i) + at, cm3_params_value(params, 0),
                   (size_t)(p->count - at < most ? p->count - at : most) * sizeof(float));
    }
}

static cm3_status set_up(bench *b) {
    const cm3_recipe *recipe = b->recipe;
    const cm3_vocab_sizes sizes = cm3_recipe_vocab_sizes(recipe);
    CM3_TRY(cm3_vocab_build(&sizes, &b->vocab));
    cm3_network_options of = cm3_recipe_network(recipe, "transformer");
    of.vocabulary = b->vocab.size;
    of.use = CM3_USE_INFER;
    of.backend = b->backend;
    of.compute = cm3_recipe_compute(recipe, b->backend);
    CM3_TRY(cm3_network_open(&of, &b->network));
    fill_zeros(b->network->params);
    const int64_t room = recipe->model.context - b->tokens;
    b->prompt_tokens = room < 1 ? 1 : room < PROMPT ? room : PROMPT;
    cm3_rng rng = cm3_rng_stream((uint64_t)recipe->run.seed, CM3_RNG_TEST, 0, 0);
    for (int i = 0; i < PROMPT; i++) b->prompt[i] = (int32_t)cm3_rng_below(&rng, (uint64_t)b->vocab.size);
    return cm3_params_upload(b->network->params);
}

/* All of their tokens, or the first steps alone, in a cache that holds all. */
static cm3_request request_of(const bench *b, int64_t image, bool all, int32_t *out) {
    const cm3_region region = b->vocab.region[CM3_REGION_IMAGE];
    const cm3_id_range codes = {.first = region.first, .count = region.count};
    const double guidance = b->recipe->generate.guidance;
    const cm3_phase whole = {.allowed = {codes}, .ranges = 1, .tokens = b->tokens};
    cm3_phase first = whole, last = whole;
    first.tokens = WARM_STEPS;
    last.tokens -= WARM_STEPS;
    last.stop = codes;
    return (cm3_request){.prompts = {b->prompt, b->prompt},
                         .prompt_tokens = {b->prompt_tokens, b->prompt_tokens},
                         .mix = cm3_mix_guidance(guidance == 1 ? 3 : guidance),
                         .phases = {all ? whole : first, last},
                         .phase_count = all ? 1 : 2,
                         .sample = (uint64_t)image,
                         .out = out + image * b->tokens};
}

static cm3_status generate(const bench *b, cm3_generator *generator, cm3_request *requests, int32_t *out,
                           int64_t images, bool all) {
    for (int64_t i = 0; i < images; i++) requests[i] = request_of(b, i, all, out);
    return cm3_generate(generator, &b->recipe->generate, requests, images, NULL, NULL);
}

static cm3_status measure(const bench *b, double seconds, double copy_rate, cm3_bench_generate_result *r) {
    const int64_t images = r->images;
    cm3_generator *generator = NULL;
    cm3_request *requests = calloc((size_t)images, sizeof *requests);
    int32_t *out = calloc((size_t)(images * b->tokens), sizeof *out);
    cm3_status status = requests && out ? cm3_generator_create(b->network->model, STREAMS * images, &generator)
                                        : cm3_fail(CM3_ERR_MEMORY, "out of memory for %lld images", (long long)images);
    if (status == CM3_OK) status = generate(b, generator, requests, out, images, false);
    double spent = 0;
    r->seconds = INFINITY;
    while (status == CM3_OK && spent < seconds) {
        const double begin = cm3_clock_seconds();
        status = generate(b, generator, requests, out, images, true);
        const double once = cm3_clock_seconds() - begin;
        r->seconds = fmin(r->seconds, once);
        spent += once;
    }
    cm3_generator_free(generator);
    free(requests);
    free(out);
    r->tokens = b->tokens;
    r->tokens_per_second = (double)(images * b->tokens) / r->seconds;
    r->seconds_per_image = r->seconds / (double)images;
    r->copy_bytes_per_second = copy_rate;
    r->step_bytes = cm3_transformer_step_bytes(b->network->model, cm3_params_tape_options(b->network->params).compute,
                                               STREAMS * images, (double)b->prompt_tokens + (double)b->tokens / 2);
    r->floor_seconds = (double)b->tokens * r->step_bytes / copy_rate;
    r->ratio = r->floor_seconds / r->seconds;
    return status;
}

cm3_status cm3_bench_generate(const cm3_recipe *recipe, const cm3_backend *backend, int64_t tokens, double seconds,
                              cm3_bench_generate_result *results, int count) {
    bench b = {.recipe = recipe, .backend = backend, .tokens = tokens};
    double copy_rate = 0;
    if (tokens <= WARM_STEPS)
        return cm3_fail(CM3_ERR_USAGE, "%lld tokens are too few to be timed, expected more than %d", (long long)tokens,
                        WARM_STEPS);
    cm3_status status = cm3_copy_rate(backend, 0.5, &copy_rate);
    if (status == CM3_OK) status = set_up(&b);
    for (int i = 0; i < count && status == CM3_OK; i++) status = measure(&b, seconds, copy_rate, &results[i]);
    cm3_network_close(b.network);
    return status;
}
