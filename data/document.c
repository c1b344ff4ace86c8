#include "data/document.h"

#include <inttypes.h>
#include <string.h>

static cm3_status add_id(cm3_tokens *ids, int32_t id) {
    return CM3_LIST_PUSH(ids, id);
}

static cm3_status add_segment(cm3_document *document, cm3_segment segment, const int32_t *token_ids) {
    segment.begin = document->token_ids.count;
    CM3_TRY(CM3_LIST_RESERVE(&document->segments, 1));
    CM3_TRY(CM3_LIST_APPEND(&document->token_ids, token_ids, segment.count));
    return CM3_LIST_PUSH(&document->segments, segment);
}

cm3_status cm3_document_add_text(cm3_document *document, const int32_t *token_ids, size_t count) {
    return add_segment(document, (cm3_segment){.modality = CM3_MODALITY_TEXT, .count = count}, token_ids);
}

cm3_status cm3_document_add_image(cm3_document *document, const int32_t *codes, int32_t rows, int32_t columns) {
    const cm3_segment segment = {
        .modality = CM3_MODALITY_IMAGE, .rows = rows, .columns = columns, .count = (size_t)rows * (size_t)columns};
    return add_segment(document, segment, codes);
}

void cm3_document_clear(cm3_document *document) {
    document->segments.count = document->token_ids.count = 0;
}

void cm3_document_free(cm3_document *document) {
    CM3_LIST_FREE(&document->segments);
    CM3_LIST_FREE(&document->token_ids);
}

/* --- rendering --------------------------------------------------------------------------------------------------- */

/* Rendered tokens of a segment: its own, or the sentinel of a blank. */
static int64_t segment_size(const cm3_segment *segment) {
    return segment->count ? (int64_t)segment->count : 1;
}

int64_t cm3_document_size(const cm3_document *document) {
    int64_t size = (int64_t)document->segments.count + 1;
    for (size_t i = 0; i < document->segments.count; i++) size += segment_size(&document->segments.items[i]);
    return document->segments.count ? size : 2;
}

/* Ids of those token ids [begin, end) of a segment. */
static cm3_status put_segment(const cm3_document *document, const cm3_segment *segment, const cm3_vocab *vocab,
                              cm3_range part, int32_t *ids) {
    const bool image = segment->modality == CM3_MODALITY_IMAGE;
    const cm3_region region = vocab->region[image ? CM3_REGION_IMAGE : CM3_REGION_TEXT];
    if (segment->begin == CM3_SEGMENT_ABSENT)
        return cm3_fail(CM3_ERR_INTERNAL, "a document is rendered without the token ids of a segment");
    const int32_t *token_ids = cm3_segment_ids(document, segment) + part.begin;
    const int64_t count = cm3_range_length(part);
    uint32_t bits = 0; /* at least as large as any of them; what is negative is large, too */
    for (int64_t i = 0; i < count; i++) {
        bits |= (uint32_t)token_ids[i];
        ids[i] = (int32_t)((uint32_t)token_ids[i] + (uint32_t)region.first);
    }
    for (int64_t i = 0; i < count && bits >= (uint32_t)region.count; i++)
        if ((uint32_t)token_ids[i] >= (uint32_t)region.count)
            return cm3_fail(CM3_ERR_FORMAT, "%s %" PRId32 " is outside the vocabulary's 0..%" PRId32,
                            image ? "image code" : "text token", token_ids[i], region.count - 1);
    return CM3_OK;
}

cm3_status cm3_document_render_range(const cm3_document *document, const cm3_vocab *vocab, cm3_range range,
                                     int32_t *ids) {
    const int32_t eos = cm3_vocab_id(vocab, CM3_REGION_EOS, 0), brk = cm3_vocab_id(vocab, CM3_REGION_BREAK, 0);
    int32_t blanks = 0;
    int64_t at = 0; /* of the next token in the whole document */
    for (size_t i = 0; i < document->segments.count && at < range.end; i++) {
        const cm3_segment *segment = &document->segments.items[i];
        if (at >= range.begin) *ids++ = i ? brk : eos;
        at++;
        const cm3_range part = cm3_range_intersect(range, (cm3_range){at, at + segment_size(segment)});
        if (segment->count == 0 && blanks == vocab->region[CM3_REGION_SENTINEL].count)
            return cm3_fail(CM3_ERR_FORMAT, "a document has more blanks than the vocabulary's %" PRId32 " sentinels",
                            blanks);
        if (segment->count == 0) {
            if (cm3_range_length(part)) *ids = cm3_vocab_id(vocab, CM3_REGION_SENTINEL, blanks);
            blanks++;
        } else if (cm3_range_length(part)) {
            CM3_TRY(put_segment(document, segment, vocab, (cm3_range){part.begin - at, part.end - at}, ids));
        }
        ids += cm3_range_length(part);
        at += segment_size(segment);
    }
    if (document->segments.count == 0) { /* <eos> <eos> */
        if (at >= range.begin && at < range.end) *ids++ = eos;
        at++;
    }
    if (at >= range.begin && at < range.end) *ids = eos;
    return CM3_OK;
}

static cm3_status append_range(const cm3_document *document, const cm3_vocab *vocab, int64_t size, cm3_tokens *ids) {
    CM3_TRY(CM3_LIST_RESERVE(ids, (size_t)size));
    CM3_TRY(cm3_document_render_range(document, vocab, (cm3_range){0, size}, ids->items + ids->count));
    ids->count += (size_t)size;
    return CM3_OK;
}

cm3_status cm3_document_render(const cm3_document *document, const cm3_vocab *vocab, cm3_tokens *ids) {
    return append_range(document, vocab, cm3_document_size(document), ids);
}

cm3_status cm3_document_prompt(const cm3_document *document, const cm3_vocab *vocab, cm3_tokens *ids) {
    const size_t count = document->segments.count;
    /* All but what stands for a last blank and the end: the model goes on there. */
    if (count && document->segments.items[count - 1].count == 0)
        return append_range(document, vocab, cm3_document_size(document) - 2, ids);
    for (size_t i = 0; i < count; i++) {
        if (document->segments.items[i].count) continue;
        CM3_TRY(cm3_document_render(document, vocab, ids));
        return add_id(ids, cm3_vocab_id(vocab, CM3_REGION_SENTINEL, 0));
    }
    return cm3_fail(CM3_ERR_USAGE, "a prompt has no blank: there is nothing to fill in");
}

/* --- parsing ----------------------------------------------------------------------------------------------------- */

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
        CM3_TRY(add_segment(document, (cm3_segment){.modality = modality}, NULL));
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
