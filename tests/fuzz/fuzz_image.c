/* Decodes any bytes. Run with -malloc_limit_mb: an image that claims to be large takes all of the time. */
#include "data/image/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cm3_image image;
    if (cm3_image_decode(data, size, "input", size % 2 ? 8 : 0, &image) != CM3_OK) return 0;
    cm3_image small = {0};
    if (cm3_image_fit(&image, 8, (cm3_fit)(size % 3), (cm3_colour){0}, &small) != CM3_OK) __builtin_trap();
    cm3_image_flatten(&small, (cm3_colour){255, 255, 255});
    cm3_image_free(&small);
    cm3_image_free(&image);
    return 0;
}
