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
 * Drawing needs only where the boundaries are, not the tokens: so a sequence slot can be followed to any step without
 * reading a sample (slots.h). Every draw comes from the given generator, nothing else. */
#ifndef CM3_DATA_MASK_H
#define CM3_DATA_MASK_H

#include "core/range.h"
#include "core/rng.h"
#include "data/vocab.h"

#include <stddef.h>

enum { CM3_SPANS_MAX = 512 }; /* of one block */

typedef struct cm3_mask_config {
    double mean;      /* of the Poisson distribution; 0 with min 0: plain causal modelling */
    int64_t min, max; /* clamp of the number of spans; max also at most the number of sentinels */
    double whole;     /* probability that a block's spans are whole segments */
} cm3_mask_config;

/* What was drawn for a block. */
typedef struct cm3_mask_spans {
    int64_t drawn;  /* n of the Poisson draw, after clamping */
    bool whole;     /* whole segments */
    int64_t source; /* source tokens that the block takes: length - 3 count, or fewer if the source ends before */
    int64_t count;  /* spans that found a place */
    cm3_range spans[CM3_SPANS_MAX]; /* source positions, never empty, in order; span i has sentinel i */
} cm3_mask_spans;

/* The n that cm3_mask_spans_draw would draw from a copy of this generator: a block takes length - 3n source tokens or
 * more. */
int64_t cm3_mask_spans_count(const cm3_mask_config *config, const cm3_rng *rng, int64_t length);

/* What spans are drawn in. */
typedef struct cm3_mask_window {
    int64_t length;            /* tokens of the masked block */
    int64_t available;         /* source tokens; fewer than `length`: the source ends there, the block is shorter */
    const int64_t *boundaries; /* positions of boundary tokens among them, ascending */
    int64_t boundary_count;
} cm3_mask_window;

/* Draws n and the spans. */
void cm3_mask_spans_draw(const cm3_mask_config *config, cm3_rng *rng, const cm3_mask_window *window,
                         cm3_mask_spans *masks);

/* Tokens of the masked block: masks->source + 3 masks->count. */
int64_t cm3_mask_spans_output(const cm3_mask_spans *masks);

/* Writes the masked block. `source` holds masks->source tokens, `out` has room for cm3_mask_spans_output of them. */
void cm3_mask_spans_apply(const cm3_mask_spans *masks, const cm3_vocab *vocab, const int32_t *source, int32_t *out);

#endif
