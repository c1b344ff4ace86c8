/* The album of an evaluation: images and captions that a person wants to see, kept in OUT/evaluation so that the
 * report is made without the model.
 *
 *     seen.png, validation.png   three images a pair, without gaps: the true one, the true one decoded from its codes,
 *                                the generated one
 *     samples.png                several images generated for each of a few captions, one caption a row
 *     album.json                 captions and verdicts, in the order of the images
 *
 * All images are squares of one side. */
#ifndef CM3_TRAIN_EVALUATE_ALBUM_H
#define CM3_TRAIN_EVALUATE_ALBUM_H

#include "data/image/image.h"

#include <stdbool.h>

enum { CM3_ALBUM_TRUE, CM3_ALBUM_DECODED, CM3_ALBUM_GENERATED, CM3_ALBUM_OF_PAIR };

/* The album owns its strings and images. */
typedef struct cm3_album_pair {
    char *caption;         /* the true one */
    char *model_caption;   /* what the model generated for the image */
    char *nearest_caption; /* of the image that is nearest to the generated one */
    bool validation, image_right, caption_right;
} cm3_album_pair;

typedef struct cm3_album_row {
    char *caption;
    bool validation;
} cm3_album_row;

typedef struct cm3_album {
    int64_t step, side;
    int64_t count;
    cm3_album_pair *pairs; /* (count), seen ones first */
    cm3_image *images;     /* (count, CM3_ALBUM_OF_PAIR) */
    int64_t row_count, samples;
    cm3_album_row *rows;   /* (row_count) */
    cm3_image *row_images; /* (row_count, samples) */
    double temperature;    /* of the rows' images */
} cm3_album;

/* Room for so many pairs and rows, all empty. */
cm3_status cm3_album_create(int64_t side, int64_t pairs, int64_t rows, int64_t samples, cm3_album *album);
void cm3_album_free(cm3_album *album); /* safe on a zeroed struct */
int64_t cm3_album_seen(const cm3_album *album); /* how many pairs are seen ones */

cm3_status cm3_album_write(const cm3_album *album, const char *folder);
/* CM3_ERR_NOT_FOUND if there is none, CM3_ERR_FORMAT if its files do not fit together. */
cm3_status cm3_album_read(const char *folder, cm3_album *album);

#endif
