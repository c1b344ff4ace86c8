/* Images of a source as training wants them: squares of numbers in [-1, 1], in an order that is a function of the
 * step.
 *
 * The training images of all epochs form an endless list (endless_list.h), like the samples of a token store. Decoded
 * images are kept in memory up to a limit. */
#ifndef CM3_DATA_IMAGE_BATCHES_H
#define CM3_DATA_IMAGE_BATCHES_H

#include "data/source/source.h"

typedef struct cm3_images_config {
    int64_t batch;  /* images of a step, over all ranks */
    int64_t memory; /* MiB of decoded images that are kept */
    int64_t seed;   /* of their order */
} cm3_images_config;

extern const cm3_field cm3_images_fields[];

typedef struct cm3_images cm3_images;

/* The source must have image_size set, and outlive the images. One thread at a time uses them. */
cm3_status cm3_images_open(const cm3_source *source, int64_t side, int64_t memory_mib, cm3_images **images);
void cm3_images_close(cm3_images *images);

/* How many of a split there are, and the index in the source of the k-th. */
int64_t cm3_images_count(const cm3_images *images, cm3_split split);
int64_t cm3_images_index(const cm3_images *images, cm3_split split, int64_t k);

/* Image `index` of the source as (side, side, 3) floats. */
cm3_status cm3_images_get(cm3_images *images, int64_t index, float *pixels);
/* Index in the source of element `number` of the endless list. */
int64_t cm3_images_order(const cm3_images *images, int64_t seed, int64_t number);

#endif
