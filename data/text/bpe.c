/* The tokenizer itself: its tables, and tokens back to bytes. */
#include "data/text/bpe_internal.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

void cm3__bpe_alphabet(uint16_t code_points[256]) {
    uint16_t next = 256;
    for (unsigned byte = 0; byte < 256; byte++) {
        const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
        code_points[byte] = printable ? (uint16_t)byte : next++;
    }
}

cm3_status cm3__bpe_create(size_t size, cm3_bpe **out) {
    *out = NULL;
    cm3_bpe *bpe = calloc(1, sizeof *bpe);
    if (bpe) bpe->tokens = calloc(size ? size : 1, sizeof *bpe->tokens);
    if (!bpe || !bpe->tokens) {
        cm3_bpe_free(bpe);
        return cm3_fail(CM3_ERR_MEMORY, "tokenizer: out of memory for %zu tokens", size);
    }
    bpe->size = size;
    *out = bpe;
    return CM3_OK;
}

void cm3_bpe_free(cm3_bpe *bpe) {
    if (!bpe) return;
    free(bpe->tokens);
    CM3_LIST_FREE(&bpe->bytes);
    CM3_LIST_FREE(&bpe->merges);
    free(bpe->pairs);
    free(bpe->pieces);
    free(bpe);
}

/* --- building ---------------------------------------------------------------------------------------------------- */

uint64_t cm3__table_mask(size_t count) {
    uint64_t slots = 16;
    while (slots < 2 * (uint64_t)count) slots *= 2;
    return slots - 1;
}

cm3_status cm3__bpe_set_token(cm3_bpe *bpe, int32_t id, const char *bytes, size_t length, uint32_t kind) {
    if (length > UINT32_MAX / 2) return cm3_fail(CM3_ERR_FORMAT, "tokenizer: token %d is too long", id);
    const size_t offset = bpe->bytes.count;
    CM3_TRY(CM3_LIST_APPEND(&bpe->bytes, bytes, length));
    bpe->tokens[id] = (cm3__token){offset, (uint32_t)length, kind};
    return CM3_OK;
}

cm3_status cm3__bpe_set_joined_token(cm3_bpe *bpe, int32_t id, int32_t left, int32_t right) {
    const cm3__token a = bpe->tokens[left], b = bpe->tokens[right];
    const size_t length = (size_t)a.length + b.length;
    if (length > UINT32_MAX / 2) return cm3_fail(CM3_ERR_FORMAT, "tokenizer: token %d is too long", id);
    CM3_TRY(CM3_LIST_RESERVE(&bpe->bytes, length));
    char *joined = bpe->bytes.items + bpe->bytes.count;
    memcpy(joined, bpe->bytes.items + a.offset, a.length);
    memcpy(joined + a.length, bpe->bytes.items + b.offset, b.length);
    bpe->tokens[id] = (cm3__token){bpe->bytes.count, (uint32_t)length, CM3__TOKEN_MODEL};
    bpe->bytes.count += length;
    return CM3_OK;
}

cm3_status cm3__bpe_add_merge(cm3_bpe *bpe, int32_t left, int32_t right, int32_t result) {
    if (bpe->merges.count >= CM3__NO_RANK)
        return cm3_fail(CM3_ERR_UNSUPPORTED, "tokenizer: more than %u merges", CM3__NO_RANK);
    return CM3_LIST_PUSH(&bpe->merges, (cm3__merge){left, right, result});
}

static cm3_status build_pairs(cm3_bpe *bpe) {
    bpe->pair_mask = cm3__table_mask(bpe->merges.count);
    bpe->pairs = malloc((bpe->pair_mask + 1) * sizeof *bpe->pairs);
    if (!bpe->pairs) return cm3_fail(CM3_ERR_MEMORY, "tokenizer: out of memory for %zu merges", bpe->merges.count);
    for (uint64_t i = 0; i <= bpe->pair_mask; i++) bpe->pairs[i] = CM3__EMPTY;
    for (size_t rank = 0; rank < bpe->merges.count; rank++) {
        const uint64_t pair = cm3__pair_of(bpe->merges.items[rank].left, bpe->merges.items[rank].right);
        uint64_t i = cm3__mix(pair) & bpe->pair_mask;
        while (bpe->pairs[i] != CM3__EMPTY && bpe->pairs[i] >> CM3__RANK_BITS != pair) i = (i + 1) & bpe->pair_mask;
        bpe->pairs[i] = pair << CM3__RANK_BITS | rank; /* of a pair that comes twice, the last counts */
    }
    return CM3_OK;
}

cm3_status cm3__bpe_clear_pieces(cm3_bpe *bpe) {
    free(bpe->pieces);
    bpe->piece_mask = cm3__table_mask(bpe->size);
    bpe->pieces = malloc((bpe->piece_mask + 1) * sizeof *bpe->pieces);
    if (!bpe->pieces) return cm3_fail(CM3_ERR_MEMORY, "tokenizer: out of memory for %zu tokens", bpe->size);
    for (uint64_t i = 0; i <= bpe->piece_mask; i++) bpe->pieces[i] = (cm3__piece_slot){0, -1};
    return CM3_OK;
}

void cm3__bpe_add_piece(cm3_bpe *bpe, int32_t id) {
    const cm3__token token = bpe->tokens[id];
    const uint64_t hash = XXH3_64bits(bpe->bytes.items + token.offset, token.length);
    uint64_t i = hash & bpe->piece_mask;
    while (bpe->pieces[i].id >= 0) i = (i + 1) & bpe->piece_mask;
    bpe->pieces[i] = (cm3__piece_slot){(uint32_t)(hash >> 32), id};
}

/* A token is found as a whole piece only if its bytes really merge into it. */
static cm3_status build_pieces(cm3_bpe *bpe) {
    CM3_TRY(cm3__bpe_clear_pieces(bpe));
    cm3__merge_scratch scratch = {0};
    cm3_status status = CM3_OK;
    for (size_t id = 0; id < bpe->size && status == CM3_OK; id++) {
        const cm3__token token = bpe->tokens[id];
        if (!(token.kind & CM3__TOKEN_MODEL) || token.length == 0) continue;
        const int32_t *ids = NULL;
        size_t count = 0;
        if (!bpe->ignore_merges)
            status = cm3__bpe_merge(bpe, &scratch, bpe->bytes.items + token.offset, token.length, &ids, &count);
        if (bpe->ignore_merges || (status == CM3_OK && count == 1 && ids[0] == (int32_t)id))
            cm3__bpe_add_piece(bpe, (int32_t)id);
    }
    CM3_LIST_FREE(&scratch);
    return status;
}

cm3_status cm3__bpe_finish(cm3_bpe *bpe) {
    for (int byte = 0; byte < 256; byte++) bpe->byte_ids[byte] = -1;
    for (size_t id = 0; id < bpe->size; id++) {
        const cm3__token token = bpe->tokens[id];
        if ((token.kind & CM3__TOKEN_MODEL) && token.length == 1)
            bpe->byte_ids[(unsigned char)bpe->bytes.items[token.offset]] = (int32_t)id;
    }
    for (int byte = 0; byte < 256; byte++)
        if (bpe->byte_ids[byte] < 0)
            return cm3_fail(CM3_ERR_FORMAT, "no token for byte 0x%02x, expected all 256", byte);
    CM3_TRY(build_pairs(bpe));
    return build_pieces(bpe);
}

int32_t cm3__bpe_find_piece(const cm3_bpe *bpe, const char *piece, size_t length) {
    const uint64_t hash = XXH3_64bits(piece, length);
    for (uint64_t i = hash & bpe->piece_mask; bpe->pieces[i].id >= 0; i = (i + 1) & bpe->piece_mask) {
        if (bpe->pieces[i].tag != (uint32_t)(hash >> 32)) continue;
        const cm3__token token = bpe->tokens[bpe->pieces[i].id];
        if (token.length == length && memcmp(bpe->bytes.items + token.offset, piece, length) == 0)
            return bpe->pieces[i].id;
    }
    return -1;
}

/* --- what the tokenizer holds ------------------------------------------------------------------------------------ */

size_t cm3_bpe_size(const cm3_bpe *bpe) {
    return bpe->size;
}

static bool is_token(const cm3_bpe *bpe, int32_t id) {
    return id >= 0 && (size_t)id < bpe->size && bpe->tokens[id].kind != CM3__TOKEN_GAP;
}

/* Each part is hashed with the hash so far as its seed. */
uint64_t cm3_bpe_fingerprint(const cm3_bpe *bpe) {
    uint64_t hash = bpe->ignore_merges;
    for (size_t id = 0; id < bpe->size; id++) {
        const cm3__token token = bpe->tokens[id];
        const uint32_t head[2] = {htole32(token.length), htole32(token.kind)};
        hash = XXH3_64bits_withSeed(head, sizeof head, hash);
        if (token.length) hash = XXH3_64bits_withSeed(bpe->bytes.items + token.offset, token.length, hash);
    }
    for (size_t rank = 0; rank < bpe->merges.count; rank++) {
        const cm3__merge merge = bpe->merges.items[rank];
        const uint32_t row[3] = {htole32((uint32_t)merge.left), htole32((uint32_t)merge.right),
                                 htole32((uint32_t)merge.result)};
        hash = XXH3_64bits_withSeed(row, sizeof row, hash);
    }
    return hash;
}

/* --- decoding ---------------------------------------------------------------------------------------------------- */

cm3_status cm3_bpe_decode(const cm3_bpe *bpe, const int32_t *ids, size_t count, char *text, size_t capacity,
                          size_t *length) {
    size_t used = 0;
    *length = 0;
    for (size_t i = 0; i < count; i++) {
        if (!is_token(bpe, ids[i]))
            return cm3_fail(CM3_ERR_FORMAT, "id %d at position %zu is no token of this tokenizer of %zu", ids[i], i,
                            bpe->size);
        const cm3__token token = bpe->tokens[ids[i]];
        if (used <= capacity && token.length <= capacity - used && token.length)
            memcpy(text + used, bpe->bytes.items + token.offset, token.length);
        used += token.length;
    }
    *length = used;
    if (capacity && used > capacity)
        return cm3_fail(CM3_ERR_SHAPE, "the text of %zu ids is %zu bytes, room is for %zu", count, used, capacity);
    return CM3_OK;
}
