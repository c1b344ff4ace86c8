/* The nearest of a set of names to one that was mistyped, by edit distance (insert, delete, replace, swap two). */
#ifndef CM3_CORE_NAMES_H
#define CM3_CORE_NAMES_H

#include <stddef.h>

/* Offer every candidate, then read `best`: NULL if none is near enough to be what was meant.
 *
 *     cm3_nearest nearest = cm3_nearest_to(typed, strlen(typed));
 *     for (...) cm3_nearest_offer(&nearest, candidate);
 *     if (nearest.best) printf("; did you mean %s?", nearest.best);
 */
typedef struct cm3_nearest {
    const char *name;
    size_t length;
    const char *best;
    unsigned distance; /* of best; before the first: one more than is still near */
} cm3_nearest;

cm3_nearest cm3_nearest_to(const char *name, size_t length);
void cm3_nearest_offer(cm3_nearest *nearest, const char *candidate);

/* Names longer than 63 bytes are infinitely far (UINT_MAX). */
unsigned cm3_edit_distance(const char *a, size_t a_length, const char *b, size_t b_length);

#endif
