/* HTML by hand: everything that comes from data goes through here. */
#ifndef CM3_TRAIN_EVALUATE_HTML_H
#define CM3_TRAIN_EVALUATE_HTML_H

#include "data/image/image.h"

#include <stdio.h>

/* Text that may stand in an element or in a quoted attribute: & < > " ' are written as entities, control characters
 * that HTML forbids as U+FFFD. */
void cm3_html_text(FILE *file, const char *text);
/* `<img>` that holds its image as PNG, for screen readers described by `alt`. */
cm3_status cm3_html_image(FILE *file, const cm3_image *image, const char *alt);
/* Base64 of any bytes, as data: URIs want it. */
void cm3_html_base64(FILE *file, const uint8_t *bytes, size_t length);

#endif
