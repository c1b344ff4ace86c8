/* The draws of one step, for many requests at once: on the host by the sampler (model/decode/sampler.h), on a device
 * by the same rules where the logits are (core/tensor/sample.h), from which only the ids come back. */
#ifndef CM3_MODEL_DECODE_BATCHED_SAMPLER_H
#define CM3_MODEL_DECODE_BATCHED_SAMPLER_H

#include "core/tensor/op.h"
#include "model/decode/sampler.h"

typedef struct cm3_sampling_request {
    const cm3_mix *mix;
    int64_t row[CM3_STREAMS_MAX]; /* of the logits: one a stream */
    const cm3_id_range *allowed;
    int ranges;
    cm3_rng rng; /* that nothing was drawn from yet */
    int32_t id;  /* set */
} cm3_sampling_request;

typedef struct cm3_batched_sampler cm3_batched_sampler;

/* Up to `capacity` requests at once. */
cm3_status cm3_batched_sampler_create(const cm3_backend *backend, int64_t vocabulary, int64_t capacity,
                                      cm3_batched_sampler **sampler);
void cm3_batched_sampler_free(cm3_batched_sampler *sampler);

/* `logits`: (rows, vocabulary) in the backend's memory. Errors are those of cm3_sampler_draw(). */
cm3_status cm3_batched_sampler_run(cm3_batched_sampler *sampler, const cm3_decode_config *config,
                                   const cm3_tensor *logits, cm3_sampling_request *requests, int64_t count);

#endif
