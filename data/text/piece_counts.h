/* The distinct pieces of a corpus and how often each occurs: all that training needs to know of it. */
#ifndef CM3_DATA_TEXT_PIECE_COUNTS_H
#define CM3_DATA_TEXT_PIECE_COUNTS_H

#include "core/list.h"

#include <stddef.h>
#include <stdint.h>

typedef struct cm3__piece_count {
    uint64_t offset; /* into cm3__piece_counts.bytes */
    uint64_t count;
    uint32_t length;
} cm3__piece_count;

/* Starts as all zeros. */
typedef struct cm3__piece_counts {
    CM3_LIST(cm3__piece_count) pieces; /* in order of first appearance */
    CM3_LIST(char) bytes;
    struct cm3__count_slot *slots; /* (mask + 1) */
    uint64_t mask;
} cm3__piece_counts;

/* Counts the pieces of one text. */
cm3_status cm3__piece_counts_add(cm3__piece_counts *counts, const char *text, size_t length);
void cm3__piece_counts_free(cm3__piece_counts *counts);

#endif
