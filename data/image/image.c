#include "data/image/image.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const cm3_fit_names[] = {"crop", "pad", "stretch", NULL};

cm3_status cm3_image_create(int width, int height, int channels, cm3_image *image) {
    *image = (cm3_image){0};
    if (width < 1 || height < 1 || width > CM3_IMAGE_SIDE_MAX || height > CM3_IMAGE_SIDE_MAX ||
        (int64_t)width * height > CM3_IMAGE_PIXELS_MAX)
        return cm3_fail(CM3_ERR_SHAPE,
                        "an image of %d x %d pixels; sides may be 1 to %d, with at most %d pixels in all", width,
                        height, CM3_IMAGE_SIDE_MAX, CM3_IMAGE_PIXELS_MAX);
    if (channels != 3 && channels != 4) return cm3_fail(CM3_ERR_SHAPE, "an image of %d channels, not 3 or 4", channels);
    uint8_t *pixels = malloc((size_t)width * height * channels);
    if (!pixels) return cm3_fail(CM3_ERR_MEMORY, "out of memory for an image of %d x %d pixels", width, height);
    *image = (cm3_image){.width = width, .height = height, .channels = channels, .pixels = pixels};
    return CM3_OK;
}

cm3_status cm3_image_create_for(const char *name, int64_t width, int64_t height, int channels, cm3_image *image) {
    const cm3_status status = cm3_image_create((int)(width < INT_MAX ? width : INT_MAX),
                                               (int)(height < INT_MAX ? height : INT_MAX), channels, image);
    if (status == CM3_OK) return CM3_OK;
    return cm3_fail_context(status == CM3_ERR_SHAPE ? CM3_ERR_FORMAT : status, "%s", name);
}

void cm3_image_free(cm3_image *image) {
    free(image->pixels);
    *image = (cm3_image){0};
}

size_t cm3_image_size(const cm3_image *image) {
    return (size_t)image->width * image->height * image->channels;
}

void cm3_image_fill(cm3_image *image, cm3_colour colour) {
    const uint8_t pixel[4] = {colour.red, colour.green, colour.blue, 255};
    const size_t size = cm3_image_size(image);
    for (size_t i = 0; i < size; i += image->channels) memcpy(image->pixels + i, pixel, image->channels);
}

void cm3_image_flatten(cm3_image *image, cm3_colour background) {
    if (image->channels != 4) return;
    const int behind[3] = {background.red, background.green, background.blue};
    const size_t count = (size_t)image->width * image->height;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *from = image->pixels + 4 * i;
        uint8_t *to = image->pixels + 3 * i; /* never ahead of `from` */
        const int alpha = from[3];
        for (int c = 0; c < 3; c++) to[c] = (uint8_t)((from[c] * alpha + behind[c] * (255 - alpha) + 127) / 255);
    }
    image->channels = 3;
    uint8_t *smaller = realloc(image->pixels, 3 * count);
    if (smaller) image->pixels = smaller;
}

cm3_status cm3_colour_parse(const char *text, cm3_colour *colour) {
    static const struct {
        const char *name;
        cm3_colour colour;
    } names[] = {{"white", {255, 255, 255}}, {"grey", {128, 128, 128}}, {"black", {0, 0, 0}}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(text, names[i].name)) {
            *colour = names[i].colour;
            return CM3_OK;
        }
    if (text[0] == '#' && strspn(text + 1, "0123456789abcdefABCDEF") == 6 && text[7] == '\0') {
        const unsigned long value = strtoul(text + 1, NULL, 16);
        *colour = (cm3_colour){(uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value};
        return CM3_OK;
    }
    return cm3_fail(CM3_ERR_USAGE, "colour \"%.40s\": expected #rrggbb, black, grey or white", text);
}

void cm3_image_to_float(const cm3_image *image, float *values) {
    const size_t size = cm3_image_size(image);
    for (size_t i = 0; i < size; i++) values[i] = (float)image->pixels[i] / 127.5f - 1.0f;
}

cm3_status cm3_image_from_float(const float *values, int width, int height, int channels, cm3_image *image) {
    CM3_TRY(cm3_image_create(width, height, channels, image));
    const size_t size = cm3_image_size(image);
    for (size_t i = 0; i < size; i++) {
        const float x = isnan(values[i]) ? 0.0f : fminf(fmaxf(values[i], -1.0f), 1.0f);
        image->pixels[i] = (uint8_t)((x + 1.0f) * 127.5f + 0.5f);
    }
    return CM3_OK;
}
