#include "data/slots.h"

#include "data/endless_list.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct cm3_packer {
    const cm3_data_config *config;
    const cm3_vocab *vocab;
    cm3_store *store;
    cm3_mask_config masks;
    int64_t length;                 /* of a block: context + 1 */
    int64_t training;               /* samples to train on */
    cm3_document document;          /* of the sample at hand */
    CM3_LIST(int64_t) boundaries;   /* of the block that is being made */
    int32_t *source;                /* (length) tokens before masking */
    cm3_piece last;                 /* the sample asked for last; only its number and index count */
    int64_t *validation_ends;       /* (validation) tokens up to the end of each validation sample; or NULL */
    CM3_LIST(cm3_range) validation; /* tokens of each block of validation samples */
};

cm3_status cm3_packer_new(const cm3_data_config *config, const cm3_vocab *vocab, cm3_store *store,
                          cm3_packer **result) {
    *result = NULL;
    const cm3_store_info *info = cm3_store_get_info(store);
    if (info->image_codebook > vocab->region[CM3_REGION_IMAGE].count ||
        info->text_vocabulary > vocab->region[CM3_REGION_TEXT].count)
        return cm3_fail(CM3_ERR_FORMAT,
                        "%s: holds %" PRId64 " image codes and %" PRId64 " text tokens, the model's vocabulary %" PRId32
                        " and %" PRId32 "; run `cm3leon tokenize` again",
                        cm3_store_path(store), info->image_codebook, info->text_vocabulary,
                        vocab->region[CM3_REGION_IMAGE].count, vocab->region[CM3_REGION_TEXT].count);
    if (info->samples == info->validation)
        return cm3_fail(CM3_ERR_FORMAT, "%s: all %" PRId64 " samples are validation, none is left to train on",
                        cm3_store_path(store), info->samples);
    cm3_packer *packer = calloc(1, sizeof *packer);
    if (!packer) return cm3_fail(CM3_ERR_MEMORY, "out of memory for blocks");
    *packer = (cm3_packer){.config = config,
                           .vocab = vocab,
                           .store = store,
                           .masks = cm3_data_masks(config),
                           .length = config->context + 1,
                           .last = {.sample = -1},
                           .training = info->samples - info->validation};
    if (packer->masks.max > vocab->region[CM3_REGION_SENTINEL].count)
        packer->masks.max = vocab->region[CM3_REGION_SENTINEL].count;
    packer->source = malloc((size_t)packer->length * sizeof *packer->source);
    if (!packer->source) {
        cm3_packer_free(packer);
        return cm3_fail(CM3_ERR_MEMORY, "out of memory for blocks of %" PRId64 " tokens", config->context + 1);
    }
    *result = packer;
    return CM3_OK;
}

void cm3_packer_free(cm3_packer *packer) {
    if (!packer) return;
    cm3_document_free(&packer->document);
    CM3_LIST_FREE(&packer->boundaries);
    CM3_LIST_FREE(&packer->validation);
    free(packer->source);
    free(packer->validation_ends);
    free(packer);
}

cm3_status cm3_block_init(cm3_block *block, const cm3_data_config *config) {
    *block = (cm3_block){.ids = malloc((size_t)(config->context + 1) * sizeof *block->ids)};
    return block->ids
               ? CM3_OK
               : cm3_fail(CM3_ERR_MEMORY, "out of memory for a block of %" PRId64 " tokens", config->context + 1);
}

void cm3_block_free(cm3_block *block) {
    free(block->ids);
    CM3_LIST_FREE(&block->pieces);
    *block = (cm3_block){0};
}

/* --- layout: which samples a block holds, and where its boundaries are, from lengths alone ----------------------- */

/* Notes those boundary tokens of the document at hand that lie in a range, which begins at `at` in the block. */
static cm3_status note_boundaries(cm3_packer *packer, cm3_range range, int64_t at) {
    const cm3_document *document = &packer->document;
    int64_t position = 0;
    CM3_TRY(CM3_LIST_RESERVE(&packer->boundaries, document->segments.count + 1));
    for (size_t i = 0; i <= document->segments.count && position < range.end; i++) {
        if (position >= range.begin) packer->boundaries.items[packer->boundaries.count++] = at + position - range.begin;
        if (i < document->segments.count) position += 1 + (int64_t)document->segments.items[i].count;
    }
    return CM3_OK;
}

/* A token inside an image: the place behind the image and the boundary after it. Otherwise the same token. */
static int64_t skip_cut_image(const cm3_document *document, int64_t offset) {
    int64_t begin = 1; /* of a segment */
    for (size_t i = 0; i < document->segments.count && begin < offset; i++) {
        const cm3_segment *segment = &document->segments.items[i];
        const int64_t end = begin + (int64_t)segment->count;
        if (offset < end) return segment->modality == CM3_MODALITY_IMAGE ? end + 1 : offset;
        begin = end + 1;
    }
    return offset;
}

/* Which sample of the store stands at a number of the endless list. A block often begins with the sample that the one
 * before has cut. */
static int64_t index_of(cm3_packer *packer, int64_t sample) {
    if (packer->last.sample == sample) return packer->last.index;
    const int64_t k = cm3_endless_list_at(packer->config->seed, packer->training, sample);
    packer->last.sample = sample;
    return packer->last.index = cm3_store_training(packer->store, k);
}

/* The segments of a document that lie in a range of its tokens, at least in part. */
static cm3_range segments_in(const cm3_document *document, cm3_range tokens) {
    cm3_range segments = {0, 0};
    int64_t begin = 1;
    for (int64_t i = 0; i < (int64_t)document->segments.count && begin < tokens.end; i++) {
        const int64_t end = begin + (int64_t)document->segments.items[i].count;
        if (end <= tokens.begin) segments.begin = i + 1;
        segments.end = i + 1;
        begin = end + 1;
    }
    return segments;
}

/* Lines up samples from the cursor on until `length` tokens are full, or until the next document would be cut and may
 * not be. `*filled` is set to their tokens. */
static cm3_status lay_out(cm3_packer *packer, cm3_cursor cursor, int64_t length, cm3_block *block, int64_t *filled) {
    int64_t sample = cursor.sample, offset = cursor.offset;
    *filled = 0;
    block->pieces.count = packer->boundaries.count = 0;
    while (*filled < length) {
        const int64_t index = index_of(packer, sample);
        CM3_TRY(cm3_store_lengths(packer->store, index, &packer->document));
        const int64_t size = cm3_document_size(&packer->document);
        if (offset < 0 || offset > size)
            return cm3_fail(CM3_ERR_FORMAT, "%s: a slot's cursor points to token %" PRId64 " of a sample of %" PRId64,
                            cm3_store_path(packer->store), offset, size);
        if (packer->config->keep_images_whole && *filled == 0) offset = skip_cut_image(&packer->document, offset);
        if (offset < size) {
            const int64_t room = length - *filled, end = size - offset < room ? size : offset + room;
            if (packer->config->keep_documents_whole && *filled > 0 && end < size) break;
            CM3_TRY(note_boundaries(packer, (cm3_range){offset, end}, *filled));
            const cm3_range tokens = {offset, end}, segments = segments_in(&packer->document, tokens);
            CM3_TRY(CM3_LIST_PUSH(&block->pieces, (cm3_piece){sample, index, tokens, segments}));
            *filled += end - offset;
        }
        sample += packer->config->batch;
        offset = 0;
    }
    return CM3_OK;
}

/* Cuts the last `extra` tokens off. */
static void trim(cm3_block *block, int64_t extra) {
    while (extra > 0) {
        cm3_piece *last = &block->pieces.items[block->pieces.count - 1];
        const int64_t size = cm3_range_length(last->tokens), cut = extra < size ? extra : size;
        last->tokens.end -= cut;
        extra -= cut;
        if (cut == size) block->pieces.count--;
    }
}

/* Samples and spans of the block at the cursor, without tokens; moves the cursor. */
static cm3_status plan_block(cm3_packer *packer, int64_t slot, cm3_cursor *cursor, cm3_block *block) {
    cm3_rng rng =
        cm3_rng_stream((uint64_t)packer->config->seed, CM3_RNG_SPANS, (uint64_t)slot, (uint64_t)cursor->block);
    const int64_t masks =
        packer->config->keep_documents_whole ? 3 * cm3_mask_spans_count(&packer->masks, &rng, packer->length) : 0;
    int64_t filled;
    CM3_TRY(lay_out(packer, *cursor, packer->length - masks, block, &filled));
    const cm3_mask_window window = {packer->length, filled, packer->boundaries.items,
                                    (int64_t)packer->boundaries.count};
    cm3_mask_spans_draw(&packer->masks, &rng, &window, &block->masks);
    trim(block, filled - block->masks.source);
    block->slot = slot;
    block->number = cursor->block;
    block->length = cm3_mask_spans_output(&block->masks);
    const cm3_piece *last = &block->pieces.items[block->pieces.count - 1];
    *cursor = (cm3_cursor){.sample = last->sample, .offset = last->tokens.end, .block = cursor->block + 1};
    return CM3_OK;
}

cm3_cursor cm3_slot_start(int64_t slot) {
    return (cm3_cursor){.sample = slot};
}

cm3_status cm3_slot_skip(cm3_packer *packer, int64_t slot, cm3_cursor *cursor, int64_t blocks) {
    cm3_block scratch = {0};
    cm3_status status = CM3_OK;
    for (int64_t i = 0; i < blocks && status == CM3_OK; i++) status = plan_block(packer, slot, cursor, &scratch);
    cm3_block_free(&scratch);
    return status;
}

/* --- tokens ------------------------------------------------------------------------------------------------------ */

/* Renders pieces of samples one behind another; segments that lie outside are not read. */
static cm3_status put_pieces(cm3_packer *packer, const cm3_block *block, int32_t *out) {
    cm3_document *document = &packer->document;
    for (size_t i = 0; i < block->pieces.count; i++) {
        const cm3_piece *piece = &block->pieces.items[i];
        CM3_TRY(cm3_store_read(packer->store, piece->index, piece->segments, document));
        CM3_TRY(cm3_document_render_range(document, packer->vocab, piece->tokens, out));
        out += cm3_range_length(piece->tokens);
    }
    return CM3_OK;
}

cm3_status cm3_slot_next(cm3_packer *packer, int64_t slot, cm3_cursor *cursor, cm3_block *block) {
    cm3_cursor next = *cursor;
    CM3_TRY(plan_block(packer, slot, &next, block));
    CM3_TRY(put_pieces(packer, block, block->masks.count ? packer->source : block->ids));
    if (block->masks.count) cm3_mask_spans_apply(&block->masks, packer->vocab, packer->source, block->ids);
    *cursor = next;
    return CM3_OK;
}

/* --- validation samples ------------------------------------------------------------------------------------------ */

/* Fills validation_ends. */
static cm3_status measure_samples(cm3_packer *packer, int64_t count) {
    int64_t total = 0;
    for (int64_t i = 0; i < count; i++) {
        CM3_TRY(cm3_store_lengths(packer->store, cm3_store_validation(packer->store, i), &packer->document));
        packer->validation_ends[i] = total += cm3_document_size(&packer->document);
    }
    return CM3_OK;
}

/* Where the block that begins at token `begin` ends: full, or before the first document that it would have to cut. */
static int64_t validation_end(const cm3_packer *packer, int64_t count, int64_t begin, int64_t *sample) {
    const int64_t tokens = packer->validation_ends[count - 1];
    const int64_t full = begin + packer->length < tokens ? begin + packer->length : tokens;
    int64_t whole = begin;
    while (*sample < count && packer->validation_ends[*sample] <= full) whole = packer->validation_ends[(*sample)++];
    return packer->config->keep_documents_whole && whole > begin ? whole : full;
}

/* A block that ends inside a document shares a token with the next, so that every token of it is a target. */
static cm3_status cut_validation(cm3_packer *packer, int64_t count) {
    const int64_t tokens = packer->validation_ends[count - 1];
    int64_t sample = 0, begin = 0;
    while (begin < tokens - 1) {
        const int64_t end = validation_end(packer, count, begin, &sample);
        const bool at_document = sample > 0 && end == packer->validation_ends[sample - 1];
        CM3_TRY(CM3_LIST_PUSH(&packer->validation, (cm3_range){begin, end}));
        if (end == tokens) break;
        begin = packer->config->keep_documents_whole && at_document ? end : end - 1;
    }
    return CM3_OK;
}

static cm3_status lay_out_validation(cm3_packer *packer) {
    const int64_t count = cm3_store_get_info(packer->store)->validation;
    if (packer->validation_ends || count == 0) return CM3_OK;
    packer->validation_ends = malloc((size_t)count * sizeof *packer->validation_ends);
    cm3_status status = packer->validation_ends
                            ? measure_samples(packer, count)
                            : cm3_fail(CM3_ERR_MEMORY, "out of memory for %" PRId64 " validation samples", count);
    if (status == CM3_OK) status = cut_validation(packer, count);
    if (status == CM3_OK) return CM3_OK;
    free(packer->validation_ends);
    packer->validation_ends = NULL;
    packer->validation.count = 0;
    return status;
}

cm3_status cm3_validation_blocks(cm3_packer *packer, int64_t *blocks) {
    CM3_TRY(lay_out_validation(packer));
    *blocks = (int64_t)packer->validation.count;
    return CM3_OK;
}

cm3_status cm3_validation_block(cm3_packer *packer, int64_t number, cm3_block *block) {
    CM3_TRY(lay_out_validation(packer));
    if (number < 0 || number >= (int64_t)packer->validation.count)
        return cm3_fail(CM3_ERR_NOT_FOUND, "validation block %" PRId64 ", expected one of %zu", number,
                        packer->validation.count);
    int64_t at = packer->validation.items[number].begin, sample = 0;
    const int64_t end = packer->validation.items[number].end;
    block->length = end - at;
    block->slot = -1;
    block->number = number;
    block->pieces.count = 0;
    block->masks.drawn = block->masks.count = 0;
    block->masks.whole = false;
    block->masks.source = block->length;
    while (packer->validation_ends[sample] <= at) sample++;
    for (; at < end; sample++) {
        const int64_t start = sample ? packer->validation_ends[sample - 1] : 0;
        const int64_t stop = packer->validation_ends[sample] < end ? packer->validation_ends[sample] : end;
        const int64_t index = cm3_store_validation(packer->store, sample);
        const cm3_range tokens = {at - start, stop - start}, all = {0, INT64_MAX};
        CM3_TRY(CM3_LIST_PUSH(&block->pieces, (cm3_piece){sample, index, tokens, all}));
        at = stop;
    }
    return put_pieces(packer, block, block->ids);
}
