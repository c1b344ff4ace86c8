#include "data/cm3.h"

#include <stdlib.h>
#include <string.h>

enum { SPAN_COST = 3 }; /* a sentinel in its place, the same at the end, <eoss> */

static int64_t min64(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* The window that spans are drawn in: source tokens [0, end) and the boundaries among them. Segment i lies between
 * boundary i - 1 and boundary i; the ends of the window count as boundaries. Segments may be empty. */
typedef struct window {
    const int64_t *boundaries;
    int64_t boundary_count;
    int64_t end;
} window;

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

static cm3_span segment_of(const window *w, int64_t i) {
    return (cm3_span){i == 0 ? 0 : w->boundaries[i - 1] + 1, i == w->boundary_count ? w->end : w->boundaries[i]};
}

static int64_t draw_count(const cm3_mask_config *config, cm3_rng *rng, int64_t length) {
    int64_t n = (int64_t)cm3_rng_poisson(rng, config->mean);
    if (n < config->min) n = config->min;
    n = min64(n, min64(config->max, CM3_SPANS_MAX));
    return min64(n, length / (SPAN_COST + 1)); /* so that every span can have a token */
}

/* Selection sampling (Knuth, TAOCP 2, 3.4.2, algorithm S): every set of segments is equally likely, and they come in
 * order. */
static void draw_whole(const window *w, cm3_rng *rng, cm3_plan *plan) {
    int64_t left = 0;
    for (int64_t i = 0; i <= w->boundary_count; i++) {
        const cm3_span segment = segment_of(w, i);
        left += segment.end > segment.begin;
    }
    for (int64_t i = 0; i <= w->boundary_count && plan->count < plan->drawn; i++) {
        const cm3_span segment = segment_of(w, i);
        if (segment.end == segment.begin) continue;
        if ((int64_t)cm3_rng_below(rng, (uint64_t)left) < plan->drawn - plan->count)
            plan->spans[plan->count++] = segment;
        left--;
    }
}

/* The part of `span` in the segment where most of it lies, the first of equals; empty if it covers boundaries only. */
static cm3_span clamp_to_segment(const window *w, cm3_span span) {
    cm3_span best = {span.begin, span.begin};
    for (int64_t i = lower_bound(w->boundaries, w->boundary_count, span.begin); i <= w->boundary_count; i++) {
        cm3_span part = segment_of(w, i);
        if (part.begin >= span.end) break;
        if (part.begin < span.begin) part.begin = span.begin;
        if (part.end > span.end) part.end = span.end;
        if (part.end - part.begin > best.end - best.begin) best = part;
    }
    return best;
}

/* Keeps the span, in order, unless it is empty or overlaps one that is kept. */
static void keep(cm3_plan *plan, cm3_span span) {
    if (span.end <= span.begin) return;
    int64_t at = plan->count;
    while (at > 0 && plan->spans[at - 1].end > span.begin) at--;
    if (at < plan->count && plan->spans[at].begin < span.end) return;
    memmove(&plan->spans[at + 1], &plan->spans[at], (size_t)(plan->count - at) * sizeof *plan->spans);
    plan->spans[at] = span;
    plan->count++;
}

static void draw_free(const window *w, cm3_rng *rng, cm3_plan *plan) {
    for (int64_t i = 0; i < plan->drawn * plan->drawn && plan->count < plan->drawn; i++) {
        const int64_t a = (int64_t)cm3_rng_below(rng, (uint64_t)w->end),
                      b = (int64_t)cm3_rng_below(rng, (uint64_t)w->end);
        keep(plan, clamp_to_segment(w, (cm3_span){min64(a, b), (a > b ? a : b) + 1}));
    }
}

int64_t cm3_plan_count(const cm3_mask_config *config, const cm3_rng *rng, int64_t length) {
    cm3_rng ahead = *rng;
    return draw_count(config, &ahead, length);
}

void cm3_plan_draw(const cm3_mask_config *config, cm3_rng *rng, int64_t length, const int64_t *boundaries,
                   int64_t boundary_count, int64_t available, cm3_plan *plan) {
    plan->drawn = draw_count(config, rng, min64(length, available));
    plan->whole = cm3_rng_double(rng) < config->whole;
    plan->count = 0;
    window w = {.boundaries = boundaries, .end = min64(length - SPAN_COST * plan->drawn, available)};
    w.boundary_count = lower_bound(boundaries, boundary_count, w.end);
    if (plan->drawn) (plan->whole ? draw_whole : draw_free)(&w, rng, plan);
    /* Spans that found no place give their tokens back to the source. */
    plan->source = min64(length - SPAN_COST * plan->count, available);
    cm3_span *last = plan->count ? &plan->spans[plan->count - 1] : NULL;
    if (plan->whole && last && last->end == w.end)
        last->end =
            w.boundary_count < boundary_count ? min64(boundaries[w.boundary_count], plan->source) : plan->source;
}

int64_t cm3_plan_output(const cm3_plan *plan) {
    return plan->source + SPAN_COST * plan->count;
}

static int32_t *copy(int32_t *out, const int32_t *source, int64_t count) {
    memcpy(out, source, (size_t)count * sizeof *out);
    return out + count;
}

void cm3_plan_apply(const cm3_plan *plan, const cm3_vocab *vocab, const int32_t *source, int32_t *out) {
    int64_t at = 0;
    for (int64_t i = 0; i < plan->count; i++) {
        out = copy(out, source + at, plan->spans[i].begin - at);
        *out++ = cm3_vocab_id(vocab, CM3_REGION_SENTINEL, (int32_t)i);
        at = plan->spans[i].end;
    }
    out = copy(out, source + at, plan->source - at);
    for (int64_t i = 0; i < plan->count; i++) {
        const cm3_span span = plan->spans[i];
        *out++ = cm3_vocab_id(vocab, CM3_REGION_SENTINEL, (int32_t)i);
        out = copy(out, source + span.begin, span.end - span.begin);
        *out++ = cm3_vocab_id(vocab, CM3_REGION_EOSS, 0);
    }
}

cm3_status cm3_mask_tokens(const cm3_mask_config *config, const cm3_vocab *vocab, cm3_rng *rng, int64_t length,
                           const int32_t *source, int64_t available, int32_t *out, int64_t *count, cm3_plan *plan) {
    const int32_t eos = cm3_vocab_id(vocab, CM3_REGION_EOS, 0), brk = cm3_vocab_id(vocab, CM3_REGION_BREAK, 0);
    available = min64(available, length);
    int64_t *boundaries = malloc((size_t)(available + 1) * sizeof *boundaries), boundary_count = 0;
    if (!boundaries) return cm3_fail(CM3_ERR_MEMORY, "no memory for a block of %lld tokens", (long long)available);
    for (int64_t i = 0; i < available; i++)
        if (source[i] == eos || source[i] == brk) boundaries[boundary_count++] = i;
    cm3_mask_config limited = *config;
    limited.max = min64(limited.max, vocab->region[CM3_REGION_SENTINEL].count);
    cm3_plan_draw(&limited, rng, length, boundaries, boundary_count, available, plan);
    cm3_plan_apply(plan, vocab, source, out);
    *count = cm3_plan_output(plan);
    free(boundaries);
    return CM3_OK;
}
