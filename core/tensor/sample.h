/* Sampling of tokens where the logits are: a batch of requests, of which only the ids come back to the host.
 *
 * Several streams may read the same continuation under different prompts. Their logits are combined, ids that are not
 * allowed are left out, and one id is drawn:
 *
 *   guidance      l = l_uncond + a (l_cond - l_uncond)                          (CM3Leon, eq. 1)
 *   two images    l = l_0 + s_image (l_image - l_0) + s_text (l_full - l_image)     (for edits)
 *   CD-K          log p_cond - log p_uncond on { t : p_cond(t) >= alpha x (k-th largest p_cond) }, else -inf
 *                                                                               (CM3Leon, section 3.2)
 *
 * Guidance of any kind is a weighted sum of streams. Then: softmax at `temperature`, the fewest likeliest ids that
 * together have the probability `top_p` (of equal ones the lower id first), one random number. All backends draw the
 * same id wherever rounding does not decide: the CPU computes scores in f64, a GPU in f32. */
#ifndef CM3_CORE_TENSOR_SAMPLE_H
#define CM3_CORE_TENSOR_SAMPLE_H

#include "core/rng.h"
#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>

enum { CM3_STREAMS_MAX = 3, CM3_RANGES_MAX = 8 };

/* Ids first .. first + count - 1. */
typedef struct cm3_id_range {
    int32_t first, count;
} cm3_id_range;

/* Weights of a request's streams, which sum to 1; the first stream is the fully conditional one. */
typedef struct cm3_mix {
    int32_t streams;
    double weight[CM3_STREAMS_MAX];
} cm3_mix;

typedef struct cm3_sampling_request {
    cm3_mix mix;
    int32_t row[CM3_STREAMS_MAX];         /* of the logits: one a stream */
    int32_t ranges;                       /* at least one id must be allowed */
    cm3_id_range allowed[CM3_RANGES_MAX]; /* ascending */
    bool contrast;                        /* CD-K on the first two streams, instead of the weighted sum */
    int64_t cdk_k;
    double cdk_alpha;
    double temperature; /* 0: the likeliest id */
    double top_p;
    cm3_rng rng; /* a stream that nothing was drawn from yet */
} cm3_sampling_request;

/* All addresses are the backend's. */
typedef struct cm3_sampling {
    const float *logits; /* (rows, vocabulary) */
    int64_t vocabulary;
    const cm3_sampling_request *requests;
    int64_t count;
    int32_t *ids;    /* (count): the ids drawn; -1 where the logits of allowed ids are not finite */
    void *workspace; /* (count, vocabulary) times the backend's cm3_sampler.bytes */
} cm3_sampling;

typedef struct cm3_sampler {
    size_t bytes; /* of workspace, for each request and id of the vocabulary */
    cm3_status (*draw)(const cm3_sampling *sampling);
} cm3_sampler;

#endif
