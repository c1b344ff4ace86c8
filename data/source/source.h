/* Sources: where raw image-text pairs come from.
 *
 * A source is a fixed, ordered list of pairs that any stage may read, any number of times, in any order, from any
 * number of threads. Nothing is copied first: opening only indexes, images are decoded when they are asked for. The
 * same settings over the same data give the same pairs under the same numbers.
 *
 *     cm3_source *source;
 *     CM3_TRY(cm3_source_open(&config, &source));
 *     for (int64_t i = 0; i < cm3_source_count(source); i++) {
 *         cm3_pair pair;
 *         CM3_TRY_GOTO(status, out, cm3_source_read(source, i, &pair));
 *         ...
 *         cm3_pair_free(&pair);
 *     }
 *
 * Kinds:
 *   emoji   the colour emoji of Debian's packages fonts-noto-color-emoji and unicode-data with their English names:
 *           some 3,600 pairs of 136 x 128 pixels. `path` may name another root than /usr/share.
 *   folder  a folder of images with, beside each x.jpg, its caption in x.txt; or with one metadata.jsonl whose lines
 *           hold "file_name" and "text" (Hugging Face's imagefolder). Subfolders are read too.
 *   jsonl   a file of JSON objects, one a line, holding the caption and an image's path relative to the file.
 *
 * Every caption is valid UTF-8 without NUL, and not empty. */
#ifndef CM3_DATA_SOURCE_SOURCE_H
#define CM3_DATA_SOURCE_SOURCE_H

#include "core/config.h"
#include "data/image/image.h"

typedef enum cm3_source_kind { CM3_SOURCE_EMOJI, CM3_SOURCE_FOLDER, CM3_SOURCE_JSONL } cm3_source_kind;

/* A zeroed struct is valid (all emoji, at their own size, no validation split); NULL strings count as empty. */
typedef struct cm3_source_config {
    int kind; /* cm3_source_kind */
    char *path;
    int64_t image_size; /* pixels of the square; 0: each image keeps its size and its alpha */
    int fit;            /* cm3_fit */
    char *background;   /* colour under transparent pixels and of padding; empty is white */
    double validation;  /* share of the pairs, 0..1 */
    int64_t seed;       /* of the split */
    cm3_string_list groups;
    cm3_string_list filter;
    int64_t limit;                  /* keep only this many, the first; 0: all */
    char *text_field, *image_field; /* of JSON lines; empty: "text", and "image" or "file_name" */
} cm3_source_config;

extern const cm3_field cm3_source_fields[];
/* Reports combinations that cannot be, as faults of the recipe's section `section`. */
void cm3_source_check(const cm3_source_config *config, const char *section, cm3_faults *faults);

/* Training never sees a validation pair; evaluation reports on them apart.
 *
 * Emoji: the validation pairs are combinations of one person and one skin tone, about `validation` of them, while every
 * person keeps at least two tones in training and every tone half of its persons; a name without a tone
 * is always trained on.
 * Other sources: a random share of the images (all captions of one image fall on the same side). */
typedef enum cm3_split { CM3_SPLIT_TRAIN, CM3_SPLIT_VALIDATION } cm3_split;

typedef struct cm3_pair {
    char *text; /* NUL-terminated UTF-8 */
    size_t text_length;
    cm3_image image;
    char *name;   /* unique in the source, for messages and pages: a file, file:line, code points */
    char *origin; /* where it comes from: a package, a line's field "origin"; or empty */
    cm3_split split;
} cm3_pair;

void cm3_pair_free(cm3_pair *pair);

typedef struct cm3_source cm3_source;

/* Indexes the data. CM3_ERR_NOT_FOUND if something is missing (for emoji the message names the Debian package),
 * CM3_ERR_FORMAT if it is broken or no pair is left, CM3_ERR_RECIPE if the settings name what does not exist. */
cm3_status cm3_source_open(const cm3_source_config *config, cm3_source **source);
void cm3_source_close(cm3_source *source); /* NULL is fine */

int64_t cm3_source_count(const cm3_source *source);
/* All of a pair, its image fitted to image_size. Thread-safe. On failure *pair is zeroed; the message names it. */
cm3_status cm3_source_read(const cm3_source *source, int64_t index, cm3_pair *pair);
/* All but the image, which is not read. Thread-safe. */
cm3_status cm3_source_label(const cm3_source *source, int64_t index, cm3_pair *pair);
/* The caption alone; the caller frees *text. Thread-safe. */
cm3_status cm3_source_text(const cm3_source *source, int64_t index, char **text, size_t *length);
cm3_split cm3_source_split(const cm3_source *source, int64_t index);

#endif
