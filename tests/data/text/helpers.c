#include "tests/data/text/helpers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

lines golden_lines(const char *name) {
    char path[1024];
    snprintf(path, sizeof path, CM3_SOURCE_DIR "/tests/data/text/golden/%s", name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    lines l = {.text = malloc(1 << 20)};
    l.length = fread(l.text, 1, (1 << 20) - 1, file);
    l.text[l.length] = 0;
    fclose(file);
    return l;
}

void lines_free(lines *l) {
    free(l->text);
}

cm3_status next_line(void *context, const char **text, size_t *length) {
    lines *l = context;
    *text = NULL;
    if (l->at == l->length) return CM3_OK;
    *text = l->text + l->at;
    *length = (size_t)((char *)memchr(*text, '\n', l->length - l->at) - *text);
    l->at += *length + 1;
    return CM3_OK;
}

cm3_bpe *golden_trained(size_t vocab_size, uint64_t min_frequency) {
    lines corpus = golden_lines("corpus.txt");
    cm3_bpe *bpe;
    assert_int_equal(cm3_bpe_train(next_line, &corpus, vocab_size, min_frequency, &bpe), CM3_OK);
    lines_free(&corpus);
    return bpe;
}

void assert_round_trip(const cm3_bpe *bpe, cm3_bpe_encoder *encoder, const char *text, size_t length) {
    int32_t *ids = malloc(length * sizeof *ids + 1);
    char *back = malloc(length + 1);
    size_t count, size;
    assert_int_equal(cm3_bpe_encode(encoder, text, length, ids, length, &count), CM3_OK);
    assert_int_equal(cm3_bpe_decode(bpe, ids, count, back, length, &size), CM3_OK);
    assert_int_equal(size, length);
    assert_memory_equal(back, text, length);
    free(back);
    free(ids);
}
