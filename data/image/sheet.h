/* Contact sheets: many images on one, for pages and for a quick look. */
#ifndef CM3_DATA_IMAGE_SHEET_H
#define CM3_DATA_IMAGE_SHEET_H

#include "data/image/image.h"

/* Lays out `count` images row by row, `columns` a row, on a background with `gap` pixels between and around them. A
 * cell is as large as the largest image, each image centred in its own; an image without pixels leaves its cell
 * empty. */
cm3_status cm3_image_sheet(const cm3_image *images, int count, int columns, int gap, cm3_colour background,
                           cm3_image *sheet);

#endif
