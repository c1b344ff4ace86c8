/* PNG through libpng's simplified interface, which does every conversion (palettes, grey, 16 bits, gamma) itself. */
#include "data/image/decode.h"

#include "core/file.h"

#include <stdlib.h>

#include <png.h>

static cm3_status bad(png_image *png, const char *name) {
    const cm3_status status = cm3_fail(CM3_ERR_FORMAT, "%s: cut short or damaged PNG: %s", name, png->message);
    png_image_free(png);
    return status;
}

cm3_status cm3__png_decode(const uint8_t *bytes, size_t length, const char *name, int least, cm3_image *image) {
    (void)least;
    png_image png = {.version = PNG_IMAGE_VERSION};
    if (!png_image_begin_read_from_memory(&png, bytes, length)) return bad(&png, name);
    const int alpha = (png.format & PNG_FORMAT_FLAG_ALPHA) != 0;
    png.format = alpha ? PNG_FORMAT_RGBA : PNG_FORMAT_RGB;
    png.flags |= PNG_IMAGE_FLAG_16BIT_sRGB; /* without a gamma of its own a file is sRGB, whatever its depth */
    cm3_image made;
    const cm3_status status = cm3_image_create_for(name, png.width, png.height, alpha ? 4 : 3, &made);
    if (status != CM3_OK) {
        png_image_free(&png);
        return status;
    }
    if (!png_image_finish_read(&png, NULL, made.pixels, 0, NULL) || PNG_IMAGE_FAILED(png)) {
        cm3_image_free(&made);
        return bad(&png, name);
    }
    png_image_free(&png);
    *image = made;
    return CM3_OK;
}

cm3_status cm3_image_encode_png(const cm3_image *image, uint8_t **bytes, size_t *length) {
    *bytes = NULL;
    *length = 0;
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)image->width,
                     .height = (png_uint_32)image->height,
                     .format = image->channels == 4 ? PNG_FORMAT_RGBA : PNG_FORMAT_RGB};
    png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(png);
    uint8_t *buffer = malloc(size);
    if (!buffer)
        return cm3_fail(CM3_ERR_MEMORY, "out of memory to encode a PNG of %d x %d pixels", image->width, image->height);
    if (!png_image_write_to_memory(&png, buffer, &size, 0, image->pixels, 0, NULL)) {
        free(buffer);
        return cm3_fail(CM3_ERR_INTERNAL, "a PNG of %d x %d pixels could not be encoded: %s", image->width,
                        image->height, png.message);
    }
    uint8_t *fitted = realloc(buffer, size);
    *bytes = fitted ? fitted : buffer;
    *length = size;
    return CM3_OK;
}

cm3_status cm3_image_write_png(const cm3_image *image, const char *path) {
    uint8_t *bytes;
    size_t length;
    CM3_TRY(cm3_image_encode_png(image, &bytes, &length));
    const cm3_status status = cm3_file_write(path, bytes, length);
    free(bytes);
    return status;
}
