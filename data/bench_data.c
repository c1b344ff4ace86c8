#include "data/bench_data.h"

#include "core/clock.h"
#include "core/rng.h"
#include "data/slots.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

cm3_bench_data_config cm3_bench_data_default(void) {
    return (cm3_bench_data_config){.samples = 4096, .codes = 1024, .context = 4096, .seconds = 2};
}

enum { TEXT_VOCABULARY = 56320, CODEBOOK = 8192, SLOTS = 8, TEXT_MAX = 64 };

static cm3_status synthetic_vocab(cm3_vocab *vocab) {
    const cm3_vocab_sizes sizes = {.text = TEXT_VOCABULARY, .image = CODEBOOK, .sentinels = 512, .multiple = 512};
    return cm3_vocab_build(&sizes, vocab);
}

/* A caption of about 9 tokens and an image of random codes. */
static cm3_status random_pair(int64_t codes, int64_t number, int32_t *ids, cm3_document *document) {
    cm3_rng rng = cm3_rng_stream(1, CM3_RNG_TEST, 0, (uint64_t)number);
    const int64_t count = 1 + (int64_t)cm3_rng_poisson(&rng, 8) % TEXT_MAX;
    cm3_document_clear(document);
    for (int64_t j = 0; j < count; j++) ids[j] = (int32_t)cm3_rng_below(&rng, TEXT_VOCABULARY);
    CM3_TRY(cm3_document_add_text(document, ids, (size_t)count));
    for (int64_t j = 0; j < codes; j++) ids[j] = (int32_t)cm3_rng_below(&rng, CODEBOOK);
    return cm3_document_add_image(document, ids, 1, (int32_t)codes);
}

static cm3_status add_pairs(const cm3_bench_data_config *config, cm3_store_writer *writer,
                            cm3_bench_data_result *result, int64_t *tokens) {
    cm3_document document = {0};
    int32_t *ids = malloc((size_t)(config->codes + TEXT_MAX) * sizeof *ids);
    cm3_status status =
        ids ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "out of memory for %lld codes", (long long)config->codes);
    double spent = 0;
    for (int64_t i = 0; i < config->samples && status == CM3_OK; i++) {
        status = random_pair(config->codes, i, ids, &document);
        const double start = cm3_clock_seconds();
        if (status == CM3_OK) status = cm3_store_add(writer, &(cm3_store_sample){.document = &document});
        spent += cm3_clock_seconds() - start;
        *tokens += cm3_document_size(&document);
    }
    result->add_seconds = spent / (double)config->samples;
    cm3_document_free(&document);
    free(ids);
    return status;
}

static cm3_status write_store(const char *path, const cm3_bench_data_config *config, cm3_bench_data_result *result) {
    const cm3_store_info info = {.image_codebook = CODEBOOK, .text_vocabulary = TEXT_VOCABULARY};
    cm3_store_writer *writer;
    int64_t tokens = 0;
    CM3_TRY(cm3_store_create(path, &info, &writer));
    const cm3_status status = add_pairs(config, writer, result, &tokens);
    if (status != CM3_OK) {
        cm3_store_discard(writer);
        return status;
    }
    CM3_TRY(cm3_store_commit(writer));
    struct stat st;
    if (stat(path, &st) == 0) result->store_bytes_per_token = (double)st.st_size / (double)tokens;
    return CM3_OK;
}

/* Whole samples in random order, with the memory that training gives a store by default. */
static cm3_status read_samples(const char *path, double seconds, double *tokens_per_second) {
    enum { MEMORY = 256 << 20, AT_ONCE = 100 };
    cm3_store *store;
    cm3_document document = {0};
    CM3_TRY(cm3_store_open(path, MEMORY, &store));
    const int64_t samples = cm3_store_get_info(store)->samples;
    cm3_rng rng = cm3_rng_stream(2, CM3_RNG_TEST, 0, 0);
    cm3_status status = CM3_OK;
    const double start = cm3_clock_seconds();
    double spent = 0;
    for (int64_t tokens = 0; spent < seconds && status == CM3_OK; spent = cm3_clock_seconds() - start) {
        for (int i = 0; i < AT_ONCE && status == CM3_OK; i++) {
            const int64_t index = (int64_t)cm3_rng_below(&rng, (uint64_t)samples);
            status = cm3_store_read(store, index, (cm3_range){0, INT64_MAX}, &document);
            tokens += cm3_document_size(&document);
        }
        *tokens_per_second = (double)tokens / (cm3_clock_seconds() - start);
    }
    cm3_document_free(&document);
    cm3_store_close(store);
    return status;
}

/* What turns a store into batches, together. */
typedef struct pipeline {
    const cm3_vocab *vocab;
    cm3_store *store;
    cm3_packer *packer;
    cm3_block block;
    cm3_batch batch;
    cm3_cursor cursors[SLOTS];
} pipeline;

static cm3_status pipeline_open(pipeline *p, const char *path, int64_t memory, const cm3_data_config *config,
                                const cm3_vocab *vocab) {
    *p = (pipeline){.vocab = vocab};
    for (int slot = 0; slot < SLOTS; slot++) p->cursors[slot] = cm3_slot_start(slot);
    CM3_TRY(cm3_store_open(path, memory, &p->store));
    CM3_TRY(cm3_packer_new(config, vocab, p->store, &p->packer));
    CM3_TRY(cm3_block_init(&p->block, config));
    return cm3_batch_init(&p->batch, SLOTS, config->context);
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
        for (int slot = 0; slot < SLOTS; slot++) {
            CM3_TRY(cm3_slot_next(p->packer, slot, &p->cursors[slot], &p->block));
            cm3_batch_set(&p->batch, p->vocab, slot, &p->block);
        }
        tokens += SLOTS * p->batch.context;
        const double spent = cm3_clock_seconds() - start;
        *tokens_per_second = (double)tokens / spent;
        if (spent >= seconds) return CM3_OK;
    }
}

static cm3_status skip_blocks(pipeline *p, double seconds, double *blocks_per_second) {
    enum { AT_ONCE = 100 };
    const double start = cm3_clock_seconds();
    for (int64_t blocks = AT_ONCE;; blocks += AT_ONCE) {
        CM3_TRY(cm3_slot_skip(p->packer, 0, &p->cursors[0], AT_ONCE));
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
    int32_t *source = calloc((size_t)length, sizeof *source), *out = malloc((size_t)length * sizeof *out);
    int64_t *boundaries = malloc((size_t)length * sizeof *boundaries), count = 0;
    cm3_mask_spans *spans = malloc(sizeof *spans);
    cm3_status status = source && out && boundaries && spans
                            ? CM3_OK
                            : cm3_fail(CM3_ERR_MEMORY, "out of memory for a block of %lld tokens", (long long)length);
    const cm3_mask_config masks = cm3_data_masks(config);
    for (int64_t i = 0; i < length && status == CM3_OK; i++)
        if (i % 1035 == 0 || i % 1035 == 10) boundaries[count++] = i; /* pairs of 9 text tokens and 1,024 codes */
    const cm3_mask_window window = {length, length, boundaries, count};
    const double start = cm3_clock_seconds();
    double spent = 0;
    for (uint64_t blocks = 0; spent < seconds && status == CM3_OK;) {
        cm3_rng rng = cm3_rng_stream(1, CM3_RNG_SPANS, 0, blocks);
        cm3_mask_spans_draw(&masks, &rng, &window, spans);
        cm3_mask_spans_apply(spans, vocab, source, out);
        spent = cm3_clock_seconds() - start;
        *rate = (double)++blocks * (double)config->context / spent;
    }
    free(spans);
    free(boundaries);
    free(out);
    free(source);
    return status;
}

static cm3_status measure(const char *path, const cm3_bench_data_config *config, cm3_bench_data_result *result) {
    const cm3_data_config data = {
        .context = config->context, .batch = SLOTS, .mask_mean = 1, .mask_max = 511, .mask_whole = 0.5};
    cm3_vocab vocab;
    CM3_TRY(synthetic_vocab(&vocab));
    CM3_TRY(write_store(path, config, result));
    CM3_TRY(read_samples(path, config->seconds, &result->random_tokens_per_second));
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
