/* A half-open interval of positions: tokens of a document, elements of a buffer, samples of a store. */
#ifndef CM3_CORE_RANGE_H
#define CM3_CORE_RANGE_H

#include <stdint.h>

typedef struct cm3_range {
    int64_t begin, end; /* [begin, end) */
} cm3_range;

static inline int64_t cm3_range_length(cm3_range range) {
    return range.end - range.begin;
}

/* What both hold; empty (begin == end) if they do not meet. */
static inline cm3_range cm3_range_intersect(cm3_range a, cm3_range b) {
    const int64_t begin = a.begin > b.begin ? a.begin : b.begin, end = a.end < b.end ? a.end : b.end;
    return (cm3_range){begin, end > begin ? end : begin};
}

#endif
