/* Pictures of a source as training wants them: squares of numbers in [-1, 1], in an order that is a function of the
 * step.
 *
 * The training pictures of all epochs form one endless list, element g mod N of epoch g / N's permutation, like the
 * samples of a token store (lanes.h). Decoded pictures are kept in memory up to a limit. */
#ifndef CM3_DATA_PICTURES_H
#define CM3_DATA_PICTURES_H

#include "data/source/source.h"

typedef struct cm3_pictures_config {
    int64_t batch;  /* pictures of a step, over all ranks */
    int64_t memory; /* MiB of decoded pictures that are kept */
    int64_t seed;   /* of their order */
} cm3_pictures_config;

extern const cm3_field cm3_pictures_fields[];

typedef struct cm3_pictures cm3_pictures;

/* The source must have image_size set, and outlive the pictures. One thread at a time uses them. */
cm3_status cm3_pictures_open(const cm3_source *source, int64_t side, int64_t memory_mib, cm3_pictures **pictures);
void cm3_pictures_close(cm3_pictures *pictures);

/* How many of a split there are, and the index in the source of the k-th. */
int64_t cm3_pictures_count(const cm3_pictures *pictures, cm3_split split);
int64_t cm3_pictures_index(const cm3_pictures *pictures, cm3_split split, int64_t k);

/* Picture `index` of the source as (side, side, 3) floats. */
cm3_status cm3_pictures_get(cm3_pictures *pictures, int64_t index, float *pixels);
/* Index in the source of element `number` of the endless list. */
int64_t cm3_pictures_order(const cm3_pictures *pictures, uint64_t seed, int64_t number);

#endif
