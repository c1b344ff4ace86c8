/* Antialiased bicubic resampling in two passes, rows then columns, with 8-bit pixels between them and fixed-point
 * weights: the result does not depend on the machine, and is Pillow's. */
#include "data/image/image.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A weight is at most about 1.2 and a sum of products of weights and pixels at most about 1.3 * 255: 22 bits of
 * fraction fill an int32. */
enum { WEIGHT_BITS = 22 };

/* A region of an image, in pixels; edges may fall between pixels. */
typedef struct region {
    double left, top, width, height;
} region;

/* For each pixel of an output axis, which input pixels it is made of and their weights. */
typedef struct taps {
    int width; /* slots of `weights` an output pixel */
    int *first, *count;
    int32_t *weights; /* (outputs, width) */
} taps;

static double keys(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

static void taps_free(taps *t) {
    free(t->first);
    free(t->count);
    free(t->weights);
}

/* Resamples [start, start + extent) of an axis of `inputs` pixels to `outputs`. */
static cm3_status taps_make(int inputs, double start, double extent, int outputs, taps *t) {
    const double scale = extent / outputs;
    const double stretch = scale > 1 ? scale : 1; /* when shrinking, the kernel covers every input pixel */
    const double support = 2 * stretch;
    *t = (taps){.width = (int)ceil(support) * 2 + 1};
    t->first = malloc((size_t)outputs * sizeof *t->first);
    t->count = malloc((size_t)outputs * sizeof *t->count);
    t->weights = calloc((size_t)outputs * t->width, sizeof *t->weights);
    double *exact = malloc((size_t)t->width * sizeof *exact);
    const int complete = t->first && t->count && t->weights && exact;
    for (int i = 0; complete && i < outputs; i++) {
        const double centre = start + (i + 0.5) * scale;
        const int first = (int)fmax(centre - support + 0.5, 0);
        const int count = (int)fmin(centre + support + 0.5, inputs) - first;
        double sum = 0;
        for (int k = 0; k < count; k++) sum += exact[k] = keys((first + k - centre + 0.5) / stretch);
        for (int k = 0; k < count; k++)
            t->weights[(size_t)i * t->width + k] = (int32_t)lround(exact[k] / sum * (1 << WEIGHT_BITS));
        t->first[i] = first;
        t->count[i] = count;
    }
    free(exact);
    if (complete) return CM3_OK;
    taps_free(t);
    return cm3_fail(CM3_ERR_MEMORY, "out of memory to resize %d to %d pixels", inputs, outputs);
}

static uint8_t to_pixel(int32_t sum) {
    const int32_t value = (sum + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* One row to fewer or more pixels. Inlined for each number of channels, so that sums live in registers. */
static inline void row_pass(const uint8_t *in, const taps *t, int outputs, const int channels, uint8_t *out) {
    for (int x = 0; x < outputs; x++, out += channels) {
        const int32_t *weights = t->weights + (size_t)x * t->width;
        const uint8_t *from = in + (size_t)t->first[x] * channels;
        int32_t sums[4] = {0};
        for (int k = 0; k < t->count[x]; k++)
            for (int c = 0; c < channels; c++) sums[c] += weights[k] * from[k * channels + c];
        for (int c = 0; c < channels; c++) out[c] = to_pixel(sums[c]);
    }
}

/* One output row from several input rows of `length` bytes. */
static void column_pass(const uint8_t *in, const int32_t *weights, int count, int length, int32_t *sums, uint8_t *out) {
    memset(sums, 0, (size_t)length * sizeof *sums);
    for (int k = 0; k < count; k++) {
        const int32_t weight = weights[k];
        const uint8_t *from = in + (size_t)k * length;
        for (int i = 0; i < length; i++) sums[i] += weight * from[i];
    }
    for (int i = 0; i < length; i++) out[i] = to_pixel(sums[i]);
}

static cm3_status passes(const cm3_image *image, const taps *columns, const taps *rows, cm3_image *out) {
    const int first = rows->first[0], last = rows->first[out->height - 1] + rows->count[out->height - 1];
    const int channels = image->channels, length = out->width * channels;
    uint8_t *between = malloc((size_t)(last - first) * length);
    int32_t *sums = malloc((size_t)length * sizeof *sums);
    if (between && sums) {
        for (int y = first; y < last; y++) {
            const uint8_t *in = image->pixels + (size_t)y * image->width * channels;
            if (channels == 3)
                row_pass(in, columns, out->width, 3, between + (size_t)(y - first) * length);
            else
                row_pass(in, columns, out->width, 4, between + (size_t)(y - first) * length);
        }
        for (int y = 0; y < out->height; y++)
            column_pass(between + (size_t)(rows->first[y] - first) * length, rows->weights + (size_t)y * rows->width,
                        rows->count[y], length, sums, out->pixels + (size_t)y * length);
    }
    const int complete = between && sums;
    free(between);
    free(sums);
    return complete ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "out of memory to resize an image");
}

static cm3_status resample(const cm3_image *image, region from, int width, int height, cm3_image *out) {
    cm3_image made;
    taps columns, rows;
    CM3_TRY(cm3_image_create(width, height, image->channels, &made));
    cm3_status status = taps_make(image->width, from.left, from.width, width, &columns);
    if (status == CM3_OK) {
        status = taps_make(image->height, from.top, from.height, height, &rows);
        if (status == CM3_OK) {
            status = passes(image, &columns, &rows, &made);
            taps_free(&rows);
        }
        taps_free(&columns);
    }
    if (status == CM3_OK)
        *out = made;
    else
        cm3_image_free(&made);
    return status;
}

static void premultiply(const cm3_image *image, uint8_t *out) {
    const size_t size = cm3_image_size(image);
    for (size_t i = 0; i < size; i += 4) {
        const int alpha = image->pixels[i + 3];
        for (int c = 0; c < 3; c++) out[i + c] = (uint8_t)((image->pixels[i + c] * alpha + 127) / 255);
        out[i + 3] = (uint8_t)alpha;
    }
}

static void unpremultiply(cm3_image *image) {
    const size_t size = cm3_image_size(image);
    for (size_t i = 0; i < size; i += 4) {
        const int alpha = image->pixels[i + 3];
        for (int c = 0; alpha && c < 3; c++) {
            const int value = 255 * image->pixels[i + c] / alpha;
            image->pixels[i + c] = (uint8_t)(value > 255 ? 255 : value);
        }
    }
}

static cm3_status resample_any(const cm3_image *image, region from, int width, int height, cm3_image *out) {
    if (image->channels == 3) return resample(image, from, width, height, out);
    cm3_image weighted;
    CM3_TRY(cm3_image_create(image->width, image->height, 4, &weighted));
    premultiply(image, weighted.pixels);
    const cm3_status status = resample(&weighted, from, width, height, out);
    cm3_image_free(&weighted);
    if (status == CM3_OK) unpremultiply(out);
    return status;
}

static region whole(const cm3_image *image) {
    return (region){0, 0, image->width, image->height};
}

static cm3_status copy(const cm3_image *image, cm3_image *out) {
    CM3_TRY(cm3_image_create(image->width, image->height, image->channels, out));
    memcpy(out->pixels, image->pixels, cm3_image_size(image));
    return CM3_OK;
}

cm3_status cm3_image_resize(const cm3_image *image, int width, int height, cm3_image *out) {
    *out = (cm3_image){0};
    if (image->width == width && image->height == height) return copy(image, out);
    return resample_any(image, whole(image), width, height, out);
}

static cm3_status pad(const cm3_image *image, int size, cm3_colour background, cm3_image *out) {
    const int longer = image->width > image->height ? image->width : image->height;
    const int width = (int)fmax(1, round((double)image->width * size / longer));
    const int height = (int)fmax(1, round((double)image->height * size / longer));
    cm3_image inner = {0}, square = {0};
    cm3_status status = cm3_image_resize(image, width, height, &inner);
    if (status == CM3_OK) status = cm3_image_create(size, size, image->channels, &square);
    if (status == CM3_OK) {
        cm3_image_fill(&square, background);
        const size_t pixel = (size_t)image->channels;
        const int left = (size - width) / 2, top = (size - height) / 2;
        for (int y = 0; y < height; y++)
            memcpy(square.pixels + ((size_t)(top + y) * size + left) * pixel, inner.pixels + (size_t)y * width * pixel,
                   width * pixel);
        *out = square;
    }
    cm3_image_free(&inner);
    return status;
}

cm3_status cm3_image_fit(const cm3_image *image, int size, cm3_fit fit, cm3_colour background, cm3_image *out) {
    *out = (cm3_image){0};
    if (fit == CM3_FIT_STRETCH || image->width == image->height) return cm3_image_resize(image, size, size, out);
    if (fit == CM3_FIT_PAD) return pad(image, size, background, out);
    const double side = image->width < image->height ? image->width : image->height;
    const region centre = {(image->width - side) / 2, (image->height - side) / 2, side, side};
    return resample_any(image, centre, size, size, out);
}
