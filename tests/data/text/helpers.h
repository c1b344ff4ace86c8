#ifndef CM3_TESTS_DATA_TEXT_HELPERS_H
#define CM3_TESTS_DATA_TEXT_HELPERS_H

#include "data/text/bpe.h"

/* A corpus of lines: the context of next_line. */
typedef struct lines {
    char *text;
    size_t length, at;
} lines;

/* A file of tests/data/text/golden. */
lines golden_lines(const char *name);
void lines_free(lines *l);
cm3_status next_line(void *context, const char **text, size_t *length);

/* A tokenizer trained on corpus.txt, of at most `vocab_size` tokens. */
cm3_bpe *golden_trained(size_t vocab_size, uint64_t min_frequency);

/* Fails the test unless decode(encode(text)) is the text. */
void assert_round_trip(const cm3_bpe *bpe, cm3_bpe_encoder *encoder, const char *text, size_t length);

#endif
