#include "data/document.h"

#include <inttypes.h>
#include <string.h>

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
        return CM3_LIST_PUSH(ids, (int32_t){cm3_vocab_id(vocab, CM3_REGION_SENTINEL, 0)});
    }
    return cm3_fail(CM3_ERR_USAGE, "a prompt has no blank: there is nothing to fill in");
}
