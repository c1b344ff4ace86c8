/* The inner loops of the convolution. */
#ifndef CM3_CORE_KERNELS_CPU_SIMD_CONV_H
#define CM3_CORE_KERNELS_CPU_SIMD_CONV_H

#include <stdint.h>

/* Results (m, n) start at `start` + row * start_stride (NULL: at zero; a stride of 0: all from one row, a bias) and are
 * written to y + row * y_stride; start may be y. */
typedef struct cm3__conv_rows {
    const float *a; /* row i, element k at a[i * a_stride + k]: rows may overlap, as windows of an image do */
    int64_t a_stride;
    const float *panel; /* (depth, panel width) */
    int64_t depth;
    const float *start;
    int64_t start_stride;
    float *y;
    int64_t y_stride;
    int64_t m, n; /* n up to the panel width */
} cm3__conv_rows;

enum { CM3_CONV_OUTER_PIXELS = 64 }; /* most pixels of one outer product */

/* Packs a gradient for outer products: (outputs over outer_rows, pixels, outer_rows), filled up with anything, and adds
 * the pixels to `bias` (outputs). */
typedef struct cm3__conv_pack {
    const float *from; /* element o of a pixel at from[row * row_distance + column * outputs + o] */
    int64_t row_distance, rows, columns, outputs;
    float *packed, *bias;
} cm3__conv_pack;

/* sum[o * sum_stride + j] += over pixels (rows x columns): g[pixel, o] a[row * a_row + column * a_column + j].
 * g is packed by cm3__conv_pack.
 * j < width, at most outer_width, is rounded up to whole vectors: `sum` and `a` must have room for `width` rounded up.
 */
typedef struct cm3__conv_outer {
    const float *g;
    const float *a;
    int64_t a_row, a_column;
    int64_t rows, columns;
    float *sum;
    int64_t sum_stride;
    int64_t outputs, width;
} cm3__conv_outer;

typedef struct cm3__conv_sizes {
    int64_t panel;                   /* columns of a panel of packed weights */
    int64_t lanes;                   /* of a vector */
    int64_t outer_rows, outer_width; /* of an outer product */
} cm3__conv_sizes;

#endif
