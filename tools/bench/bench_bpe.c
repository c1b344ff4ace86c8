/* The C side of tools/bench/bpe.py, which compiles and runs it.
 *
 *   bench_bpe train  TEXTS VOCAB_SIZE TOKENIZER        learns a tokenizer.json
 *   bench_bpe encode TEXTS TOKENIZER PASSES IDS        times PASSES over all texts with one encoder, new at first
 *
 * TEXTS holds one document after another, each ended by a zero byte; IDS gets their ids as int32, -1 after each
 * document. Prints one JSON object. Seconds are processor time of this process: on a shared machine the clock on the
 * wall measures the neighbours. */
#include "data/text/bpe.h"
#include "data/text/piece_counts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct texts {
    char *bytes;
    size_t length, at;
} texts;

static int fail(void) {
    fprintf(stderr, "bench_bpe: %s\n", cm3_message());
    return 1;
}

static double processor_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static texts read_texts(const char *path) {
    texts t = {0};
    FILE *file = fopen(path, "rb");
    if (!file) return t;
    fseek(file, 0, SEEK_END);
    const size_t size = (size_t)ftell(file);
    rewind(file);
    t.bytes = malloc(size + 1);
    if (t.bytes) t.length = fread(t.bytes, 1, size, file);
    fclose(file);
    return t;
}

static cm3_status next_text(void *context, const char **text, size_t *length) {
    texts *t = context;
    *text = NULL;
    if (t->at >= t->length) return CM3_OK;
    *text = t->bytes + t->at;
    *length = strnlen(*text, t->length - t->at);
    t->at += *length + 1;
    return CM3_OK;
}

static int train(texts *t, size_t vocab_size, const char *path) {
    cm3_bpe *bpe;
    const double start = processor_seconds();
    if (cm3_bpe_train(next_text, t, vocab_size, 2, &bpe) != CM3_OK) return fail();
    const double seconds = processor_seconds() - start;
    if (cm3_bpe_save(bpe, path) != CM3_OK) return fail();
    printf("{\"bytes\": %zu, \"size\": %zu, \"train_seconds\": %.3f}\n", t->length, cm3_bpe_size(bpe), seconds);
    cm3_bpe_free(bpe);
    return 0;
}

/* Encodes all texts, one after another into `ids`, -1 after each. */
static cm3_status encode_all(cm3_bpe_encoder *encoder, texts *t, int32_t *ids, size_t *total) {
    const char *text;
    size_t length, count;
    *total = 0;
    for (t->at = 0; next_text(t, &text, &length) == CM3_OK && text;) {
        CM3_TRY(cm3_bpe_encode(encoder, text, length, ids + *total, length, &count));
        *total += count;
        ids[(*total)++] = -1;
    }
    return CM3_OK;
}

static size_t distinct_pieces(texts *t) {
    cm3__piece_counts counts = {0};
    const char *text;
    size_t length;
    for (t->at = 0; next_text(t, &text, &length) == CM3_OK && text;)
        if (cm3__piece_counts_add(&counts, text, length) != CM3_OK) break;
    const size_t size = counts.pieces.count;
    cm3__piece_counts_free(&counts);
    return size;
}

static int encode(texts *t, const char *tokenizer, int passes, const char *path) {
    cm3_bpe *bpe;
    cm3_bpe_encoder *encoder;
    if (cm3_bpe_load(tokenizer, &bpe) != CM3_OK || cm3_bpe_encoder_create(bpe, &encoder) != CM3_OK) return fail();
    int32_t *ids = malloc((t->length + 1) * sizeof *ids);
    if (!ids) return 1;
    memset(ids, 0, (t->length + 1) * sizeof *ids); /* the system's page faults are no part of encoding */
    size_t total = 0;
    printf("{\"bytes\": %zu, \"distinct_pieces\": %zu, \"seconds\": [", t->length, distinct_pieces(t));
    for (int pass = 0; pass < passes; pass++) {
        const double start = processor_seconds();
        if (encode_all(encoder, t, ids, &total) != CM3_OK) return fail();
        printf("%s%.4f", pass ? ", " : "", processor_seconds() - start);
    }
    printf("], \"ids\": %zu}\n", total);
    FILE *file = fopen(path, "wb");
    const int failed = !file || fwrite(ids, sizeof *ids, total, file) != total;
    if (file && fclose(file) != 0) return 1;
    free(ids);
    cm3_bpe_encoder_free(encoder);
    cm3_bpe_free(bpe);
    return failed;
}

int main(int argc, char **argv) {
    const int training = argc == 5 && strcmp(argv[1], "train") == 0;
    if (!training && !(argc == 6 && strcmp(argv[1], "encode") == 0)) {
        fprintf(stderr, "usage: bench_bpe train TEXTS VOCAB_SIZE TOKENIZER | encode TEXTS TOKENIZER PASSES IDS\n");
        return 2;
    }
    texts t = read_texts(argv[2]);
    if (!t.bytes) {
        perror(argv[2]);
        return 1;
    }
    const int code =
        training ? train(&t, strtoull(argv[3], NULL, 10), argv[4]) : encode(&t, argv[3], atoi(argv[4]), argv[5]);
    free(t.bytes);
    return code;
}
