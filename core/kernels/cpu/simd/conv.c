#include "core/kernels/cpu/simd/prototypes.h"
#include "core/kernels/cpu/simd/vec.h"

#include <stddef.h>

/* Register tiles. A tile of the convolution is ROWS pixels by two vectors of channels, one of the weights' gradient is
 * ROWS channels by three vectors of a window: with windows of three pixels those are whole for any multiple of the
 * vector. */
enum { LANES = CM3_VEC_LANES, ROWS = CM3_VEC_REGISTERS / 4, VECTORS = 2, PANEL = VECTORS * LANES, WINDOW_VECTORS = 3 };
/* 24 sums, 3 vectors and a broadcast fit into 32 registers, 12, 3 and 1 into 16. */
enum { OUTER_ROWS = CM3_VEC_REGISTERS / 4 };

#define INLINE static inline __attribute__((always_inline))

INLINE cm3_vec load(const float *from) {
    return *(const cm3_vec *)from;
}

INLINE void store(float *to, cm3_vec value) {
    *(cm3_vec *)to = value;
}

/* `m` and `vectors` are constants at every call: the sums live in registers. */
INLINE void rows_tile(const cm3__conv_rows *job, int64_t row, const int m, const int vectors, const float *start,
                      int64_t start_stride, float *y, int64_t y_stride) {
    const float *a = job->a + row * job->a_stride, *panel = job->panel;
    const int64_t a_stride = job->a_stride, depth = job->depth;
    cm3_vec sum[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < m; i++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) sum[i][v] = start ? load(start + i * start_stride + v * LANES) : (cm3_vec){0};
    for (int64_t k = 0; k < depth; k++) {
        cm3_vec b[VECTORS];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) b[v] = load(panel + k * PANEL + v * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < m; i++)
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++) sum[i][v] += a[i * a_stride + k] * b[v];
    }
#pragma GCC unroll 8
    for (int i = 0; i < m; i++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) store(y + i * y_stride + v * LANES, sum[i][v]);
}

/* Whole vectors go to y at once, others by way of a small copy. */
INLINE void rows_of(const cm3__conv_rows *job, int64_t row, const int m, const int vectors) {
    const float *start = job->start ? job->start + row * job->start_stride : NULL;
    float *y = job->y + row * job->y_stride;
    if (job->n == vectors * LANES) {
        rows_tile(job, row, m, vectors, start, job->start_stride, y, job->y_stride);
        return;
    }
    float copy[ROWS * PANEL] = {0};
    for (int i = 0; start && i < m; i++)
        for (int64_t j = 0; j < job->n; j++) copy[i * PANEL + j] = start[i * job->start_stride + j];
    rows_tile(job, row, m, vectors, copy, PANEL, copy, PANEL);
    for (int i = 0; i < m; i++)
        for (int64_t j = 0; j < job->n; j++) y[i * job->y_stride + j] = copy[i * PANEL + j];
}

INLINE void rows_all(const cm3__conv_rows *job, const int vectors) {
    int64_t row = 0;
    for (; row + ROWS <= job->m; row += ROWS) rows_of(job, row, ROWS, vectors);
    if (ROWS > 4 && row + 4 <= job->m) {
        rows_of(job, row, 4, vectors);
        row += 4;
    }
    if (row + 2 <= job->m) {
        rows_of(job, row, 2, vectors);
        row += 2;
    }
    if (row < job->m) rows_of(job, row, 1, vectors);
}

void CM3_SIMD(cm3__conv_rows)(const cm3__conv_rows *job) {
    if (job->n > LANES)
        rows_all(job, VECTORS);
    else
        rows_all(job, 1);
}

INLINE void pack_rows(const cm3__conv_pack *job, int64_t o, const int64_t m) {
    float *packed = job->packed + o * job->rows * job->columns, sum[OUTER_ROWS] = {0};
    for (int64_t row = 0; row < job->rows; row++) {
        const float *from = job->from + row * job->row_distance + o;
        for (int64_t column = 0; column < job->columns; column++, from += job->outputs, packed += OUTER_ROWS) {
            for (int64_t i = 0; i < m; i++) {
                packed[i] = from[i];
                sum[i] += from[i];
            }
        }
    }
    for (int64_t i = 0; i < m; i++) job->bias[o + i] += sum[i];
}

void CM3_SIMD(cm3__conv_pack)(const cm3__conv_pack *job) {
    int64_t o = 0;
    for (; o + OUTER_ROWS <= job->outputs; o += OUTER_ROWS) pack_rows(job, o, OUTER_ROWS);
    if (o < job->outputs) pack_rows(job, o, job->outputs - o);
}

/* One block of windows, copied: (pixels, vectors * LANES). In the image their distance may be a power of two, and
 * then a few sets of the first-level cache would have to hold all of them. */
INLINE int64_t copy_windows(const cm3__conv_outer *job, float *to, const int vectors) {
    const float *start = to;
    for (int64_t row = 0; row < job->rows; row++) {
        const float *from = job->a + row * job->a_row;
        for (int64_t column = 0; column < job->columns; column++, from += job->a_column)
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++, to += LANES) store(to, load(from + v * LANES));
    }
    return (to - start) / (vectors * LANES);
}

INLINE void outer_tile(const cm3__conv_outer *job, int64_t o, const float *windows, int64_t pixels, const int m,
                       const int vectors) {
    const float *g = job->g + o / OUTER_ROWS * OUTER_ROWS * pixels + o % OUTER_ROWS;
    float *to = job->sum + o * job->sum_stride;
    cm3_vec sum[OUTER_ROWS][WINDOW_VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < m; i++)
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++) sum[i][v] = load(to + i * job->sum_stride + v * LANES);
    for (int64_t pixel = 0; pixel < pixels; pixel++, g += OUTER_ROWS, windows += vectors * LANES) {
        cm3_vec b[WINDOW_VECTORS];
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++) b[v] = load(windows + v * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < m; i++)
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++) sum[i][v] += g[i] * b[v];
    }
#pragma GCC unroll 8
    for (int i = 0; i < m; i++)
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++) store(to + i * job->sum_stride + v * LANES, sum[i][v]);
}

INLINE void outer_outputs(const cm3__conv_outer *job, const int vectors) {
    float windows[CM3_CONV_OUTER_PIXELS * WINDOW_VECTORS * LANES] __attribute__((aligned(64)));
    const int64_t pixels = copy_windows(job, windows, vectors);
    int64_t o = 0;
    for (; o + OUTER_ROWS <= job->outputs; o += OUTER_ROWS) outer_tile(job, o, windows, pixels, OUTER_ROWS, vectors);
    if (OUTER_ROWS > 4 && o + 4 <= job->outputs) {
        outer_tile(job, o, windows, pixels, 4, vectors);
        o += 4;
    }
    if (o + 2 <= job->outputs) {
        outer_tile(job, o, windows, pixels, 2, vectors);
        o += 2;
    }
    if (o < job->outputs) outer_tile(job, o, windows, pixels, 1, vectors);
}

void CM3_SIMD(cm3__conv_outer)(const cm3__conv_outer *job) {
    if (job->width > 2 * LANES)
        outer_outputs(job, 3);
    else if (job->width > LANES)
        outer_outputs(job, 2);
    else
        outer_outputs(job, 1);
}

void CM3_SIMD(cm3__conv_sizes_of)(cm3__conv_sizes *sizes) {
    *sizes = (cm3__conv_sizes){
        .panel = PANEL, .lanes = LANES, .outer_rows = OUTER_ROWS, .outer_width = WINDOW_VECTORS * LANES};
}
