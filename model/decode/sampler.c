#include "model/decode/sampler.h"

#include <math.h>
#include <stdlib.h>

static const char *const methods[] = {"top-p", "cd-k", NULL};

#define C cm3_decode_config
const cm3_field cm3_decode_fields[] = {
    CM3_FIELD_CHOICE(C, method, "top-p", methods, "top-p sampling with guidance, or contrastive decoding CD-K"),
    CM3_FIELD_FLOAT(C, temperature, "1.0", 0, 100, "", "divides the logits; 0 always takes the likeliest token"),
    CM3_FIELD_FLOAT(C, top_p, "0.9", 1e-6, 1, "", "share of probability of the likeliest tokens that are drawn from"),
    CM3_FIELD_FLOAT(C, guidance, "3.0", 0, 100, "", "classifier-free guidance for images; 1 is none"),
    CM3_FIELD_INT(C, cdk_k, "16", 1, 65536, "", "CD-K: which largest probability sets the threshold"),
    CM3_FIELD_FLOAT(C, cdk_alpha, "0.1", 0, 1, "", "CD-K: share of that probability a token must reach"),
    CM3_FIELD_INT(C, seed, "0", 0, 1e15, "", "of every draw"),
    CM3_FIELD_END};
#undef C

cm3_mix cm3_mix_none(void) {
    return (cm3_mix){.streams = 1, .weight = {1}};
}

cm3_mix cm3_mix_guidance(double scale) {
    return (cm3_mix){.streams = 2, .weight = {scale, 1 - scale}};
}

cm3_mix cm3_mix_two_guidances(double image_scale, double text_scale) {
    return (cm3_mix){.streams = 3, .weight = {text_scale, image_scale - text_scale, 1 - image_scale}};
}

typedef struct candidate {
    double score; /* logit, then probability */
    int32_t id;
} candidate;

struct cm3_sampler {
    candidate *candidates;
    double *other; /* CD-K: log-probabilities of the unconditional stream */
    int64_t capacity;
};

cm3_status cm3_sampler_create(int64_t capacity, cm3_sampler **out) {
    cm3_sampler *sampler = calloc(1, sizeof *sampler);
    *out = sampler;
    if (sampler) {
        sampler->capacity = capacity;
        sampler->candidates = malloc((size_t)capacity * sizeof *sampler->candidates);
        sampler->other = malloc((size_t)capacity * sizeof *sampler->other);
        if (sampler->candidates && sampler->other) return CM3_OK;
    }
    cm3_sampler_free(sampler);
    *out = NULL;
    return cm3_fail(CM3_ERR_MEMORY, "no memory to sample from %lld ids", (long long)capacity);
}

void cm3_sampler_free(cm3_sampler *sampler) {
    if (!sampler) return;
    free(sampler->candidates);
    free(sampler->other);
    free(sampler);
}

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

/* Fills the candidates with the logits of one stream, or of the weighted sum of all. */
static int64_t gather(candidate *c, const cm3_mix *mix, const float *const logits[], const cm3_id_range *allowed,
                      int ranges) {
    int64_t count = 0;
    for (int r = 0; r < ranges; r++)
        for (int32_t id = allowed[r].first; id < allowed[r].first + allowed[r].count; id++) {
            double score = 0;
            for (int s = 0; s < mix->streams; s++) score += mix->weight[s] * (double)logits[s][id];
            c[count++] = (candidate){.score = score, .id = id};
        }
    return count;
}

/* Candidates of CD-K: those above the threshold, scored by log p_cond - log p_uncond. */
static int64_t contrast(cm3_sampler *sampler, const cm3_decode_config *config, const float *const logits[],
                        const cm3_id_range *allowed, int ranges) {
    candidate *c = sampler->candidates;
    const cm3_mix one = cm3_mix_none();
    const int64_t count = gather(c, &one, &logits[1], allowed, ranges);
    normalise(c, count);
    for (int64_t i = 0; i < count; i++) sampler->other[i] = c[i].score;
    gather(c, &one, logits, allowed, ranges);
    normalise(c, count);

    /* The k-th largest. */
    int64_t kept = 0;
    double threshold = -INFINITY, last = INFINITY;
    const int64_t k = config->cdk_k < count ? config->cdk_k : count;
    for (int64_t taken = 0; taken < k;) { /* k is small: one pass for each distinct value */
        double next = -INFINITY;
        int64_t equal = 0;
        for (int64_t i = 0; i < count; i++) {
            if (c[i].score >= last) continue;
            if (c[i].score > next) next = c[i].score, equal = 0;
            equal += c[i].score == next;
        }
        if (!equal) break;
        taken += equal;
        threshold = last = next;
    }
    threshold += log(config->cdk_alpha > 0 ? config->cdk_alpha : 1e-300);
    for (int64_t i = 0; i < count; i++)
        if (c[i].score >= threshold) c[kept++] = (candidate){.score = c[i].score - sampler->other[i], .id = c[i].id};
    return kept;
}

cm3_status cm3_sampler_draw(cm3_sampler *sampler, const cm3_decode_config *config, const cm3_mix *mix,
                            const float *const logits[], const cm3_id_range *allowed, int ranges, cm3_rng *rng,
                            int32_t *id) {
    int64_t wanted = 0;
    for (int r = 0; r < ranges; r++) wanted += allowed[r].count;
    if (wanted < 1 || wanted > sampler->capacity)
        return cm3_fail(CM3_ERR_INTERNAL, "%lld ids are allowed, a sampler for up to %lld", (long long)wanted,
                        (long long)sampler->capacity);
    candidate *c = sampler->candidates;
    const bool contrastive = config->method == CM3_DECODE_CD_K && mix->streams > 1;
    const int64_t count =
        contrastive ? contrast(sampler, config, logits, allowed, ranges) : gather(c, mix, logits, allowed, ranges);
    double check = 0;
    for (int64_t i = 0; i < count; i++) check += fabs(c[i].score);
    if (!isfinite(check) || !count) return cm3_fail(CM3_ERR_NUMERIC, "the model's logits are not finite");

    int64_t best = 0;
    for (int64_t i = 1; i < count; i++)
        if (before(&c[i], &c[best])) best = i;
    *id = c[best].id;
    if (config->temperature <= 0 || count == 1) return CM3_OK;

    for (int64_t i = 0; i < count; i++) c[i].score /= config->temperature;
    normalise(c, count);
    for (int64_t i = 0; i < count; i++) c[i].score = exp(c[i].score);
    make_heap(c, count);
    int64_t left = count;
    double mass = 0;
    while (left > 0 && mass < config->top_p) {
        mass += c[0].score;
        pop(c, left--);
    }
    /* The nucleus lies behind the heap, likeliest last. */
    double draw = cm3_rng_double(rng) * mass;
    for (int64_t i = count - 1; i >= left; i--) {
        *id = c[i].id;
        draw -= c[i].score;
        if (draw < 0) break;
    }
    return CM3_OK;
}
