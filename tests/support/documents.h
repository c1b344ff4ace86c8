/* Documents for tests: compared, parsed from masked tokens, drawn at random. */
#ifndef CM3_TESTS_SUPPORT_DOCUMENTS_H
#define CM3_TESTS_SUPPORT_DOCUMENTS_H

#include "core/rng.h"
#include "data/document.h"

/* Segments and token ids; not grids, which tokens do not tell. */
bool documents_equal(const cm3_document *a, const cm3_document *b);
/* Unmasks, and reads the first document: what a prompt and the model's answer to it say together. */
cm3_status document_of_ids(const cm3_vocab *vocab, const int32_t *ids, size_t count, cm3_document *document);
/* 1 to 6 segments of up to 64 tokens, image grids of up to 8 x 8, no blanks; in place of what the document held. */
cm3_status random_document(cm3_rng *rng, const cm3_vocab *vocab, cm3_document *document);

#endif
