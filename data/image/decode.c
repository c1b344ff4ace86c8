#include "data/image/decode.h"

#include "core/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum format { FORMAT_UNKNOWN, FORMAT_JPEG, FORMAT_PNG, FORMAT_WEBP } format;

static format format_of(const uint8_t *bytes, size_t length) {
    if (length >= 3 && !memcmp(bytes, "\xff\xd8\xff", 3)) return FORMAT_JPEG;
    if (length >= 8 && !memcmp(bytes, "\x89PNG\r\n\x1a\n", 8)) return FORMAT_PNG;
    if (length >= 12 && !memcmp(bytes, "RIFF", 4) && !memcmp(bytes + 8, "WEBP", 4)) return FORMAT_WEBP;
    return FORMAT_UNKNOWN;
}

static cm3_status unknown(const uint8_t *bytes, size_t length, const char *name) {
    if (!length) return cm3_fail(CM3_ERR_FORMAT, "%s: the image is empty (0 bytes)", name);
    char start[3 * 4 + 1] = "";
    for (size_t i = 0; i < 4 && i < length; i++) snprintf(start + 3 * i, 4, "%02x ", bytes[i]);
    start[strlen(start) - 1] = '\0';
    return cm3_fail(CM3_ERR_UNSUPPORTED, "%s: not a JPEG, PNG or WebP image (it starts with %s)", name, start);
}

cm3_status cm3_image_decode(const void *bytes, size_t length, const char *name, int least, cm3_image *image) {
    *image = (cm3_image){0};
    if (length > CM3_IMAGE_BYTES_MAX)
        return cm3_fail(CM3_ERR_FORMAT, "%s: %zu bytes; an image may have %d", name, length, CM3_IMAGE_BYTES_MAX);
    switch (format_of(bytes, length)) {
    case FORMAT_JPEG:
        return cm3__jpeg_decode(bytes, length, name, least, image);
    case FORMAT_PNG:
        return cm3__png_decode(bytes, length, name, image);
    case FORMAT_WEBP:
        return cm3__webp_decode(bytes, length, name, image);
    default:
        return unknown(bytes, length, name);
    }
}

cm3_status cm3_image_read(const char *path, int least, cm3_image *image) {
    *image = (cm3_image){0};
    char *bytes;
    size_t length;
    CM3_TRY(cm3_file_read(path, CM3_IMAGE_BYTES_MAX, &bytes, &length));
    const cm3_status status = cm3_image_decode(bytes, length, path, least, image);
    free(bytes);
    return status;
}
