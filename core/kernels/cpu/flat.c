#include "core/tensor/flat.h"

#include "core/kernels/cpu/kernel.h"

#include <math.h>

/* The range is cut into a fixed number of slots, which are added one after another: threads only decide who adds up a
 * slot, never in which order numbers meet. */
enum { SLOTS = 256 };

typedef struct squares {
    const float *values;
    int64_t count, length; /* of all, of a slot */
    double *slots;
} squares;

static void add_slots(const void *context, int64_t first, int64_t last) {
    const squares *q = context;
    for (int64_t s = first; s < last; s++) {
        const int64_t begin = s * q->length < q->count ? s * q->length : q->count;
        const int64_t end = begin + q->length < q->count ? begin + q->length : q->count;
        cm3__simd()->squares(&q->slots[s], q->values + begin, end - begin);
    }
}

static double add_squares(const float *values, int64_t count) {
    double slots[SLOTS], sum = 0;
    const squares q = {values, count, (count + SLOTS - 1) / SLOTS, slots};
    cm3_parallel_for(SLOTS, cm3__grain(q.length), add_slots, &q);
    for (int s = 0; s < SLOTS; s++) sum += slots[s];
    return sum;
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

typedef struct clipped {
    const cm3_flat_adamw *update;
    float clip;
} clipped;

static void update_block(const void *context, int64_t begin, int64_t end) {
    const clipped *c = context;
    const cm3_flat_adamw *u = c->update;
    begin += u->spans[0].offset;
    end += u->spans[0].offset;
    for (int64_t s = span_after(u, begin); s < u->span_count && u->spans[s].offset < end; s++) {
        const cm3_flat_span *span = &u->spans[s];
        const int64_t from = span->offset > begin ? span->offset : begin;
        const int64_t to = span->offset + span->count < end ? span->offset + span->count : end;
        cm3__simd()->adamw(u, c->clip, span->decay ? u->decay : 0, from, to - from);
    }
}

/* Blocks of a fixed size, wherever spans begin and end: many small spans cost no more than one. */
static void adamw(const cm3_flat_adamw *u, float clip) {
    enum { BLOCK = 1 << 15 };
    if (u->span_count < 1) return;
    const cm3_flat_span *last = &u->spans[u->span_count - 1];
    cm3_parallel_for(last->offset + last->count - u->spans[0].offset, BLOCK, update_block, &(clipped){u, clip});
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

const cm3_flat cm3__cpu_flat = {.clipped_adamw = clipped_adamw};
