/* Choosing the next token from logits: guidance, contrastive decoding, temperature, top-p, and which ids may come at
 * all.
 *
 * Several streams may read the same continuation under different prompts. Their logits are mixed (guidance, or CD-K),
 * ids that are not allowed are removed, and one id is drawn.
 *
 *   guidance      l = l_uncond + a (l_cond - l_uncond)                            (CM3Leon, eq. 1)
 *   two images    l = l_0 + s_image (l_image - l_0) + s_text (l_full - l_image)   (for edits)
 *   CD-K          log p_cond - log p_uncond on { t : p_cond(t) >= alpha x (k-th largest p_cond) }, else -inf
 *                                                                                 (CM3Leon, section 3.2)
 *
 * Guidance of any kind is a weighted sum of streams, so that is what a cm3_mix holds. */
#ifndef CM3_MODEL_DECODE_SAMPLER_H
#define CM3_MODEL_DECODE_SAMPLER_H

#include "core/config.h"
#include "core/rng.h"

typedef enum cm3_decode_method { CM3_DECODE_TOP_P, CM3_DECODE_CD_K } cm3_decode_method;

typedef struct cm3_decode_config {
    int method;         /* cm3_decode_method */
    double temperature; /* 0: always the likeliest */
    double top_p;       /* draw from the likeliest ids that together have this probability */
    double guidance;    /* 1: none */
    int64_t cdk_k;
    double cdk_alpha;
    int64_t seed;
} cm3_decode_config;

extern const cm3_field cm3_decode_fields[];

enum { CM3_STREAMS_MAX = 3, CM3_RANGES_MAX = 8 };

typedef struct cm3_mix {
    int streams;
    double weight[CM3_STREAMS_MAX]; /* the first stream is the fully conditional one; weights sum to 1 */
} cm3_mix;

/* One stream; conditional and unconditional; full, image only and nothing. */
cm3_mix cm3_mix_none(void);
cm3_mix cm3_mix_guidance(double scale);
cm3_mix cm3_mix_two_guidances(double image_scale, double text_scale);

/* Ids first .. first + count - 1. */
typedef struct cm3_id_range {
    int32_t first, count;
} cm3_id_range;

/* Scratch for vocabularies of up to `capacity` ids; one a thread. */
typedef struct cm3_sampler cm3_sampler;
cm3_status cm3_sampler_create(int64_t capacity, cm3_sampler **sampler);
void cm3_sampler_free(cm3_sampler *sampler);

/* Draws one id out of the allowed ranges (at least one id). `logits` has one row of the whole vocabulary for each
 * stream of the mix. CD-K needs a second stream; with one it is plain sampling. CM3_ERR_NUMERIC if the allowed logits
 * are not finite. */
cm3_status cm3_sampler_draw(cm3_sampler *sampler, const cm3_decode_config *config, const cm3_mix *mix,
                            const float *const logits[], const cm3_id_range *allowed, int ranges, cm3_rng *rng,
                            int32_t *id);

#endif
