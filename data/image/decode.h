/* Inside of data/image: one decoder a format, each fed with a whole file in memory. */
#ifndef CM3_DATA_IMAGE_DECODE_H
#define CM3_DATA_IMAGE_DECODE_H

#include "data/image/image.h"

cm3_status cm3__jpeg_decode(const uint8_t *bytes, size_t length, const char *name, int least, cm3_image *image);
cm3_status cm3__png_decode(const uint8_t *bytes, size_t length, const char *name, int least, cm3_image *image);
cm3_status cm3__webp_decode(const uint8_t *bytes, size_t length, const char *name, int least, cm3_image *image);

/* The orientation, 1 to 8, in the Exif block of a JPEG's APP1 segment; 1 if there is none or it makes no sense. */
int cm3__exif_orientation(const uint8_t *segment, size_t length);
/* Turns and mirrors the image in place so that it stands upright. */
cm3_status cm3__image_orient(cm3_image *image, int orientation);

#endif
