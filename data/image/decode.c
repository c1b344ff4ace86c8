#include "data/image/decode.h"

#include "core/auto.h"
#include "core/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct format {
    const char *magic; /* the file's first bytes; '?': any */
    size_t length;
    cm3_status (*decode)(const uint8_t *bytes, size_t length, const char *name, int least, cm3_image *image);
} format;

static const format formats[] = {{"\xff\xd8\xff", 3, cm3__jpeg_decode},
                                 {"\x89PNG\r\n\x1a\n", 8, cm3__png_decode},
                                 {"RIFF\?\?\?\?WEBP", 12, cm3__webp_decode}};

static bool starts_with(const uint8_t *bytes, size_t length, const format *f) {
    for (size_t i = 0; i < f->length; i++)
        if (i >= length || (f->magic[i] != '?' && bytes[i] != (uint8_t)f->magic[i])) return false;
    return true;
}

/* NULL: none of them. */
static const format *format_of(const uint8_t *bytes, size_t length) {
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (starts_with(bytes, length, &formats[i])) return &formats[i];
    return NULL;
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
    const format *f = format_of(bytes, length);
    return f ? f->decode(bytes, length, name, least, image) : unknown(bytes, length, name);
}

cm3_status cm3_image_read(const char *path, int least, cm3_image *image) {
    *image = (cm3_image){0};
    CM3_AUTO_FREE char *bytes = NULL;
    size_t length;
    CM3_TRY(cm3_file_read(path, CM3_IMAGE_BYTES_MAX, &bytes, &length));
    return cm3_image_decode(bytes, length, path, least, image);
}
