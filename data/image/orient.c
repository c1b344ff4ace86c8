/* Cameras store what the sensor saw and write into the Exif block how the camera was held. */
#include "data/image/decode.h"

#include <string.h>

typedef struct tiff {
    const uint8_t *bytes;
    size_t length;
    int big_endian;
} tiff;

/* An unsigned number of `size` bytes; 0 beyond the end. */
static uint32_t number(const tiff *t, size_t at, int size) {
    if (at > t->length || (size_t)size > t->length - at) return 0;
    uint32_t value = 0;
    for (int i = 0; i < size; i++) value |= (uint32_t)t->bytes[at + i] << 8 * (t->big_endian ? size - 1 - i : i);
    return value;
}

int cm3__exif_orientation(const uint8_t *segment, size_t length) {
    enum { PREFIX = 6, ORIENTATION = 0x0112, SHORT = 3, ENTRY = 12 };
    if (length < PREFIX + 8 || memcmp(segment, "Exif\0\0", PREFIX)) return 1;
    tiff t = {.bytes = segment + PREFIX, .length = length - PREFIX};
    if (!memcmp(t.bytes, "MM", 2))
        t.big_endian = 1;
    else if (memcmp(t.bytes, "II", 2))
        return 1;
    const size_t directory = number(&t, 4, 4);
    const uint32_t count = number(&t, directory, 2);
    for (uint32_t i = 0; i < count; i++) {
        const size_t entry = directory + 2 + (size_t)ENTRY * i;
        if (number(&t, entry, 2) != ORIENTATION || number(&t, entry + 2, 2) != SHORT) continue;
        const uint32_t value = number(&t, entry + 8, 2);
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

/* Where pixel (x, y) of the upright image stands in the stored one: orientations 5 to 8 are transposed, then each of
 * the stored axes may run backwards. */
cm3_status cm3__image_orient(cm3_image *image, int orientation) {
    if (orientation < 2 || orientation > 8) return CM3_OK;
    const int transposed = orientation >= 5;
    const int from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const int from_bottom = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    const int channels = image->channels;
    cm3_image upright;
    CM3_TRY(cm3_image_create(transposed ? image->height : image->width, transposed ? image->width : image->height,
                             channels, &upright));
    uint8_t *out = upright.pixels;
    for (int y = 0; y < upright.height; y++)
        for (int x = 0; x < upright.width; x++, out += channels) {
            const int u = transposed ? y : x, v = transposed ? x : y;
            const int column = from_right ? image->width - 1 - u : u;
            const int row = from_bottom ? image->height - 1 - v : v;
            memcpy(out, image->pixels + ((size_t)row * image->width + column) * channels, (size_t)channels);
        }
    cm3_image_free(image);
    *image = upright;
    return CM3_OK;
}
