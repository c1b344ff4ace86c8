#include "core/tensor/flat.h"

#include "core/kernels/cpu/kernel.h"

#include <math.h>

/* The range is cut into a fixed number of slots, which are added one after another: threads only decide who adds up a
 * slot, never in which order numbers meet. */
enum { SLOTS = 256 };

static double add_squares(const float *values, int64_t count) {
    const cm3_simd *simd = cm3__simd();
    double slots[SLOTS], sum = 0;
    const int64_t length = (count + SLOTS - 1) / SLOTS;
#pragma omp parallel for schedule(static) if (count > 1 << 16)
    for (int s = 0; s < SLOTS; s++) {
        const int64_t begin = s * length < count ? s * length : count;
        const int64_t end = begin + length < count ? begin + length : count;
        simd->squares(&slots[s], values + begin, end - begin);
    }
    for (int s = 0; s < SLOTS; s++) sum += slots[s];
    return sum;
}

static cm3_status sum_of_squares(const float *values, int64_t count, double *sum) {
    *sum = add_squares(values, count);
    return CM3_OK;
}

/* The first span that ends after element i. */
static int64_t span_after(const cm3_flat_adamw *u, int64_t i) {
    int64_t low = 0, high = u->span_count;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (u->spans[middle].offset + u->spans[middle].count <= i)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Blocks of a fixed size, wherever spans begin and end: many small spans cost no more than one. */
static void adamw(const cm3_flat_adamw *u, float clip) {
    enum { BLOCK = 1 << 15 };
    if (u->span_count < 1) return;
    const cm3_simd *simd = cm3__simd();
    const int64_t first = u->spans[0].offset,
                  last = u->spans[u->span_count - 1].offset + u->spans[u->span_count - 1].count;
    const int64_t blocks = (last - first + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static) if (blocks > 1)
    for (int64_t block = 0; block < blocks; block++) {
        const int64_t begin = first + block * BLOCK, end = begin + BLOCK;
        for (int64_t s = span_after(u, begin); s < u->span_count && u->spans[s].offset < end; s++) {
            const cm3_flat_span *span = &u->spans[s];
            const int64_t from = span->offset > begin ? span->offset : begin;
            const int64_t to = span->offset + span->count < end ? span->offset + span->count : end;
            simd->adamw(u, clip, span->decay ? u->decay : 0, from, to - from);
        }
    }
}

static cm3_status clipped_adamw(const cm3_flat_adamw *update, double limit, const float *loss,
                                cm3_flat_verdict *verdict) {
    const double norm = sqrt(add_squares(update->grad, update->size));
    *verdict = (cm3_flat_verdict){.norm = norm,
                                  .loss = loss ? *loss : 0,
                                  .factor = (float)(limit > 0 && norm > limit ? limit / norm : 1),
                                  .finite = isfinite(norm) && (!loss || isfinite(*loss))};
    if (verdict->finite) adamw(update, update->clip * verdict->factor);
    return CM3_OK;
}

const cm3_flat cm3__cpu_flat = {.sum_of_squares = sum_of_squares, .clipped_adamw = clipped_adamw};
