/* A small vocabulary and token store for tests of the data layer. */
#ifndef CM3_TESTS_SUPPORT_SMALL_STORE_H
#define CM3_TESTS_SUPPORT_SMALL_STORE_H

#include "data/slots.h"

enum {
    SMALL_TEXT = 300,
    SMALL_IMAGE = 64,
    SMALL_ROWS = 4,
    SMALL_COLUMNS = 6,
    SMALL_CODES = SMALL_ROWS * SMALL_COLUMNS
};

void small_vocab(cm3_vocab *vocab);
cm3_store_info small_info(const cm3_vocab *vocab);
/* What sample i of a small store holds: text of 1..11 tokens, SMALL_CODES codes. Returns the number of text tokens. */
int64_t small_sample(int64_t i, int32_t text[12], int32_t codes[SMALL_CODES]);
/* The same as a document, in place of what it held. */
void small_document(int64_t i, cm3_document *document);
/* Every fifth sample is validation. */
bool small_validation(int64_t i);
/* A store of `samples` in the build folder; path is set to its file. */
void small_store_write(const char *name, int64_t samples, const cm3_vocab *vocab, char path[512]);
cm3_data_config small_config(void);

#endif
