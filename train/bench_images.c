#include "train/bench_images.h"

#include "core/clock.h"
#include "core/kernels/rates.h"
#include "core/rng.h"
#include "core/tensor/staged_buffer.h"
#include "model/image_codec.h"
#include "train/state.h"

#include <math.h>
#include <stdlib.h>

typedef struct bench {
    const cm3_recipe *recipe;
    const cm3_backend *backend;
    int64_t batch, updates;
    cm3_network *network;
    cm3_train_state state;
    cm3_image_codec *codec;
    cm3_tape *tape;
    float *images; /* (batch, side, side, 3) */
    int32_t *codes;
    cm3_staged_buffer folded, scales;
} bench;

static cm3_status fill_inputs(bench *b) {
    const cm3_vqgan_config *config = &b->recipe->image_tokenizer.network;
    const int64_t values = b->batch * config->image_size * config->image_size * 3;
    const cm3_memory *memory = b->backend->memory;
    b->images = malloc((size_t)values * sizeof *b->images);
    b->codes = calloc((size_t)(b->batch * cm3_vqgan_codes_per_image(config)), sizeof *b->codes);
    if (!b->images || !b->codes) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a batch of images");
    CM3_TRY(cm3_staged_buffer_alloc(memory, (size_t)values * sizeof(float), "a batch of images", &b->folded));
    CM3_TRY(cm3_staged_buffer_alloc(memory, 2 * sizeof(float), "a batch of images", &b->scales));
    cm3_rng rng = cm3_rng_stream((uint64_t)b->recipe->run.seed, CM3_RNG_TEST, 0, 0);
    for (int64_t i = 0; i < values; i++) b->images[i] = (float)(2 * cm3_rng_double(&rng) - 1);
    cm3_vqgan_fold(config, b->images, b->batch, b->folded.host);
    float *scales = b->scales.host;
    cm3_vqgan_scales(config, b->batch, &scales[0], &scales[1]);
    return cm3_staged_buffer_upload(&b->scales);
}

static cm3_status set_up(bench *b) {
    const cm3_recipe *recipe = b->recipe;
    b->batch = recipe->image_tokenizer.train.micro_batch ? recipe->image_tokenizer.train.micro_batch
                                                         : recipe->image_tokenizer.data.batch;
    cm3_network_options of = cm3_recipe_network(recipe, "image-tokenizer");
    of.use = CM3_USE_TRAIN;
    of.backend = b->backend;
    CM3_TRY(cm3_network_open(&of, &b->network));
    CM3_TRY(cm3_train_state_open(b->network->params, NULL, &b->state));
    CM3_TRY(fill_inputs(b));
    CM3_TRY(cm3_image_codec_create(b->network->model, b->batch, &b->codec));
    cm3_tape_options options = cm3_params_tape_options(b->network->params);
    options.recompute = (cm3_recompute)recipe->image_tokenizer.network.recompute;
    options.share_pages_from = CM3_SHARE_PAGES_FROM;
    CM3_TRY(cm3_tape_create(&options, &b->tape));
    float *scales = b->scales.there;
    const cm3_vqgan_batch batch = {
        .images = b->batch, .pixels = b->folded.there, .pixel_scale = &scales[0], .code_scale = &scales[1]};
    cm3_vqgan_train(b->network->model, b->tape, &batch);
    return cm3_tape_plan(b->tape);
}

static void tear_down(bench *b) {
    cm3_tape_free(b->tape);
    cm3_image_codec_free(b->codec);
    cm3_train_state_close(&b->state);
    cm3_staged_buffer_free(&b->folded);
    cm3_staged_buffer_free(&b->scales);
    cm3_network_close(b->network);
    free(b->images);
    free(b->codes);
}

static cm3_status encode(bench *b) {
    return cm3_image_codec_encode(b->codec, b->images, b->batch, b->codes);
}

static cm3_status decode(bench *b) {
    return cm3_image_codec_decode(b->codec, b->codes, b->batch, b->images);
}

static cm3_status train(bench *b) {
    CM3_TRY(cm3_staged_buffer_upload(&b->folded));
    CM3_TRY(cm3_tape_run(b->tape, NULL));
    CM3_TRY(cm3_train_state_queue(&b->state, &b->recipe->image_tokenizer.optimizer, ++b->updates, 1e-4));
    return b->backend->memory->sync();
}

/* Images a second of the fastest run within `seconds`, after those in which kernels make what they make once and a
 * tape becomes a graph. */
static cm3_status rate_of(bench *b, cm3_status (*work)(bench *b), double seconds, double *images) {
    double spent = 0, fastest = INFINITY;
    CM3_TRY(work(b));
    if (b->backend->graph) CM3_TRY(work(b));
    do {
        const double begin = cm3_clock_seconds();
        CM3_TRY(work(b));
        const double one = cm3_clock_seconds() - begin;
        fastest = fmin(fastest, one);
        spent += one;
    } while (spent < seconds);
    *images = (double)b->batch / fastest;
    return CM3_OK;
}

static cm3_status measure(bench *b, double seconds, cm3_bench_images_result *r) {
    CM3_TRY(rate_of(b, encode, seconds, &r->encoded_per_second));
    CM3_TRY(rate_of(b, decode, seconds, &r->decoded_per_second));
    CM3_TRY(rate_of(b, train, seconds, &r->trained_per_second));
    CM3_TRY(cm3_product_rate(b->backend, CM3_F32, 0.5, &r->product_flops_per_second, NULL));
    r->batch = b->batch;
    r->flops_per_second = r->trained_per_second * cm3_vqgan_flops_per_image(b->network->model);
    r->ratio = r->flops_per_second / r->product_flops_per_second;
    return CM3_OK;
}

cm3_status cm3_bench_images(const cm3_recipe *recipe, const cm3_backend *backend, double seconds,
                            cm3_bench_images_result *result) {
    *result = (cm3_bench_images_result){0};
    bench b = {.recipe = recipe, .backend = backend};
    cm3_status status = set_up(&b);
    if (status == CM3_OK) status = measure(&b, seconds, result);
    tear_down(&b);
    return status;
}
