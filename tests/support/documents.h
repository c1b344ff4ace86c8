/* Documents for tests: compared, masked, parsed from masked tokens, drawn at random. */
#ifndef CM3_TESTS_SUPPORT_DOCUMENTS_H
#define CM3_TESTS_SUPPORT_DOCUMENTS_H

#include "core/rng.h"
#include "data/document.h"
#include "data/mask.h"

/* Segments and token ids; not grids, which tokens do not tell. */
bool documents_equal(const cm3_document *a, const cm3_document *b);
/* --- masking ----------------------------------------------------------------------------------------------------- */

/* Tokens whose boundaries are not known, and what masking makes of them. */
typedef struct cm3_mask_block {
    int64_t length;        /* room in `out` */
    const int32_t *source; /* (available) */
    int64_t available;     /* masks->source tells how many of them were used */
    int32_t *out;
    int64_t count; /* filled in: tokens in `out` */
} cm3_mask_block;

/* Finds the boundaries, draws, applies. CM3_ERR_MEMORY only. */
cm3_status cm3_mask_tokens(const cm3_mask_config *config, const cm3_vocab *vocab, cm3_rng *rng, cm3_mask_block *block,
                           cm3_mask_spans *masks);

/* --- parsing ----------------------------------------------------------------------------------------------------- */

/* Appends the source of masked tokens: each infill `<sentinel:i> span <eoss>` goes back to where <sentinel:i> stands.
 * An infill without its <eoss>, cut by the end, is put back as far as it goes; a sentinel without infill stays; an
 * infill without a place is left out. Ids are not otherwise changed, so anything may be given. */
cm3_status cm3_tokens_unmask(const cm3_vocab *vocab, const int32_t *ids, size_t count, cm3_tokens *source);

/* Reads the next document of `ids`, from *at on, and moves *at behind it; an empty document when there are no more.
 * Tolerant: a sample may lack its beginning or its end, a segment that holds text and image codes becomes two, a
 * sentinel becomes a blank text, ids that mean nothing are left out. Grids of images are not known. Masked tokens are
 * unmasked first with cm3_tokens_unmask. */
cm3_status cm3_document_next(const cm3_vocab *vocab, const int32_t *ids, size_t count, size_t *at,
                             cm3_document *document);

/* Unmasks, and reads the first document: what a prompt and the model's answer to it say together. */
cm3_status document_of_ids(const cm3_vocab *vocab, const int32_t *ids, size_t count, cm3_document *document);
/* 1 to 6 segments of up to 64 tokens, image grids of up to 8 x 8, no blanks; in place of what the document held. */
cm3_status random_document(cm3_rng *rng, const cm3_vocab *vocab, cm3_document *document);

#endif
