#include "data/image/sheet.h"

#include <string.h>

/* Copies over an opaque 3-channel sheet, blending where the image has alpha. */
static void place(const cm3_image *image, int left, int top, cm3_image *sheet) {
    for (int y = 0; y < image->height; y++)
        for (int x = 0; x < image->width; x++) {
            const uint8_t *from = image->pixels + ((size_t)y * image->width + x) * image->channels;
            uint8_t *to = sheet->pixels + ((size_t)(top + y) * sheet->width + left + x) * 3;
            const int alpha = image->channels == 4 ? from[3] : 255;
            for (int c = 0; c < 3; c++) to[c] = (uint8_t)((from[c] * alpha + to[c] * (255 - alpha) + 127) / 255);
        }
}

cm3_status cm3_image_sheet(const cm3_image *images, int count, int columns, int gap, cm3_colour background,
                           cm3_image *sheet) {
    *sheet = (cm3_image){0};
    if (count < 1 || columns < 1 || gap < 0 || gap > CM3_IMAGE_SIDE_MAX)
        return cm3_fail(CM3_ERR_SHAPE, "a sheet of %d images, %d a row, with a gap of %d", count, columns, gap);
    if (columns > count) columns = count;
    int64_t cell_width = 1, cell_height = 1;
    for (int i = 0; i < count; i++) {
        if (images[i].width > cell_width) cell_width = images[i].width;
        if (images[i].height > cell_height) cell_height = images[i].height;
    }
    const int64_t rows = (count + (int64_t)columns - 1) / columns;
    const int64_t width = columns * (cell_width + gap) + gap, height = rows * (cell_height + gap) + gap;
    if (width > CM3_IMAGE_SIDE_MAX || height > CM3_IMAGE_SIDE_MAX)
        return cm3_fail(CM3_ERR_SHAPE, "a sheet of %lld x %lld pixels; a side may have %d", (long long)width,
                        (long long)height, CM3_IMAGE_SIDE_MAX);
    CM3_TRY(cm3_image_create((int)width, (int)height, 3, sheet));
    cm3_image_fill(sheet, background);
    for (int i = 0; i < count; i++) {
        if (!images[i].pixels) continue;
        const int64_t left = gap + i % columns * (cell_width + gap) + (cell_width - images[i].width) / 2;
        const int64_t top = gap + i / columns * (cell_height + gap) + (cell_height - images[i].height) / 2;
        place(&images[i], (int)left, (int)top, sheet);
    }
    return CM3_OK;
}
