#include "train/evaluate/match.h"

#include "core/threads.h"

/* Bytes between two looks at the limit: long enough for vector loops, short enough that most images are left early.
 * Their sum fits 32 bits. */
enum { STRIDE = 1024 };

uint64_t cm3_image_distance(const uint8_t *a, const uint8_t *b, int64_t bytes, uint64_t limit) {
    uint64_t sum = 0;
    for (int64_t begin = 0; begin < bytes && sum <= limit; begin += STRIDE) {
        const int64_t end = begin + STRIDE < bytes ? begin + STRIDE : bytes;
        int32_t part = 0;
        for (int64_t i = begin; i < end; i++) {
            const int32_t difference = (int32_t)a[i] - (int32_t)b[i];
            part += difference * difference;
        }
        sum += (uint64_t)part;
    }
    return sum;
}

static void offer(const uint8_t *drawn, const uint8_t *truth, int64_t first, int64_t images, int64_t bytes,
                  cm3_match *best) {
    for (int64_t p = 0; p < images; p++) {
        const uint64_t distance = cm3_image_distance(drawn, truth + p * bytes, bytes, best->distance);
        const bool nearer =
            distance < best->distance || (distance == best->distance && best->index >= 0 && first + p < best->index);
        if (nearer) *best = (cm3_match){.index = first + p, .distance = distance};
    }
}

typedef struct offers {
    const uint8_t *drawn, *truth;
    int64_t first, images, bytes;
    cm3_match *best;
} offers;

static void offer_range(const void *context, int64_t begin, int64_t end) {
    const offers *o = context;
    for (int64_t i = begin; i < end; i++)
        offer(o->drawn + i * o->bytes, o->truth, o->first, o->images, o->bytes, &o->best[i]);
}

void cm3_match_offer(const uint8_t *drawn, int64_t count, const uint8_t *truth, int64_t first, int64_t images,
                     int64_t bytes, cm3_match *best) {
    cm3_parallel_for(count, 4, offer_range, &(offers){drawn, truth, first, images, bytes, best});
}
