/* The album of an evaluation: images and captions that a person wants to see, kept in OUT/evaluation so that a page
 * is made without the model.
 *
 *     seen.png, validation.png   three images a pair: true, after the image tokenizer's codes and back, drawn; nothing
 *                                between them
 *     samples.png                several drawings of each of a few captions, one caption a row
 *     album.json                 captions and verdicts, in the order of the images
 *
 * All images are squares of one side. */
#ifndef CM3_TRAIN_EVALUATE_ALBUM_H
#define CM3_TRAIN_EVALUATE_ALBUM_H

#include "data/image/image.h"

#include <stdbool.h>

/* Strings and images are owned by the album. */
typedef struct cm3_album_pair {
    char *caption, *written; /* the true one, and what the model wrote for the image */
    char *nearest;           /* caption of the image nearest to the drawing */
    bool validation, drawn_right, caption_right;
    cm3_image truth, decoded, drawn;
} cm3_album_pair;

typedef struct cm3_album_row {
    char *caption;
    bool validation;
    cm3_image *drawn; /* (album.samples) */
} cm3_album_row;

typedef struct cm3_album {
    int64_t step, side;
    cm3_album_pair *pairs; /* seen ones first */
    int64_t count;
    cm3_album_row *rows;
    int64_t row_count, samples; /* samples: requests of a row */
    double temperature;         /* of the rows' requests */
} cm3_album;

/* Room for so many pairs and rows, all empty. */
cm3_status cm3_album_create(int64_t side, int64_t pairs, int64_t rows, int64_t samples, cm3_album *album);
void cm3_album_free(cm3_album *album); /* safe on a zeroed struct */

cm3_status cm3_album_write(const cm3_album *album, const char *folder);
/* CM3_ERR_NOT_FOUND if there is none, CM3_ERR_FORMAT if its files do not fit together. */
cm3_status cm3_album_read(const char *folder, cm3_album *album);

#endif
