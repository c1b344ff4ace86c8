/* Images: decoding, resizing, writing.
 *
 * An image is 8-bit sRGB, rows from the top, the channels of a pixel side by side: (height, width, channels), with
 * nothing between rows. Three channels are red, green, blue; the fourth is straight (not premultiplied) alpha.
 *
 * Sources deliver images of any size; a model wants squares of one size without alpha, as numbers in [-1, 1]:
 * decode -> flatten -> fit -> to_float. */
#ifndef CM3_DATA_IMAGE_IMAGE_H
#define CM3_DATA_IMAGE_IMAGE_H

#include "core/status.h"

#include <stddef.h>
#include <stdint.h>

enum {
    CM3_IMAGE_SIDE_MAX = 32768,      /* pixels; what claims more is refused before anything is allocated */
    CM3_IMAGE_PIXELS_MAX = 1 << 27,  /* width x height */
    CM3_IMAGE_BYTES_MAX = 256 << 20, /* of an encoded image */
};

typedef struct cm3_image {
    int width, height;
    int channels;    /* 3 or 4 */
    uint8_t *pixels; /* (height, width, channels), owned */
} cm3_image;

typedef struct cm3_colour {
    uint8_t red, green, blue;
} cm3_colour;

typedef enum cm3_fit {
    CM3_FIT_CROP,    /* the largest centred square: nothing is distorted, the ends of the longer side are lost */
    CM3_FIT_PAD,     /* the whole image, centred on a background: nothing is lost */
    CM3_FIT_STRETCH, /* the whole image, its aspect ratio lost */
} cm3_fit;
extern const char *const cm3_fit_names[]; /* the words of a recipe, NULL at the end */

/* An image of uninitialised pixels. CM3_ERR_SHAPE for sizes out of range. */
cm3_status cm3_image_create(int width, int height, int channels, cm3_image *image);
/* The same for what a file claims: sizes out of range are that file's fault, CM3_ERR_FORMAT. */
cm3_status cm3_image_create_for(const char *name, int64_t width, int64_t height, int channels, cm3_image *image);
void cm3_image_fill(cm3_image *image, cm3_colour colour); /* opaque */
/* Safe on a zeroed and on an already freed image. */
void cm3_image_free(cm3_image *image);
size_t cm3_image_size(const cm3_image *image); /* in bytes */

/* Decodes a JPEG, PNG or WebP file held in memory; its first bytes tell which. 4 channels if the file has an alpha
 * channel, else 3; grey and palette images become RGB, 16 bits become 8; a JPEG's EXIF orientation is applied.
 *
 * `least`: if both sides stay at least this long, a JPEG is decoded at 1/2, 1/4 or 1/8 of its size, which is several
 * times cheaper than decoding it whole and shrinking it; 0 asks for the full size.
 *
 * `name` stands for the image in messages. CM3_ERR_UNSUPPORTED for another format; CM3_ERR_FORMAT for anything wrong
 * in the file, above all an image cut short (decoders would rather fill the rest with grey). */
cm3_status cm3_image_decode(const void *bytes, size_t length, const char *name, int least, cm3_image *image);
/* Reads and decodes a file. CM3_ERR_NOT_FOUND if it does not exist. */
cm3_status cm3_image_read(const char *path, int least, cm3_image *image);

/* The name of the filter: images resized with another give other codes. */
#define CM3_IMAGE_RESIZE "bicubic"

/* Antialiased bicubic resampling (Keys' kernel with a = -0.5, stretched by the factor when shrinking), the arithmetic
 * of Pillow's resize(..., BICUBIC). With alpha, colours are weighted by it, so that hidden ones do not bleed. */
cm3_status cm3_image_resize(const cm3_image *image, int width, int height, cm3_image *out);

/* Makes the image a square of `size` pixels. `background` fills what CM3_FIT_PAD adds. */
cm3_status cm3_image_fit(const cm3_image *image, int size, cm3_fit fit, cm3_colour background, cm3_image *out);

/* Lays the image over a background in place: afterwards it has 3 channels. Does nothing without alpha. */
void cm3_image_flatten(cm3_image *image, cm3_colour background);

/* "#rrggbb", "black", "grey" or "white". CM3_ERR_USAGE names what was found. */
cm3_status cm3_colour_parse(const char *text, cm3_colour *colour);

/* (height, width, channels) in [-1, 1]: x / 127.5 - 1. Back: clamped and rounded to nearest, NaN becomes mid grey. */
void cm3_image_to_float(const cm3_image *image, float *values);
cm3_status cm3_image_from_float(const float *values, int width, int height, int channels, cm3_image *image);

/* Encodes as PNG; the caller frees *bytes. */
cm3_status cm3_image_encode_png(const cm3_image *image, uint8_t **bytes, size_t *length);
/* Writes a PNG file; a reader never sees half of it. */
cm3_status cm3_image_write_png(const cm3_image *image, const char *path);

#endif
