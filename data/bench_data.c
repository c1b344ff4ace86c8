#include "data/bench_data.h"

#include "core/clock.h"
#include "core/rng.h"
#include "data/lanes.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

cm3_bench_data_config cm3_bench_data_default(void) {
    return (cm3_bench_data_config){.samples = 4096, .codes = 1024, .context = 4096, .seconds = 2};
}

enum { TEXT_VOCABULARY = 56320, CODEBOOK = 8192, LANES = 8, TEXT_MAX = 64 };

static cm3_status synthetic_vocab(cm3_vocab *vocab) {
    const cm3_vocab_sizes sizes = {.text = TEXT_VOCABULARY, .image = CODEBOOK, .sentinels = 512, .multiple = 512};
    return cm3_vocab_build(&sizes, vocab);
}

/* Random codes are the worst case of unpacking: nothing can be deflated but the three bits that a code never has. */
static cm3_status write_store(const char *path, const cm3_bench_data_config *config, const cm3_vocab *vocab,
                              int64_t *bytes, int64_t *tokens) {
    const cm3_store_info info = {.vocabulary = vocab->fingerprint,
                                 .image_rows = 1,
                                 .image_columns = config->codes,
                                 .image_codebook = CODEBOOK,
                                 .text_vocabulary = TEXT_VOCABULARY};
    int32_t text[TEXT_MAX], *codes = malloc((size_t)config->codes * sizeof *codes);
    if (!codes) return cm3_fail(CM3_ERR_MEMORY, "no memory for %lld codes", (long long)config->codes);
    cm3_store_writer *writer = NULL;
    cm3_status status = cm3_store_create(path, &info, &writer);
    *tokens = 0;
    *bytes = 0;
    for (int64_t i = 0; i < config->samples && status == CM3_OK; i++) {
        cm3_rng rng = cm3_rng_stream(1, CM3_RNG_TEST, 0, (uint64_t)i);
        const int64_t count = 1 + (int64_t)cm3_rng_poisson(&rng, 8) % TEXT_MAX;
        for (int64_t j = 0; j < count; j++) text[j] = (int32_t)cm3_rng_below(&rng, TEXT_VOCABULARY);
        for (int64_t j = 0; j < config->codes; j++) codes[j] = (int32_t)cm3_rng_below(&rng, CODEBOOK);
        status = cm3_store_add(writer, text, count, codes, NULL, false);
        *tokens += count + config->codes + 3;
    }
    free(codes);
    if (status != CM3_OK) {
        cm3_store_discard(writer);
        return status;
    }
    CM3_TRY(cm3_store_commit(writer));
    struct stat st;
    *bytes = stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
    return CM3_OK;
}

/* What turns a store into batches, together. */
typedef struct pipeline {
    const cm3_vocab *vocab;
    cm3_store *store;
    cm3_packer *packer;
    cm3_block block;
    cm3_batch batch;
    cm3_cursor cursors[LANES];
} pipeline;

static cm3_status pipeline_open(pipeline *p, const char *path, int64_t memory, const cm3_data_config *config,
                                const cm3_vocab *vocab) {
    *p = (pipeline){.vocab = vocab};
    for (int lane = 0; lane < LANES; lane++) p->cursors[lane] = cm3_lane_start(lane);
    CM3_TRY(cm3_store_open(path, &vocab->fingerprint, memory, &p->store));
    CM3_TRY(cm3_packer_new(config, vocab, p->store, &p->packer));
    CM3_TRY(cm3_block_init(&p->block, config));
    return cm3_batch_init(&p->batch, LANES, config->context);
}

static void pipeline_close(pipeline *p) {
    cm3_batch_free(&p->batch);
    cm3_block_free(&p->block);
    cm3_packer_free(p->packer);
    cm3_store_close(p->store);
}

static cm3_status make_batches(pipeline *p, double seconds, double *tokens_per_second) {
    const double start = cm3_clock_seconds();
    for (int64_t tokens = 0;;) {
        for (int lane = 0; lane < LANES; lane++) {
            CM3_TRY(cm3_lane_next(p->packer, lane, &p->cursors[lane], &p->block));
            cm3_batch_set(&p->batch, p->vocab, lane, &p->block);
        }
        tokens += LANES * p->batch.context;
        const double spent = cm3_clock_seconds() - start;
        *tokens_per_second = (double)tokens / spent;
        if (spent >= seconds) return CM3_OK;
    }
}

static cm3_status skip_blocks(pipeline *p, double seconds, double *blocks_per_second) {
    enum { AT_ONCE = 100 };
    const double start = cm3_clock_seconds();
    for (int64_t blocks = AT_ONCE;; blocks += AT_ONCE) {
        CM3_TRY(cm3_lane_skip(p->packer, 0, &p->cursors[0], AT_ONCE));
        const double spent = cm3_clock_seconds() - start;
        *blocks_per_second = (double)blocks / spent;
        if (spent >= seconds) return CM3_OK;
    }
}

static cm3_status measure_pipeline(const char *path, int64_t memory, const cm3_data_config *config,
                                   const cm3_vocab *vocab, double seconds, double *tokens_per_second,
                                   double *skips_per_second) {
    pipeline p;
    cm3_status status = pipeline_open(&p, path, memory, config, vocab);
    if (status == CM3_OK) status = make_batches(&p, seconds, tokens_per_second);
    if (status == CM3_OK) status = skip_blocks(&p, seconds / 4, skips_per_second);
    pipeline_close(&p);
    return status;
}

static cm3_status measure_masks(const cm3_data_config *config, const cm3_vocab *vocab, double seconds, double *rate) {
    const int64_t length = config->context + 1;
    int32_t *source = malloc((size_t)length * sizeof *source), *out = malloc((size_t)length * sizeof *out);
    cm3_plan *plan = malloc(sizeof *plan);
    cm3_status status = source && out && plan
                            ? CM3_OK
                            : cm3_fail(CM3_ERR_MEMORY, "no memory for a block of %lld tokens", (long long)length);
    const cm3_mask_config masks = cm3_data_masks(config);
    for (int64_t i = 0; i < length && status == CM3_OK; i++)
        source[i] = cm3_vocab_id(vocab,
                                 i % 1035 == 0    ? CM3_REGION_EOS
                                 : i % 1035 == 10 ? CM3_REGION_BREAK
                                                  : CM3_REGION_IMAGE,
                                 0);
    const double start = cm3_clock_seconds();
    double spent = 0;
    for (uint64_t blocks = 0; spent < seconds && status == CM3_OK;) {
        cm3_rng rng = cm3_rng_stream(1, CM3_RNG_SPANS, 0, blocks);
        int64_t count;
        status = cm3_mask_tokens(&masks, vocab, &rng, length, source, length, out, &count, plan);
        spent = cm3_clock_seconds() - start;
        *rate = (double)++blocks * (double)config->context / spent;
    }
    free(plan);
    free(out);
    free(source);
    return status;
}

static cm3_status measure(const char *path, const cm3_bench_data_config *config, cm3_bench_data_result *result) {
    const cm3_data_config data = {
        .context = config->context, .batch = LANES, .mask_mean = 1, .mask_max = 511, .mask_whole = 0.5};
    cm3_vocab vocab;
    int64_t bytes = 0, tokens = 1;
    CM3_TRY(synthetic_vocab(&vocab));
    CM3_TRY(write_store(path, config, &vocab, &bytes, &tokens));
    result->store_bytes_per_token = (double)bytes / (double)tokens;
    CM3_TRY(measure_pipeline(path, 0, &data, &vocab, config->seconds, &result->tokens_per_second,
                             &result->skip_blocks_per_second));
    CM3_TRY(measure_pipeline(path, INT64_MAX, &data, &vocab, config->seconds, &result->memory_tokens_per_second,
                             &result->skip_blocks_per_second));
    return measure_masks(&data, &vocab, config->seconds / 2, &result->mask_tokens_per_second);
}

cm3_status cm3_bench_data(const cm3_bench_data_config *config, cm3_bench_data_result *result) {
    *result = (cm3_bench_data_result){0};
    if (config->samples < 1 || config->codes < 1 || config->codes > 4096 || config->context < 8 || config->seconds <= 0)
        return cm3_fail(CM3_ERR_USAGE,
                        "bench data: expected at least one sample of 1..4096 codes, a context of 8 and some seconds");
    char path[4096];
    snprintf(path, sizeof path, "%s/cm3leon-bench-%ld.h5", config->folder ? config->folder : "/tmp", (long)getpid());
    const cm3_status status = measure(path, config, result);
    unlink(path);
    return status;
}
