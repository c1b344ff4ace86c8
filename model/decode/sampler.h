/* Choosing the next tokens: settings of decoding, and the batched sampler, which hands the requests of one step to the
 * backend (core/tensor/sample.h has the mathematics). */
#ifndef CM3_MODEL_DECODE_SAMPLER_H
#define CM3_MODEL_DECODE_SAMPLER_H

#include "core/config.h"
#include "core/tensor/op.h"
#include "core/tensor/sample.h"
#include "core/tensor/staged_buffer.h"

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

/* One stream; conditional and unconditional; full, image only and nothing. */
cm3_mix cm3_mix_none(void);
cm3_mix cm3_mix_guidance(double scale);
cm3_mix cm3_mix_two_guidances(double image_scale, double text_scale);

/* A request of these settings, with stream s in row s of the logits. CD-K needs a second stream; with one it is plain
 * sampling. `allowed` may be in any order but must not overlap. */
cm3_sampling_request cm3_decode_request(const cm3_decode_config *config, const cm3_mix *mix,
                                        const cm3_id_range *allowed, int ranges, cm3_rng rng);

typedef struct cm3_batched_sampler {
    const cm3_backend *backend;
    int64_t vocabulary, capacity;
    cm3_sampling_request *requests; /* (capacity) the caller fills them */
    const int32_t *ids;             /* (capacity) */
    cm3_staged_buffer request_buffer, id_buffer;
    void *workspace;
} cm3_batched_sampler;

/* For up to `capacity` requests at once. Close it after a failure, too. */
cm3_status cm3_batched_sampler_open(const cm3_backend *backend, int64_t vocabulary, int64_t capacity,
                                    cm3_batched_sampler *sampler);
void cm3_batched_sampler_close(cm3_batched_sampler *sampler);

/* Draws an id for each of the first `count` requests from logits (rows, vocabulary) f32 in the backend's memory.
 * CM3_ERR_NUMERIC if the logits of allowed ids are not finite. */
cm3_status cm3_batched_sampler_run(const cm3_batched_sampler *sampler, const cm3_tensor *logits, int64_t count);

#endif
