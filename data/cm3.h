/* The CM3 objective: causally masked language modelling (Aghajanyan et al., "CM3: A Causal Masked Multimodal Model of
 * the Internet", 2022; with CM3Leon's rule that a span never crosses a <break>).
 *
 * A block of source tokens has n spans cut out. Each leaves its sentinel behind, and follows at the end:
 *
 *     a b [c d] e <break> [f g h]
 *     a b <sentinel:0> e <break> <sentinel:1> <sentinel:0> c d <eoss> <sentinel:1> f g h <eoss>
 *
 * so that every span costs 3 tokens, and the model learns to fill in with all that stands around a gap before its eyes.
 *
 *   n             Poisson(mask_mean), clamped to [mask_min, mask_max]. With n = 0 the block is left as it is.
 *   spans         with probability mask_whole whole segments, chosen uniformly without repetition; else n^2
 *                 candidates, each between two uniform draws, clamped to the segment that it overlaps most, kept
 *                 greedily while fewer than n are and they do not overlap. A segment is what stands between boundaries:
 *                 <break>, <eos>, the block's ends.
 *   no loss       a block of `length` tokens out takes length - 3n source tokens in. Where fewer than n spans find a
 *                 place, the source is longer by theirs, and a whole-segment span at its end grows with it: the output
 *                 is always exactly `length`, and every source token is in it.
 *
 * Planning needs only where the boundaries are, not the tokens: so lanes can be followed to any step without reading a
 * sample (lanes.h). Every draw comes from the given generator, nothing else. */
#ifndef CM3_DATA_CM3_H
#define CM3_DATA_CM3_H

#include "core/rng.h"
#include "data/vocab.h"

#include <stddef.h>

enum { CM3_SPANS_MAX = 512 }; /* of one block */

typedef struct cm3_mask_config {
    double mean;      /* of the Poisson distribution; 0 with min 0: plain causal modelling */
    int64_t min, max; /* clamp of the number of spans; max also at most the number of sentinels */
    double whole;     /* probability that a block's spans are whole segments */
} cm3_mask_config;

typedef struct cm3_span {
    int64_t begin, end; /* source positions [begin, end), never empty */
} cm3_span;

/* What was drawn for a block. */
typedef struct cm3_plan {
    int64_t drawn;  /* n of the Poisson draw, after clamping */
    bool whole;     /* whole segments */
    int64_t source; /* source tokens that the block takes: length - 3 count, or fewer if the source ends before */
    int64_t count;  /* spans that found a place */
    cm3_span spans[CM3_SPANS_MAX]; /* in order of position; span i has sentinel i */
} cm3_plan;

/* The n that cm3_plan_draw would draw from a copy of this generator: a block takes length - 3n source tokens or more.
 */
int64_t cm3_plan_count(const cm3_mask_config *config, const cm3_rng *rng, int64_t length);

/* Draws n and the spans. `boundaries` are the positions of boundary tokens, ascending, among the next `available`
 * source tokens; `available` should be at least `length`, fewer means that the source ends there (then the block is
 * shorter). */
void cm3_plan_draw(const cm3_mask_config *config, cm3_rng *rng, int64_t length, const int64_t *boundaries,
                   int64_t boundary_count, int64_t available, cm3_plan *plan);

/* Tokens that the plan makes: plan->source + 3 plan->count. */
int64_t cm3_plan_output(const cm3_plan *plan);

/* Writes the masked block. `source` holds plan->source tokens, `out` has room for cm3_plan_output of them. */
void cm3_plan_apply(const cm3_plan *plan, const cm3_vocab *vocab, const int32_t *source, int32_t *out);

/* Both at once, for tokens whose boundaries are not known: finds them, draws, applies. `*count` is set to the tokens in
 * `out` (room for `length`); plan->source tells how many of the `available` tokens were used. CM3_ERR_MEMORY only. */
cm3_status cm3_mask_tokens(const cm3_mask_config *config, const cm3_vocab *vocab, cm3_rng *rng, int64_t length,
                           const int32_t *source, int64_t available, int32_t *out, int64_t *count, cm3_plan *plan);

#endif
