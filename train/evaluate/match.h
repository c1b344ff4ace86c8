/* Nearest images: which of many images does each drawn one look most like?
 *
 * The distance is the sum of squared differences of the bytes (0..255) of all pixels, computed in integers: the answer
 * is exact and the same on every machine, with any number of threads. Images are offered in any number of groups, so
 * that a set need not fit into memory. */
#ifndef CM3_TRAIN_EVALUATE_MATCH_H
#define CM3_TRAIN_EVALUATE_MATCH_H

#include <stdbool.h>
#include <stdint.h>

typedef struct cm3_match {
    int64_t index; /* of the nearest image so far; of equally near ones the one with the lowest index */
    uint64_t distance;
} cm3_match;

/* What every search begins with: no image, at an infinite distance. */
#define CM3_MATCH_NONE ((cm3_match){.index = -1, .distance = UINT64_MAX})

/* Compares `count` drawn images with `images` true ones whose indices are `first`, first + 1, ...; all are `bytes`
 * long. */
void cm3_match_offer(const uint8_t *drawn, int64_t count, const uint8_t *truth, int64_t first, int64_t images,
                     int64_t bytes, cm3_match *best);

/* The sum of squared differences; stops as soon as it is clear that it is above `limit` (UINT64_MAX: never), and then
 * gives some value above. */
uint64_t cm3_image_distance(const uint8_t *a, const uint8_t *b, int64_t bytes, uint64_t limit);

#endif
