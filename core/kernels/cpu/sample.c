#include "core/tensor/sample.h"

#include "core/kernels/cpu/cpu.h"
#include "core/threads.h"

#include <math.h>

typedef struct candidate {
    double score; /* logit, then probability */
    int32_t id;
} candidate;

/* A request's part of the workspace. */
typedef struct scratch {
    candidate *candidates; /* (vocabulary) */
    double *other;         /* (vocabulary) CD-K: log-probabilities of the unconditional stream */
} scratch;

enum { WORKSPACE = sizeof(candidate) + sizeof(double) };

/* Higher score first; among equals the lower id, so that the order is total. */
static bool before(const candidate *a, const candidate *b) {
    return a->score > b->score || (a->score == b->score && a->id < b->id);
}

/* A heap whose root stands before all others: ids are taken in order of score only as far as they are needed, without
 * sorting thousands of them for each token. */
static void sift_down(candidate *c, int64_t at, int64_t count) {
    const candidate moved = c[at];
    for (int64_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && before(&c[child + 1], &c[child])) child++;
        if (!before(&c[child], &moved)) break;
        c[at] = c[child];
    }
    c[at] = moved;
}

static void make_heap(candidate *c, int64_t count) {
    for (int64_t i = count / 2; i-- > 0;) sift_down(c, i, count);
}

/* Moves the root behind the heap, which shrinks to count - 1. */
static void pop(candidate *c, int64_t count) {
    const candidate root = c[0];
    c[0] = c[count - 1];
    c[count - 1] = root;
    sift_down(c, 0, count - 1);
}

/* Scores to log-probabilities. */
static void normalise(candidate *c, int64_t count) {
    double largest = -INFINITY, sum = 0;
    for (int64_t i = 0; i < count; i++) largest = fmax(largest, c[i].score);
    for (int64_t i = 0; i < count; i++) sum += exp(c[i].score - largest);
    for (int64_t i = 0; i < count; i++) c[i].score -= largest + log(sum);
}

/* Fills the candidates with the weighted sum of `streams` streams from `first` on. */
static int64_t gather(candidate *c, const cm3_sampling *s, const cm3_sampling_request *r, int first, int streams,
                      const double *weight) {
    const float *rows[CM3_STREAMS_MAX];
    int64_t count = 0;
    for (int i = 0; i < streams; i++) rows[i] = s->logits + r->row[first + i] * s->vocabulary;
    for (int a = 0; a < r->ranges; a++)
        for (int32_t id = r->allowed[a].first; id < r->allowed[a].first + r->allowed[a].count; id++) {
            double score = 0;
            for (int i = 0; i < streams; i++) score += weight[i] * (double)rows[i][id];
            c[count++] = (candidate){.score = score, .id = id};
        }
    return count;
}

/* The k-th largest score; k is small: one pass for each distinct value. */
static double kth_largest(const candidate *c, int64_t count, int64_t k) {
    double kth = -INFINITY, last = INFINITY;
    for (int64_t found = 0; found < k && found < count;) {
        double next = -INFINITY;
        int64_t equal = 0;
        for (int64_t i = 0; i < count; i++) {
            if (c[i].score >= last) continue;
            if (c[i].score > next) next = c[i].score, equal = 0;
            equal += c[i].score == next;
        }
        if (!equal) break;
        found += equal;
        kth = last = next;
    }
    return kth;
}

/* Candidates of CD-K: those above the threshold, scored by log p_cond - log p_uncond. */
static int64_t contrast(const scratch *w, const cm3_sampling *s, const cm3_sampling_request *r) {
    candidate *c = w->candidates;
    const double one = 1;
    const int64_t count = gather(c, s, r, 1, 1, &one);
    normalise(c, count);
    for (int64_t i = 0; i < count; i++) w->other[i] = c[i].score;
    gather(c, s, r, 0, 1, &one);
    normalise(c, count);
    const double threshold = kth_largest(c, count, r->cdk_k) + log(r->cdk_alpha > 0 ? r->cdk_alpha : 1e-300);
    int64_t above = 0;
    for (int64_t i = 0; i < count; i++)
        if (c[i].score >= threshold) c[above++] = (candidate){.score = c[i].score - w->other[i], .id = c[i].id};
    return above;
}

static bool all_finite(const candidate *c, int64_t count) {
    double check = 0;
    for (int64_t i = 0; i < count; i++) check += fabs(c[i].score);
    return count > 0 && isfinite(check);
}

static int32_t likeliest(const candidate *c, int64_t count) {
    int64_t best = 0;
    for (int64_t i = 1; i < count; i++)
        if (before(&c[i], &c[best])) best = i;
    return c[best].id;
}

static int32_t draw_from_nucleus(candidate *c, int64_t count, const cm3_sampling_request *r) {
    cm3_rng rng = r->rng;
    int64_t left = count;
    double mass = 0;
    for (int64_t i = 0; i < count; i++) c[i].score /= r->temperature;
    normalise(c, count);
    for (int64_t i = 0; i < count; i++) c[i].score = exp(c[i].score);
    make_heap(c, count);
    while (left > 0 && mass < r->top_p) {
        mass += c[0].score;
        pop(c, left--);
    }
    /* The nucleus lies behind the heap, likeliest last. */
    double draw = cm3_rng_double(&rng) * mass;
    int64_t at = count - 1;
    for (; at > left; at--) {
        draw -= c[at].score;
        if (draw < 0) break;
    }
    return c[at].id;
}

static int32_t draw_one(const scratch *w, const cm3_sampling *s, const cm3_sampling_request *r) {
    candidate *c = w->candidates;
    const int64_t count = r->contrast ? contrast(w, s, r) : gather(c, s, r, 0, r->mix.streams, r->mix.weight);
    if (!all_finite(c, count)) return -1;
    return r->temperature <= 0 || count == 1 ? likeliest(c, count) : draw_from_nucleus(c, count, r);
}

static void draw_range(const void *context, int64_t first, int64_t last) {
    const cm3_sampling *s = context;
    for (int64_t i = first; i < last; i++) {
        char *own = (char *)s->workspace + (size_t)(i * s->vocabulary) * WORKSPACE;
        const scratch w = {.candidates = (candidate *)own,
                           .other = (double *)(own + (size_t)s->vocabulary * sizeof(candidate))};
        s->ids[i] = draw_one(&w, s, &s->requests[i]);
    }
}

static cm3_status draw(const cm3_sampling *s) {
    cm3_parallel_for(s->count, 1, draw_range, s);
    return CM3_OK;
}

const cm3_sampler cm3__cpu_sampler = {.bytes = WORKSPACE, .draw = draw};
