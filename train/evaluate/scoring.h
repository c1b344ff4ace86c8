/* Scoring: the cross-entropy of given samples under a model, apart for text tokens and image codes. */
#ifndef CM3_TRAIN_EVALUATE_SCORING_H
#define CM3_TRAIN_EVALUATE_SCORING_H

#include "data/document.h"
#include "data/vocab.h"
#include "model/transformer.h"

typedef struct cm3_sample_score {
    int64_t text_tokens, image_tokens;
    double text_nats, image_nats; /* sums over the targets of each kind */
} cm3_sample_score;

/* Each sample is a sequence of ids by itself, read from left to right in plain causal order: every token but the first
 * is a target; specials are not counted. Samples of more than context + 1 tokens are CM3_ERR_USAGE. Up to `rows`
 * samples are read at once. Runs where the model's parameters are. */
cm3_status cm3_score_samples(const cm3_transformer *model, const cm3_vocab *vocab, const cm3_tokens *samples,
                             int64_t count, int64_t rows, cm3_sample_score *scores);

#endif
