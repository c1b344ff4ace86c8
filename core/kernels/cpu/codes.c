/* Vector quantisation: the nearest code of a vector, the code itself, and the loss that pulls both together (van den
 * Oord et al., "Neural discrete representation learning", 2017). */
#include "core/kernels/cpu/kernel.h"

#include <cblas.h>
#include <string.h>

enum { ROW_BLOCK = 64, CODE_BLOCK = 256 }; /* 64 KiB of scores a thread */

static int64_t min(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Codes may come from a file. */
static cm3_status check_codes(const cm3_tensor *codes, int64_t book) {
    const int32_t *code = codes->data;
    for (int64_t i = 0; i < codes->shape.dim[0]; i++)
        if (code[i] < 0 || code[i] >= book)
            return cm3_fail(CM3_ERR_SHAPE, "code %d at position %lld is not one of the codebook's 0 to %lld",
                            (int)code[i], (long long)i, (long long)book - 1);
    return CM3_OK;
}

/* --- NEAREST_CODE ------------------------------------------------------------------------------------------------ */

static size_t nearest_workspace(const cm3_call *call) {
    const int64_t halves = (call->in[1].shape.dim[0] + 15) / 16 * 16;
    return sizeof(float) * (size_t)(halves + (int64_t)cm3_threads_count() * ROW_BLOCK * CODE_BLOCK);
}

static float *scores_of(const cm3_call *call, int thread) {
    return (float *)call->workspace + (call->in[1].shape.dim[0] + 15) / 16 * 16 +
           (int64_t)thread * ROW_BLOCK * CODE_BLOCK;
}

static void halve_squares(const void *context, int64_t first, int64_t last) {
    const cm3_call *call = context;
    const float *book = call->in[1].data;
    float *halves = call->workspace;
    const int64_t d = call->in[1].shape.dim[1];
    for (int64_t k = first; k < last; k++) {
        double sum = 0;
        for (int64_t j = 0; j < d; j++) sum += (double)book[k * d + j] * book[k * d + j];
        halves[k] = (float)(0.5 * sum);
    }
}

/* The lowest score so far and its index; the first of equal ones wins. */
static void lower(const float *scores, int64_t count, int64_t first, float *lowest, int32_t *code) {
    float smallest = scores[0];
#pragma omp simd reduction(min : smallest)
    for (int64_t k = 1; k < count; k++) smallest = scores[k] < smallest ? scores[k] : smallest;
    if (!(smallest < *lowest)) return;
    int64_t k = 0;
    while (k < count - 1 && scores[k] != smallest) k++;
    *lowest = smallest;
    *code = (int32_t)(first + k);
}

/* |z - e|^2 = |z|^2 + 2 (|e|^2 / 2 - z e): the bracket is the score of a code. At most ROW_BLOCK rows. */
static void nearest_rows(const void *context, int64_t first, int64_t last) {
    const cm3_call *call = context;
    const int64_t rows = last - first, d = call->in[0].shape.dim[1], codes = call->in[1].shape.dim[0];
    const float *z = (const float *)call->in[0].data + first * d, *book = call->in[1].data, *halves = call->workspace;
    float *scores = scores_of(call, cm3_thread_index()), lowest[ROW_BLOCK];
    int32_t *code = (int32_t *)call->out[0].data + first;
    for (int64_t i = 0; i < rows; i++) {
        lowest[i] = __builtin_inff();
        code[i] = 0;
    }
    for (int64_t k = 0; k < codes; k += CODE_BLOCK) {
        const int64_t count = min(CODE_BLOCK, codes - k);
        for (int64_t i = 0; i < rows; i++) memcpy(scores + i * CODE_BLOCK, halves + k, (size_t)count * sizeof *scores);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)count, (int)d, -1, z, (int)d, book + k * d,
                    (int)d, 1, scores, CODE_BLOCK);
        for (int64_t i = 0; i < rows; i++) lower(scores + i * CODE_BLOCK, count, k, &lowest[i], &code[i]);
    }
}

static cm3_status nearest(const cm3_call *call) {
    const int64_t rows = call->in[0].shape.dim[0], d = call->in[0].shape.dim[1], codes = call->in[1].shape.dim[0];
    if (d > INT32_MAX || codes > INT32_MAX)
        return cm3_fail(CM3_ERR_SHAPE, "nearest_code: a codebook of %lld x %lld is too large", (long long)codes,
                        (long long)d);
    cm3_parallel_for(codes, cm3__grain(d), halve_squares, call);
    cm3_parallel_for(rows, ROW_BLOCK, nearest_rows, call);
    return CM3_OK;
}

const cm3_kernel cm3__cpu_nearest_code = {.forward = nearest, .forward_workspace = nearest_workspace};

/* --- CODE_LOOKUP ------------------------------------------------------------------------------------------------- */

static void lookup_rows(const void *context, int64_t first, int64_t last) {
    const cm3_call *call = context;
    const int64_t d = call->in[1].shape.dim[1];
    const float *book = call->in[1].data;
    const int32_t *code = call->in[2].data;
    float *y = call->out[0].data;
    for (int64_t i = first; i < last; i++) memcpy(y + i * d, book + code[i] * d, (size_t)d * sizeof *y);
}

static cm3_status lookup(const cm3_call *call) {
    CM3_TRY(check_codes(&call->in[2], call->in[1].shape.dim[0]));
    cm3_parallel_for(call->in[0].shape.dim[0], cm3__grain(call->in[1].shape.dim[1]), lookup_rows, call);
    return CM3_OK;
}

/* Straight through: as if the code had been the vector itself. */
static cm3_status lookup_backward(const cm3_call *call) {
    cm3__add_to(call->grad_in[0].data, call->grad_out.data, cm3_shape_count(call->in[0].shape), call->accumulate[0]);
    return CM3_OK;
}

const cm3_kernel cm3__cpu_code_lookup = {.forward = lookup, .backward = lookup_backward};

/* --- CODE_LOSS --------------------------------------------------------------------------------------------------- */

static size_t loss_workspace(const cm3_call *call) {
    return sizeof(double) * (size_t)((call->in[0].shape.dim[0] + ROW_BLOCK - 1) / ROW_BLOCK);
}

/* A sum for each block of rows: their order does not depend on threads. */
static void loss_rows(const void *context, int64_t first, int64_t last) {
    const cm3_call *call = context;
    const int64_t d = call->in[0].shape.dim[1];
    const float *z = call->in[0].data, *book = call->in[1].data;
    const int32_t *code = call->in[2].data;
    double sum = 0;
    for (int64_t i = first; i < last; i++) {
        const float *e = book + code[i] * d;
        float row = 0;
#pragma omp simd reduction(+ : row)
        for (int64_t j = 0; j < d; j++) row += (z[i * d + j] - e[j]) * (z[i * d + j] - e[j]);
        sum += row;
    }
    ((double *)call->workspace)[first / ROW_BLOCK] = sum;
}

static cm3_status loss(const cm3_call *call) {
    const int64_t rows = call->in[0].shape.dim[0];
    const float *scale = call->in[3].data;
    const double *sums = call->workspace;
    double total = 0;
    CM3_TRY(check_codes(&call->in[2], call->in[1].shape.dim[0]));
    cm3_parallel_for(rows, ROW_BLOCK, loss_rows, call);
    for (int64_t block = 0; block < (rows + ROW_BLOCK - 1) / ROW_BLOCK; block++) total += sums[block];
    *(float *)call->out[0].data = (float)((1.0 + call->attr->commitment) * total * *scale);
    return CM3_OK;
}

static float loss_factor(const cm3_call *call) {
    return 2 * *(const float *)call->in[3].data * *(const float *)call->grad_out.data;
}

static void loss_backward_vectors(const void *context, int64_t first, int64_t last) {
    const cm3_call *call = context;
    const int64_t d = call->in[0].shape.dim[1];
    const float *z = call->in[0].data, *book = call->in[1].data;
    const float factor = loss_factor(call) * call->attr->commitment;
    const int32_t *code = call->in[2].data;
    float *dz = call->grad_in[0].data;
    for (int64_t i = first; i < last; i++) {
        const float *e = book + code[i] * d;
        for (int64_t j = 0; j < d; j++) {
            const float g = factor * (z[i * d + j] - e[j]);
            dz[i * d + j] = call->accumulate[0] ? dz[i * d + j] + g : g;
        }
    }
}

/* Codes [first, last): all rows are read in order, so that sums do not depend on threads. */
static void loss_backward_codes(const void *context, int64_t first, int64_t last) {
    const cm3_call *call = context;
    const int64_t rows = call->in[0].shape.dim[0], d = call->in[0].shape.dim[1];
    const float *z = call->in[0].data, *book = call->in[1].data, factor = loss_factor(call);
    const int32_t *code = call->in[2].data;
    float *de = call->grad_in[1].data;
    if (!call->accumulate[1]) memset(de + first * d, 0, (size_t)((last - first) * d) * sizeof *de);
    for (int64_t i = 0; i < rows; i++) {
        if (code[i] < first || code[i] >= last) continue;
        const float *e = book + code[i] * d;
        float *to = de + code[i] * d;
        for (int64_t j = 0; j < d; j++) to[j] += factor * (e[j] - z[i * d + j]);
    }
}

static cm3_status loss_backward(const cm3_call *call) {
    const int64_t rows = call->in[0].shape.dim[0], d = call->in[0].shape.dim[1], codes = call->in[1].shape.dim[0];
    CM3_TRY(check_codes(&call->in[2], call->in[1].shape.dim[0]));
    if (call->grad_in[0].data) cm3_parallel_for(rows, cm3__grain(d), loss_backward_vectors, call);
    if (call->grad_in[1].data)
        cm3_parallel_for(codes, (codes - 1) / (2 * cm3_threads_count()) + 1, loss_backward_codes, call);
    return CM3_OK;
}

const cm3_kernel cm3__cpu_code_loss = {.forward = loss, .backward = loss_backward, .forward_workspace = loss_workspace};
