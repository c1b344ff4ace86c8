#include "data/text/piece_counts.h"
#include "data/text/bpe_internal.h"
#include "data/text/split.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* Open addressing. The tag, the hash's lower half, finds a slot's new place when the table grows. */
typedef struct cm3__count_slot {
    uint32_t tag;
    uint32_t piece; /* index + 1; 0 if empty */
} count_slot;

void cm3__piece_counts_free(cm3__piece_counts *counts) {
    CM3_LIST_FREE(&counts->pieces);
    CM3_LIST_FREE(&counts->bytes);
    free(counts->slots);
    *counts = (cm3__piece_counts){0};
}

static cm3_status grow_table(cm3__piece_counts *counts) {
    const uint64_t mask = counts->slots ? 2 * counts->mask + 1 : 0xffff;
    count_slot *slots = calloc(mask + 1, sizeof *slots);
    if (!slots) return cm3_fail(CM3_ERR_MEMORY, "tokenizer: out of memory to count %zu pieces", counts->pieces.count);
    for (uint64_t old = 0; counts->slots && old <= counts->mask; old++) {
        if (counts->slots[old].piece == 0) continue;
        uint64_t i = counts->slots[old].tag & mask;
        while (slots[i].piece) i = (i + 1) & mask;
        slots[i] = counts->slots[old];
    }
    free(counts->slots);
    counts->slots = slots;
    counts->mask = mask;
    return CM3_OK;
}

static cm3_status add_new(cm3__piece_counts *counts, const char *piece, size_t length, count_slot *slot, uint32_t tag) {
    if (length > UINT32_MAX / 2 || counts->pieces.count >= UINT32_MAX / 2)
        return cm3_fail(CM3_ERR_SHAPE, "tokenizer: the corpus has too many or too long pieces");
    CM3_TRY(CM3_LIST_PUSH(&counts->pieces, (cm3__piece_count){counts->bytes.count, 1, (uint32_t)length}));
    CM3_TRY(CM3_LIST_APPEND(&counts->bytes, piece, length));
    *slot = (count_slot){tag, (uint32_t)counts->pieces.count};
    return CM3_OK;
}

static cm3_status add_piece(cm3__piece_counts *counts, const char *piece, size_t length) {
    if (counts->pieces.count >= counts->mask / 2) CM3_TRY(grow_table(counts));
    const uint32_t tag = (uint32_t)XXH3_64bits(piece, length);
    for (uint64_t i = tag & counts->mask;; i = (i + 1) & counts->mask) {
        count_slot *slot = &counts->slots[i];
        if (slot->piece == 0) return add_new(counts, piece, length, slot, tag);
        if (slot->tag != tag) continue;
        cm3__piece_count *known = &counts->pieces.items[slot->piece - 1];
        if (known->length == length && memcmp(counts->bytes.items + known->offset, piece, length) == 0) {
            known->count++;
            return CM3_OK;
        }
    }
}

cm3_status cm3__piece_counts_add(cm3__piece_counts *counts, const char *text, size_t length) {
    size_t sizes[CM3_SPLIT_MAX];
    for (size_t pieces, at = 0; (pieces = cm3_split(text + at, length - at, sizes)) > 0;)
        for (size_t i = 0; i < pieces; at += sizes[i++]) CM3_TRY(add_piece(counts, text + at, sizes[i]));
    return CM3_OK;
}
