#include "data/mask.h"

#include <string.h>

enum { SPAN_COST = 3 }; /* a sentinel in its place, the same at the end, <eoss> */

static int64_t min64(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* What spans are drawn in: source tokens [0, end) and the boundaries among them. Segment i lies between
 * boundary i - 1 and boundary i; the ends of the window count as boundaries. Segments may be empty. */
typedef struct segments {
    const int64_t *boundaries;
    int64_t boundary_count;
    int64_t end;
} segments;

static int64_t lower_bound(const int64_t *sorted, int64_t count, int64_t value) {
    int64_t low = 0, high = count;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (sorted[middle] < value)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static cm3_range segment_of(const segments *s, int64_t i) {
    return (cm3_range){i == 0 ? 0 : s->boundaries[i - 1] + 1, i == s->boundary_count ? s->end : s->boundaries[i]};
}

static int64_t draw_count(const cm3_mask_config *config, cm3_rng *rng, int64_t length) {
    int64_t n = (int64_t)cm3_rng_poisson(rng, config->mean);
    if (n < config->min) n = config->min;
    n = min64(n, min64(config->max, CM3_SPANS_MAX));
    return min64(n, length / (SPAN_COST + 1)); /* so that every span can have a token */
}

/* Selection sampling (Knuth, TAOCP 2, 3.4.2, algorithm S): every set of segments is equally likely, and they come in
 * order. */
static void draw_whole(const segments *s, cm3_rng *rng, cm3_mask_spans *masks) {
    int64_t left = 0;
    for (int64_t i = 0; i <= s->boundary_count; i++) {
        const cm3_range segment = segment_of(s, i);
        left += segment.end > segment.begin;
    }
    for (int64_t i = 0; i <= s->boundary_count && masks->count < masks->drawn; i++) {
        const cm3_range segment = segment_of(s, i);
        if (segment.end == segment.begin) continue;
        if ((int64_t)cm3_rng_below(rng, (uint64_t)left) < masks->drawn - masks->count)
            masks->spans[masks->count++] = segment;
        left--;
    }
}

/* The part of `span` in the segment where most of it lies, the first of equals; empty if it covers boundaries only. */
static cm3_range clamp_to_segment(const segments *s, cm3_range span) {
    cm3_range best = {span.begin, span.begin};
    for (int64_t i = lower_bound(s->boundaries, s->boundary_count, span.begin); i <= s->boundary_count; i++) {
        const cm3_range segment = segment_of(s, i), part = cm3_range_intersect(segment, span);
        if (segment.begin >= span.end) break;
        if (cm3_range_length(part) > cm3_range_length(best)) best = part;
    }
    return best;
}

/* Keeps the span, in order, unless it is empty or overlaps one that is kept. */
static void keep(cm3_mask_spans *masks, cm3_range span) {
    if (span.end <= span.begin) return;
    int64_t at = masks->count;
    while (at > 0 && masks->spans[at - 1].end > span.begin) at--;
    if (at < masks->count && masks->spans[at].begin < span.end) return;
    memmove(&masks->spans[at + 1], &masks->spans[at], (size_t)(masks->count - at) * sizeof *masks->spans);
    masks->spans[at] = span;
    masks->count++;
}

static void draw_free(const segments *s, cm3_rng *rng, cm3_mask_spans *masks) {
    for (int64_t i = 0; i < masks->drawn * masks->drawn && masks->count < masks->drawn; i++) {
        const int64_t a = (int64_t)cm3_rng_below(rng, (uint64_t)s->end),
                      b = (int64_t)cm3_rng_below(rng, (uint64_t)s->end);
        keep(masks, clamp_to_segment(s, (cm3_range){min64(a, b), (a > b ? a : b) + 1}));
    }
}

int64_t cm3_mask_spans_count(const cm3_mask_config *config, const cm3_rng *rng, int64_t length) {
    cm3_rng ahead = *rng;
    return draw_count(config, &ahead, length);
}

void cm3_mask_spans_draw(const cm3_mask_config *config, cm3_rng *rng, const cm3_mask_window *window,
                         cm3_mask_spans *masks) {
    const int64_t length = window->length, available = window->available;
    masks->drawn = draw_count(config, rng, min64(length, available));
    masks->whole = cm3_rng_double(rng) < config->whole;
    masks->count = 0;
    segments s = {.boundaries = window->boundaries, .end = min64(length - SPAN_COST * masks->drawn, available)};
    s.boundary_count = lower_bound(s.boundaries, window->boundary_count, s.end);
    if (masks->drawn) (masks->whole ? draw_whole : draw_free)(&s, rng, masks);
    /* Spans that found no place give their tokens back to the source. */
    masks->source = min64(length - SPAN_COST * masks->count, available);
    cm3_range *last = masks->count ? &masks->spans[masks->count - 1] : NULL;
    if (masks->whole && last && last->end == s.end)
        last->end = s.boundary_count < window->boundary_count ? min64(s.boundaries[s.boundary_count], masks->source)
                                                              : masks->source;
}

int64_t cm3_mask_spans_output(const cm3_mask_spans *masks) {
    return masks->source + SPAN_COST * masks->count;
}

static int32_t *copy(int32_t *out, const int32_t *source, int64_t count) {
    memcpy(out, source, (size_t)count * sizeof *out);
    return out + count;
}

void cm3_mask_spans_apply(const cm3_mask_spans *masks, const cm3_vocab *vocab, const int32_t *source, int32_t *out) {
    int64_t at = 0;
    for (int64_t i = 0; i < masks->count; i++) {
        out = copy(out, source + at, masks->spans[i].begin - at);
        *out++ = cm3_vocab_id(vocab, CM3_REGION_SENTINEL, (int32_t)i);
        at = masks->spans[i].end;
    }
    out = copy(out, source + at, masks->source - at);
    for (int64_t i = 0; i < masks->count; i++) {
        const cm3_range span = masks->spans[i];
        *out++ = cm3_vocab_id(vocab, CM3_REGION_SENTINEL, (int32_t)i);
        out = copy(out, source + span.begin, span.end - span.begin);
        *out++ = cm3_vocab_id(vocab, CM3_REGION_EOSS, 0);
    }
}
