/* Merging the bytes of one piece into tokens, pair by pair of lowest rank. */
#include "data/text/bpe_internal.h"

#include <stdlib.h>
#include <string.h>

/* Up to this many bytes the lowest rank is found by looking at all of them: a dozen numbers in a row are faster than
 * any queue. Longer pieces use a heap, so that a text without a single space takes n log n steps, not n squared. */
#define SHORT_PIECE 64

static uint32_t rank_of(const cm3_bpe *bpe, int32_t left, int32_t right) {
    const uint64_t pair = cm3__pair_of(left, right);
    for (uint64_t i = cm3__mix(pair) & bpe->pair_mask;; i = (i + 1) & bpe->pair_mask) {
        const uint64_t slot = bpe->pairs[i];
        if (slot >> CM3__RANK_BITS == pair || slot == CM3__EMPTY) return (uint32_t)slot & CM3__NO_RANK;
    }
}

/* ids (length) -> ids (returned count); ranks (length) is the rank of each pair, by the place of its left id. */
static size_t merge_short(const cm3_bpe *bpe, int32_t *ids, uint32_t *ranks, size_t length) {
    size_t count = length;
    for (size_t i = 0; i + 1 < count; i++) ranks[i] = rank_of(bpe, ids[i], ids[i + 1]);
    while (count > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < count; i++) best = ranks[i] < ranks[best] ? i : best;
        if (ranks[best] == CM3__NO_RANK) break;
        ids[best] = bpe->merges.items[ranks[best]].result;
        count--;
        for (size_t i = best + 1; i < count; i++) {
            ids[i] = ids[i + 1];
            ranks[i - 1] = ranks[i];
        }
        if (best > 0) ranks[best - 1] = rank_of(bpe, ids[best - 1], ids[best]);
        if (best + 1 < count) ranks[best] = rank_of(bpe, ids[best], ids[best + 1]);
    }
    return count;
}

/* --- long pieces: a linked list of ids and a heap of rank << 32 | place ------------------------------------------ */

typedef struct heap {
    uint64_t *entries;
    size_t count;
} heap;

static void heap_push(heap *h, uint64_t entry) {
    size_t i = h->count++;
    for (; i > 0 && h->entries[(i - 1) / 2] > entry; i = (i - 1) / 2) h->entries[i] = h->entries[(i - 1) / 2];
    h->entries[i] = entry;
}

static uint64_t heap_pop(heap *h) {
    const uint64_t top = h->entries[0], last = h->entries[--h->count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < h->count; i = child) {
        if (child + 1 < h->count && h->entries[child + 1] < h->entries[child]) child++;
        if (h->entries[child] >= last) break;
        h->entries[i] = h->entries[child];
    }
    h->entries[i] = last;
    return top;
}

typedef struct long_piece {
    int32_t *ids;             /* by place, that of an id's first byte */
    uint32_t *ranks;          /* of the pair that starts here; NO_RANK where an id was merged away */
    uint32_t *before, *after; /* the neighbours' places */
    heap queue; /* may hold entries that a later merge has outdated: their rank is no longer ranks[place] */
} long_piece;

static void rank_pair(const cm3_bpe *bpe, long_piece *p, uint32_t left, size_t length) {
    const uint32_t right = p->after[left];
    p->ranks[left] = right < length ? rank_of(bpe, p->ids[left], p->ids[right]) : CM3__NO_RANK;
    if (p->ranks[left] != CM3__NO_RANK) heap_push(&p->queue, (uint64_t)p->ranks[left] << 32 | left);
}

static size_t merge_long(const cm3_bpe *bpe, long_piece *p, size_t length) {
    for (size_t i = 0; i < length; i++) {
        p->before[i] = (uint32_t)i - 1;
        p->after[i] = (uint32_t)i + 1;
        rank_pair(bpe, p, (uint32_t)i, length);
    }
    while (p->queue.count > 0) {
        const uint64_t entry = heap_pop(&p->queue);
        const uint32_t left = (uint32_t)entry, rank = (uint32_t)(entry >> 32);
        if (p->ranks[left] != rank) continue;
        const uint32_t gone = p->after[left], next = p->after[gone];
        p->ids[left] = bpe->merges.items[rank].result;
        p->ranks[gone] = CM3__NO_RANK;
        p->after[left] = next;
        if (next < length) p->before[next] = left;
        rank_pair(bpe, p, left, length);
        if (left > 0) rank_pair(bpe, p, p->before[left], length);
    }
    size_t count = 0;
    for (size_t i = 0; i < length; i = p->after[i]) p->ids[count++] = p->ids[i];
    return count;
}

/* --- both -------------------------------------------------------------------------------------------------------- */

cm3_status cm3__bpe_merge(const cm3_bpe *bpe, cm3__merge_scratch *scratch, const char *piece, size_t length,
                          const int32_t **ids, size_t *count) {
    if (length > UINT32_MAX / 2)
        return cm3_fail(CM3_ERR_UNSUPPORTED, "a piece of %zu bytes is too long to encode", length);
    /* heap: each pair once, and at most two more entries for each merge */
    const size_t queue = 3 * length * sizeof(uint64_t), array = length * sizeof(int32_t);
    const size_t bytes = length <= SHORT_PIECE ? 2 * SHORT_PIECE * sizeof(int32_t) : queue + 4 * array;
    CM3_TRY(CM3_LIST_RESERVE(scratch, bytes));

    char *memory = scratch->items;
    if (length <= SHORT_PIECE) {
        int32_t *symbols = (int32_t *)memory;
        for (size_t i = 0; i < length; i++) symbols[i] = bpe->byte_ids[(unsigned char)piece[i]];
        *count = merge_short(bpe, symbols, (uint32_t *)memory + SHORT_PIECE, length);
        *ids = symbols;
        return CM3_OK;
    }
    uint32_t *arrays = (uint32_t *)(memory + queue);
    long_piece p = {.ids = (int32_t *)arrays,
                    .ranks = arrays + length,
                    .before = arrays + 2 * length,
                    .after = arrays + 3 * length,
                    .queue = {(uint64_t *)memory, 0}};
    for (size_t i = 0; i < length; i++) p.ids[i] = bpe->byte_ids[(unsigned char)piece[i]];
    *count = merge_long(bpe, &p, length);
    *ids = p.ids;
    return CM3_OK;
}
