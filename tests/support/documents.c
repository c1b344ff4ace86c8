#include "tests/support/documents.h"

#include <stdlib.h>
#include <string.h>

bool documents_equal(const cm3_document *a, const cm3_document *b) {
    if (a->segments.count != b->segments.count) return false;
    for (size_t i = 0; i < a->segments.count; i++) {
        const cm3_segment *x = &a->segments.items[i], *y = &b->segments.items[i];
        if (x->modality != y->modality || x->count != y->count) return false;
        if (x->count && memcmp(cm3_segment_ids(a, x), cm3_segment_ids(b, y), x->count * sizeof(int32_t)) != 0)
            return false;
    }
    return true;
}

/* --- masking ----------------------------------------------------------------------------------------------------- */

cm3_status cm3_mask_tokens(const cm3_mask_config *config, const cm3_vocab *vocab, cm3_rng *rng, cm3_mask_block *block,
                           cm3_mask_spans *masks) {
    const int32_t eos = cm3_vocab_id(vocab, CM3_REGION_EOS, 0), brk = cm3_vocab_id(vocab, CM3_REGION_BREAK, 0);
    const int64_t available = block->available < block->length ? block->available : block->length;
    int64_t *boundaries = malloc((size_t)(available + 1) * sizeof *boundaries), boundary_count = 0;
    if (!boundaries) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a block of %lld tokens", (long long)available);
    for (int64_t i = 0; i < available; i++)
        if (block->source[i] == eos || block->source[i] == brk) boundaries[boundary_count++] = i;
    cm3_mask_config limited = *config;
    if (limited.max > vocab->region[CM3_REGION_SENTINEL].count) limited.max = vocab->region[CM3_REGION_SENTINEL].count;
    const cm3_mask_window window = {block->length, available, boundaries, boundary_count};
    cm3_mask_spans_draw(&limited, rng, &window, masks);
    cm3_mask_spans_apply(masks, vocab, block->source, block->out);
    block->count = cm3_mask_spans_output(masks);
    free(boundaries);
    return CM3_OK;
}

/* --- parsing ----------------------------------------------------------------------------------------------------- */

static cm3_status add_id(cm3_tokens *ids, int32_t id) {
    return CM3_LIST_PUSH(ids, id);
}

static cm3_status open_segment(cm3_document *document, cm3_modality modality) {
    const cm3_segment segment = {.modality = modality, .begin = document->token_ids.count};
    return CM3_LIST_PUSH(&document->segments, segment);
}

static bool is_sentinel(const cm3_vocab *vocab, int32_t id) {
    return cm3_vocab_is(vocab, CM3_REGION_SENTINEL, id);
}

/* Where the infills begin: at the first sentinel that is named a second time. */
static size_t find_infills(const cm3_vocab *vocab, const int32_t *ids, size_t count) {
    for (size_t p = 0; p < count; p++) {
        if (!is_sentinel(vocab, ids[p])) continue;
        for (size_t q = 0; q < p; q++)
            if (ids[q] == ids[p]) return p;
    }
    return count;
}

/* The end of the infill whose sentinel stands at `p`: its <eoss>, the next sentinel, or the end. */
static size_t infill_end(const cm3_vocab *vocab, const int32_t *ids, size_t count, size_t p) {
    const int32_t eoss = cm3_vocab_id(vocab, CM3_REGION_EOSS, 0);
    for (p++; p < count && ids[p] != eoss && !is_sentinel(vocab, ids[p]);) p++;
    return p;
}

static cm3_status put_back(const cm3_vocab *vocab, const int32_t *ids, size_t count, size_t infills, int32_t sentinel,
                           cm3_tokens *source) {
    for (size_t p = infills; p < count; p++) {
        if (ids[p] != sentinel) continue;
        return CM3_LIST_APPEND(source, ids + p + 1, infill_end(vocab, ids, count, p) - p - 1);
    }
    return add_id(source, sentinel);
}

cm3_status cm3_tokens_unmask(const cm3_vocab *vocab, const int32_t *ids, size_t count, cm3_tokens *source) {
    const size_t infills = find_infills(vocab, ids, count);
    for (size_t p = 0; p < infills; p++) {
        if (is_sentinel(vocab, ids[p]))
            CM3_TRY(put_back(vocab, ids, count, infills, ids[p], source));
        else
            CM3_TRY(add_id(source, ids[p]));
    }
    /* What follows an infill without being one goes on after the source. */
    for (size_t p = infills; p < count;) {
        if (is_sentinel(vocab, ids[p])) {
            p = infill_end(vocab, ids, count, p);
            if (p < count && !is_sentinel(vocab, ids[p])) p++;
        } else {
            CM3_TRY(add_id(source, ids[p++]));
        }
    }
    return CM3_OK;
}

/* Appends the ids of one modality that begin at *at to the last segment if it is still open, else to a new one. */
static cm3_status read_run(const cm3_vocab *vocab, const int32_t *ids, size_t count, size_t *at, bool open,
                           cm3_document *document) {
    const bool image = cm3_vocab_class(vocab, ids[*at]) == CM3_TOKEN_IMAGE;
    const cm3_modality modality = image ? CM3_MODALITY_IMAGE : CM3_MODALITY_TEXT;
    const cm3_region_role role = image ? CM3_REGION_IMAGE : CM3_REGION_TEXT;
    const size_t segments = document->segments.count;
    if (!open || !segments || document->segments.items[segments - 1].modality != modality)
        CM3_TRY(open_segment(document, modality));
    cm3_segment *last = &document->segments.items[document->segments.count - 1];
    for (; *at < count && cm3_vocab_is(vocab, role, ids[*at]); ++*at, last->count++)
        CM3_TRY(add_id(&document->token_ids, cm3_vocab_token_id(vocab, role, ids[*at])));
    return CM3_OK;
}

static cm3_status read_document(const cm3_vocab *vocab, const int32_t *ids, size_t count, size_t *at,
                                cm3_document *document) {
    const int32_t eos = cm3_vocab_id(vocab, CM3_REGION_EOS, 0), brk = cm3_vocab_id(vocab, CM3_REGION_BREAK, 0);
    bool open = false;
    while (*at < count) {
        const cm3_token_class class = cm3_vocab_class(vocab, ids[*at]);
        if (class == CM3_TOKEN_TEXT || class == CM3_TOKEN_IMAGE) {
            CM3_TRY(read_run(vocab, ids, count, at, open, document));
            open = true;
            continue;
        }
        const int32_t id = ids[(*at)++];
        if (class == CM3_TOKEN_SENTINEL) {
            CM3_TRY(cm3_document_add_text(document, NULL, 0));
            open = false;
        } else if (id == brk) {
            open = false;
        } else if (id == eos && document->segments.count) {
            return CM3_OK;
        }
    }
    return CM3_OK;
}

cm3_status cm3_document_next(const cm3_vocab *vocab, const int32_t *ids, size_t count, size_t *at,
                             cm3_document *document) {
    *document = (cm3_document){0};
    const cm3_status status = read_document(vocab, ids, count, at, document);
    if (status != CM3_OK) cm3_document_free(document);
    return status;
}

cm3_status document_of_ids(const cm3_vocab *vocab, const int32_t *ids, size_t count, cm3_document *document) {
    cm3_tokens source = {0};
    size_t at = 0;
    cm3_status status = cm3_tokens_unmask(vocab, ids, count, &source);
    if (status == CM3_OK) status = cm3_document_next(vocab, source.items, source.count, &at, document);
    CM3_LIST_FREE(&source);
    return status;
}

cm3_status random_document(cm3_rng *rng, const cm3_vocab *vocab, cm3_document *document) {
    int32_t ids[64];
    cm3_document_clear(document);
    const uint64_t segments = 1 + cm3_rng_below(rng, 6);
    for (uint64_t s = 0; s < segments; s++) {
        const bool image = cm3_rng_below(rng, 2);
        const int32_t rows = 1 + (int32_t)cm3_rng_below(rng, 8), columns = 1 + (int32_t)cm3_rng_below(rng, 8),
                      limit = vocab->region[image ? CM3_REGION_IMAGE : CM3_REGION_TEXT].count;
        for (int32_t k = 0; k < rows * columns; k++) ids[k] = (int32_t)cm3_rng_below(rng, (uint64_t)limit);
        CM3_TRY(image ? cm3_document_add_image(document, ids, rows, columns)
                      : cm3_document_add_text(document, ids, (size_t)(rows * columns)));
    }
    return CM3_OK;
}
