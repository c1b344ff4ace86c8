/* Drawing tokens where the logits are: a batch of draws on a device, from which only the chosen ids come back.
 *
 * A draw is what model/decode/sampler.h defines, in the same order: a weighted sum of streams or their contrast,
 * temperature, top-p, one random number. It takes the same id as the sampler of the host wherever rounding does not
 * decide: scores are f32 here and f64 there. */
#ifndef CM3_CORE_TENSOR_SAMPLE_H
#define CM3_CORE_TENSOR_SAMPLE_H

#include "core/rng.h"
#include "core/tensor/tensor.h"

#include <stdbool.h>

enum { CM3_DRAW_STREAMS = 3, CM3_DRAW_RANGES = 8 };

typedef struct cm3_draw {
    int32_t streams, ranges;
    int32_t row[CM3_DRAW_STREAMS]; /* of the logits: one a stream, the fully conditional one first */
    bool contrast;                 /* CD-K on the first two streams; otherwise the weighted sum of all */
    double weight[CM3_DRAW_STREAMS];
    /* Ids that may come, of all the vocabulary: `first` and how many, one range behind the other, ascending. */
    struct {
        int32_t first, count;
    } range[CM3_DRAW_RANGES];
    double temperature; /* 0: always the likeliest */
    double top_p;
    int64_t cdk_k;
    double cdk_alpha;
    cm3_rng rng; /* a stream that nothing was drawn from yet */
} cm3_draw;

/* All addresses are the backend's. */
typedef struct cm3_sampling {
    const void *logits; /* (rows, vocabulary) of `type`, f32 or bf16 */
    cm3_dtype type;
    int64_t vocabulary;
    const cm3_draw *draws;
    int64_t count;
    int32_t *ids;     /* (count): what was drawn; -1 where the logits of allowed ids are not finite */
    float *workspace; /* (count, vocabulary) */
} cm3_sampling;

#endif
