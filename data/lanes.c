#include "data/lanes.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct range {
    int64_t begin, end;
} range;

struct cm3_packer {
    const cm3_data_config *config;
    const cm3_vocab *vocab;
    cm3_store *store;
    cm3_mask_config masks;
    int64_t length;      /* of a block: context + 1 */
    int64_t training;    /* samples to train on */
    int64_t codes;       /* of an image */
    int64_t *boundaries; /* (length) of the block that is being made */
    int64_t boundary_count;
    int32_t *source;          /* (length) tokens before masking */
    int32_t *text, *image;    /* numbers of one sample */
    int64_t *validation_ends; /* (validation) tokens up to the end of each validation sample; NULL until asked for */
    range *validation_ranges; /* (validation_blocks) tokens of each block of validation samples */
    int64_t validation_blocks;
};

/* A sample's shape: <eos> TEXT <break> IMAGE <eos>. */
typedef struct shape {
    int64_t text_end;  /* where <break> stands */
    int64_t image_end; /* where the closing <eos> stands */
    int64_t size;
} shape;

static cm3_status sample_shape(cm3_packer *packer, int64_t index, shape *s) {
    int64_t text;
    CM3_TRY(cm3_store_text_count(packer->store, index, &text));
    s->text_end = 1 + text;
    s->image_end = s->text_end + 1 + packer->codes;
    s->size = s->image_end + 1;
    return CM3_OK;
}

cm3_status cm3_packer_new(const cm3_data_config *config, const cm3_vocab *vocab, cm3_store *store,
                          cm3_packer **result) {
    *result = NULL;
    const cm3_store_info *info = cm3_store_get_info(store);
    if (!cm3_hash_equal(info->vocabulary, vocab->fingerprint) ||
        info->image_codebook > vocab->region[CM3_REGION_IMAGE].count ||
        info->text_vocabulary > vocab->region[CM3_REGION_TEXT].count)
        return cm3_fail(CM3_ERR_FORMAT,
                        "%s: made with another vocabulary than the model's; run the tokenize stage again",
                        cm3_store_path(store));
    if (info->samples == info->validation)
        return cm3_fail(CM3_ERR_FORMAT, "%s: all %" PRId64 " samples are validation, none is left to train on",
                        cm3_store_path(store), info->samples);
    cm3_packer *packer = calloc(1, sizeof *packer);
    if (!packer) return cm3_fail(CM3_ERR_MEMORY, "no memory to make blocks");
    *packer = (cm3_packer){.config = config,
                           .vocab = vocab,
                           .store = store,
                           .masks = cm3_data_masks(config),
                           .length = config->context + 1,
                           .training = info->samples - info->validation,
                           .codes = info->image_rows * info->image_columns};
    if (packer->masks.max > vocab->region[CM3_REGION_SENTINEL].count)
        packer->masks.max = vocab->region[CM3_REGION_SENTINEL].count;
    packer->boundaries = malloc((size_t)packer->length * sizeof *packer->boundaries);
    packer->source = malloc((size_t)packer->length * sizeof *packer->source);
    packer->text = malloc((size_t)(info->longest_text + 1) * sizeof *packer->text);
    packer->image = malloc((size_t)packer->codes * sizeof *packer->image);
    if (!packer->boundaries || !packer->source || !packer->text || !packer->image) {
        cm3_packer_free(packer);
        return cm3_fail(CM3_ERR_MEMORY, "no memory to make blocks of %" PRId64 " tokens", config->context + 1);
    }
    *result = packer;
    return CM3_OK;
}

void cm3_packer_free(cm3_packer *packer) {
    if (!packer) return;
    free(packer->boundaries);
    free(packer->source);
    free(packer->text);
    free(packer->image);
    free(packer->validation_ends);
    free(packer->validation_ranges);
    free(packer);
}

cm3_status cm3_block_init(cm3_block *block, const cm3_data_config *config) {
    *block = (cm3_block){.ids = malloc((size_t)(config->context + 1) * sizeof *block->ids)};
    return block->ids ? CM3_OK
                      : cm3_fail(CM3_ERR_MEMORY, "no memory for a block of %" PRId64 " tokens", config->context + 1);
}

void cm3_block_free(cm3_block *block) {
    free(block->ids);
    free(block->pieces);
    *block = (cm3_block){0};
}

/* --- layout: which samples a block holds, and where its boundaries are, from lengths alone ----------------------- */

static cm3_status push_piece(cm3_block *block, cm3_piece piece) {
    if (block->piece_count == block->piece_capacity) {
        const int64_t capacity = block->piece_capacity ? 2 * block->piece_capacity : 16;
        cm3_piece *grown = realloc(block->pieces, (size_t)capacity * sizeof *grown);
        if (!grown) return cm3_fail(CM3_ERR_MEMORY, "no memory for a block of %" PRId64 " samples", capacity);
        block->pieces = grown;
        block->piece_capacity = capacity;
    }
    block->pieces[block->piece_count++] = piece;
    return CM3_OK;
}

/* Notes those boundary tokens of a sample that lie in [begin, end), which begins at `at` in the block. */
static void note_boundaries(cm3_packer *packer, const shape *s, int64_t begin, int64_t end, int64_t at) {
    const int64_t positions[] = {0, s->text_end, s->image_end};
    for (int i = 0; i < 3; i++)
        if (positions[i] >= begin && positions[i] < end)
            packer->boundaries[packer->boundary_count++] = at + positions[i] - begin;
}

/* Which sample of the store stands at a number of the endless list. */
static int64_t index_of(const cm3_packer *packer, int64_t sample) {
    const uint64_t n = (uint64_t)packer->training, g = (uint64_t)sample;
    return cm3_store_training(
        packer->store, (int64_t)cm3_rng_permute((uint64_t)packer->config->seed, CM3_RNG_SHUFFLE, g / n, g % n, n));
}

static bool inside_image(const shape *s, int64_t offset) {
    return offset > s->text_end + 1 && offset < s->image_end;
}

/* Lines up samples from the cursor on until `length` tokens are full, or until the next document would be cut and may
 * not be. `*filled` is set to their tokens. */
static cm3_status lay_out(cm3_packer *packer, cm3_cursor cursor, int64_t length, cm3_block *block, int64_t *filled) {
    int64_t sample = cursor.sample, offset = cursor.offset;
    *filled = block->piece_count = packer->boundary_count = 0;
    while (*filled < length) {
        const int64_t index = index_of(packer, sample);
        shape s;
        CM3_TRY(sample_shape(packer, index, &s));
        if (offset < 0 || offset > s.size)
            return cm3_fail(CM3_ERR_FORMAT, "%s: a lane's cursor points to token %" PRId64 " of a sample of %" PRId64,
                            cm3_store_path(packer->store), offset, s.size);
        if (packer->config->keep_images_whole && *filled == 0 && inside_image(&s, offset)) offset = s.size;
        if (offset < s.size) {
            const int64_t room = length - *filled, end = s.size - offset < room ? s.size : offset + room;
            if (packer->config->keep_documents_whole && *filled > 0 && end < s.size) break;
            note_boundaries(packer, &s, offset, end, *filled);
            CM3_TRY(push_piece(block, (cm3_piece){.sample = sample, .index = index, .begin = offset, .end = end}));
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
        cm3_piece *last = &block->pieces[block->piece_count - 1];
        const int64_t size = last->end - last->begin, cut = extra < size ? extra : size;
        last->end -= cut;
        extra -= cut;
        if (last->end == last->begin) block->piece_count--;
    }
}

/* Samples and spans of the block at the cursor, without tokens; moves the cursor. */
static cm3_status plan_block(cm3_packer *packer, int64_t lane, cm3_cursor *cursor, cm3_block *block) {
    cm3_rng rng =
        cm3_rng_stream((uint64_t)packer->config->seed, CM3_RNG_SPANS, (uint64_t)lane, (uint64_t)cursor->block);
    const int64_t masks =
        packer->config->keep_documents_whole ? 3 * cm3_plan_count(&packer->masks, &rng, packer->length) : 0;
    int64_t filled;
    CM3_TRY(lay_out(packer, *cursor, packer->length - masks, block, &filled));
    cm3_plan_draw(&packer->masks, &rng, packer->length, packer->boundaries, packer->boundary_count, filled,
                  &block->plan);
    trim(block, filled - block->plan.source);
    block->lane = lane;
    block->number = cursor->block;
    block->length = cm3_plan_output(&block->plan);
    const cm3_piece *last = &block->pieces[block->piece_count - 1];
    *cursor = (cm3_cursor){.sample = last->sample, .offset = last->end, .block = cursor->block + 1};
    return CM3_OK;
}

cm3_cursor cm3_lane_start(int64_t lane) {
    return (cm3_cursor){.sample = lane};
}

cm3_status cm3_lane_skip(cm3_packer *packer, int64_t lane, cm3_cursor *cursor, int64_t blocks) {
    cm3_block scratch = {0};
    cm3_status status = CM3_OK;
    for (int64_t i = 0; i < blocks && status == CM3_OK; i++) status = plan_block(packer, lane, cursor, &scratch);
    cm3_block_free(&scratch);
    return status;
}

/* --- tokens ------------------------------------------------------------------------------------------------------ */

/* Writes ids of numbers that stand at [at, at + count) of a sample, as far as the piece holds them. */
static int32_t *put_numbers(int32_t *out, const cm3_piece *piece, int64_t at, const int32_t *numbers, int64_t count,
                            int32_t first) {
    const int64_t begin = piece->begin > at ? piece->begin - at : 0,
                  end = piece->end < at + count ? piece->end - at : count;
    for (int64_t i = begin; i < end; i++) *out++ = first + numbers[i];
    return out;
}

static bool overlaps(const cm3_piece *piece, int64_t begin, int64_t end) {
    return piece->begin < end && begin < piece->end;
}

/* Renders part of a sample; what lies outside the piece is not read. */
static cm3_status put_piece(cm3_packer *packer, const cm3_piece *piece, int32_t **out) {
    const cm3_vocab *vocab = packer->vocab;
    const int32_t zero = 0, eos = cm3_vocab_id(vocab, CM3_REGION_EOS, 0),
                  brk = cm3_vocab_id(vocab, CM3_REGION_BREAK, 0);
    shape s;
    int64_t text_count;
    CM3_TRY(sample_shape(packer, piece->index, &s));
    if (overlaps(piece, 1, s.text_end)) CM3_TRY(cm3_store_text(packer->store, piece->index, packer->text, &text_count));
    if (overlaps(piece, s.text_end + 1, s.image_end))
        CM3_TRY(cm3_store_image(packer->store, piece->index, packer->image));
    *out = put_numbers(*out, piece, 0, &zero, 1, eos);
    *out = put_numbers(*out, piece, 1, packer->text, s.text_end - 1, vocab->region[CM3_REGION_TEXT].first);
    *out = put_numbers(*out, piece, s.text_end, &zero, 1, brk);
    *out =
        put_numbers(*out, piece, s.text_end + 1, packer->image, packer->codes, vocab->region[CM3_REGION_IMAGE].first);
    *out = put_numbers(*out, piece, s.image_end, &zero, 1, eos);
    return CM3_OK;
}

static cm3_status put_pieces(cm3_packer *packer, const cm3_block *block, int32_t *out) {
    for (int64_t i = 0; i < block->piece_count; i++) CM3_TRY(put_piece(packer, &block->pieces[i], &out));
    return CM3_OK;
}

cm3_status cm3_lane_next(cm3_packer *packer, int64_t lane, cm3_cursor *cursor, cm3_block *block) {
    cm3_cursor next = *cursor;
    CM3_TRY(plan_block(packer, lane, &next, block));
    CM3_TRY(put_pieces(packer, block, packer->source));
    cm3_plan_apply(&block->plan, packer->vocab, packer->source, block->ids);
    *cursor = next;
    return CM3_OK;
}

/* --- validation samples ------------------------------------------------------------------------------------------ */

/* Fills validation_ends. */
static cm3_status measure_samples(cm3_packer *packer) {
    const int64_t count = cm3_store_get_info(packer->store)->validation;
    int64_t total = 0;
    for (int64_t i = 0; i < count; i++) {
        shape s;
        CM3_TRY(sample_shape(packer, cm3_store_validation(packer->store, i), &s));
        packer->validation_ends[i] = total += s.size;
    }
    if (total == cm3_validation_tokens(packer)) return CM3_OK;
    return cm3_fail(CM3_ERR_FORMAT,
                    "%s: the token store is damaged: %" PRId64 " validation tokens, its attributes say %" PRId64,
                    cm3_store_path(packer->store), total, cm3_validation_tokens(packer));
}

/* Where the block that begins at token `begin` ends: full, or before the first document that it would have to cut. */
static int64_t validation_end(const cm3_packer *packer, int64_t begin, int64_t *sample) {
    const int64_t count = cm3_store_get_info(packer->store)->validation, tokens = packer->validation_ends[count - 1];
    const int64_t full = begin + packer->length < tokens ? begin + packer->length : tokens;
    int64_t whole = begin;
    while (*sample < count && packer->validation_ends[*sample] <= full) whole = packer->validation_ends[(*sample)++];
    return packer->config->keep_documents_whole && whole > begin ? whole : full;
}

/* A block that ends inside a document shares a token with the next, so that every token of it is a target. */
static void cut_validation(cm3_packer *packer) {
    const int64_t tokens = cm3_validation_tokens(packer);
    int64_t sample = 0, begin = 0;
    while (begin < tokens - 1) {
        const int64_t end = validation_end(packer, begin, &sample);
        const bool at_document = sample > 0 && end == packer->validation_ends[sample - 1];
        packer->validation_ranges[packer->validation_blocks++] = (range){begin, end};
        if (end == tokens) break;
        begin = packer->config->keep_documents_whole && at_document ? end : end - 1;
    }
}

static cm3_status plan_validation(cm3_packer *packer) {
    if (packer->validation_ranges) return CM3_OK;
    const int64_t count = cm3_store_get_info(packer->store)->validation,
                  most = cm3_validation_tokens(packer) / packer->config->context + count + 1;
    packer->validation_ends = malloc((size_t)(count + 1) * sizeof *packer->validation_ends);
    packer->validation_ranges = malloc((size_t)most * sizeof *packer->validation_ranges);
    const cm3_status status = packer->validation_ends && packer->validation_ranges
                                  ? measure_samples(packer)
                                  : cm3_fail(CM3_ERR_MEMORY, "no memory for %" PRId64 " validation samples", count);
    if (status == CM3_OK) {
        if (count) cut_validation(packer);
        return CM3_OK;
    }
    free(packer->validation_ends);
    free(packer->validation_ranges);
    packer->validation_ends = NULL;
    packer->validation_ranges = NULL;
    return status;
}

int64_t cm3_validation_tokens(const cm3_packer *packer) {
    const cm3_store_info *info = cm3_store_get_info(packer->store);
    return info->validation_text_tokens + info->validation * (packer->codes + 3);
}

cm3_status cm3_validation_blocks(cm3_packer *packer, int64_t *blocks) {
    CM3_TRY(plan_validation(packer));
    *blocks = packer->validation_blocks;
    return CM3_OK;
}

cm3_status cm3_validation_block(cm3_packer *packer, int64_t number, cm3_block *block) {
    CM3_TRY(plan_validation(packer));
    if (number < 0 || number >= packer->validation_blocks)
        return cm3_fail(CM3_ERR_NOT_FOUND, "validation block %" PRId64 ", expected one of %" PRId64, number,
                        packer->validation_blocks);
    int64_t at = packer->validation_ranges[number].begin, sample = 0;
    const int64_t end = packer->validation_ranges[number].end;
    block->length = end - at;
    block->lane = -1;
    block->number = number;
    block->piece_count = 0;
    block->plan.drawn = block->plan.count = 0;
    block->plan.whole = false;
    block->plan.source = block->length;
    while (packer->validation_ends[sample] <= at) sample++;
    for (; at < end; sample++) {
        const int64_t start = sample ? packer->validation_ends[sample - 1] : 0;
        const int64_t stop = packer->validation_ends[sample] < end ? packer->validation_ends[sample] : end;
        CM3_TRY(push_piece(block, (cm3_piece){.sample = sample,
                                              .index = cm3_store_validation(packer->store, sample),
                                              .begin = at - start,
                                              .end = stop - start}));
        at = stop;
    }
    return put_pieces(packer, block, block->ids);
}
