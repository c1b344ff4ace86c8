/* Generation: prompts in, tokens out, many at a time.
 *
 * A request is one continuation. It is read by one or more streams - the same continuation behind different prompts -
 * whose logits are mixed (model/decode/sampler.h). What may come is a list of phases: "exactly 1024 image codes",
 * "text until <eoss>". The ids of prompts and phases come from the data layer, which knows the vocabulary; this file
 * knows none.
 *
 * The draws of a request depend on its sample number and the position alone, not on what else is in the batch. */
#ifndef CM3_MODEL_DECODE_GENERATE_H
#define CM3_MODEL_DECODE_GENERATE_H

#include "model/decode/sampler.h"
#include "model/transformer.h"

enum { CM3_PHASES_MAX = 4 };

typedef struct cm3_phase {
    cm3_id_range allowed[CM3_RANGES_MAX]; /* must hold the stop ids, too */
    int ranges;
    cm3_id_range stop; /* drawing one of these ends the phase and is part of the output; count 0: none */
    int64_t tokens;    /* the phase ends after so many */
} cm3_phase;

typedef struct cm3_request {
    const int32_t *prompts[CM3_STREAMS_MAX]; /* at least one token each */
    int64_t prompt_tokens[CM3_STREAMS_MAX];
    cm3_mix mix;
    cm3_phase phases[CM3_PHASES_MAX];
    int phase_count;
    uint64_t sample; /* names the draws */
    int32_t *out;    /* room for the tokens of all phases */
    int64_t count;   /* set: tokens drawn */
} cm3_request;

typedef struct cm3_generator cm3_generator;

/* `rows`: streams that are run at once, which bounds memory (a request needs all of its streams at once). It runs where
 * the model's parameters are, which must have their values and outlive the generator. */
cm3_status cm3_generator_create(const cm3_transformer *model, int64_t rows, cm3_generator **generator);
void cm3_generator_free(cm3_generator *generator);

/* Runs all requests, which all have the same number of streams; `advanced`, when not NULL, is called now and then
 * with the number of requests done. CM3_ERR_USAGE if a prompt and its continuation pass the model's context. */
cm3_status cm3_generate(cm3_generator *generator, const cm3_decode_config *config, cm3_request *requests, int64_t count,
                        void (*advanced)(void *context, int64_t done), void *context);

#endif
