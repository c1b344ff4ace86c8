#include "model/decode/batched_sampler.h"

#include "core/tensor/staged_buffer.h"
#include "core/tensor/sample.h"

#include <stdlib.h>

_Static_assert((int)CM3_DRAW_STREAMS == CM3_STREAMS_MAX && (int)CM3_DRAW_RANGES == CM3_RANGES_MAX,
               "what may be asked for is what a device can draw");

struct cm3_batched_sampler {
    const cm3_backend *backend;
    int64_t vocabulary, capacity;
    cm3_sampler *sampler; /* where the backend has no draws of its own */
    /* Where it has: */
    cm3_staged_buffer draws, ids;
    float *workspace; /* (capacity, vocabulary) */
};

static size_t workspace_bytes(const cm3_batched_sampler *d) {
    return (size_t)(d->capacity * d->vocabulary) * sizeof *d->workspace;
}

static cm3_status prepare(cm3_batched_sampler *d) {
    const cm3_memory *memory = d->backend->memory;
    if (!d->backend->sample) return cm3_sampler_create(d->vocabulary, &d->sampler);
    CM3_TRY(cm3_staged_buffer_alloc(memory, (size_t)d->capacity * sizeof(cm3_draw), "the draws of a step", &d->draws));
    CM3_TRY(cm3_staged_buffer_alloc(memory, (size_t)d->capacity * sizeof(int32_t), "the draws of a step", &d->ids));
    d->workspace = memory->alloc(workspace_bytes(d));
    return d->workspace ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "no memory for the draws of a step");
}

cm3_status cm3_batched_sampler_create(const cm3_backend *backend, int64_t vocabulary, int64_t capacity,
                                      cm3_batched_sampler **out) {
    cm3_batched_sampler *d = *out = calloc(1, sizeof *d);
    if (!d) return cm3_fail(CM3_ERR_MEMORY, "no memory for the draws of a step");
    *d = (cm3_batched_sampler){.backend = backend, .vocabulary = vocabulary, .capacity = capacity};
    const cm3_status status = prepare(d);
    if (status == CM3_OK) return CM3_OK;
    cm3_batched_sampler_free(d);
    *out = NULL;
    return status;
}

void cm3_batched_sampler_free(cm3_batched_sampler *d) {
    if (!d) return;
    cm3_sampler_free(d->sampler);
    cm3_staged_buffer_free(&d->draws);
    cm3_staged_buffer_free(&d->ids);
    d->backend->memory->free(d->workspace, workspace_bytes(d));
    free(d);
}

static cm3_status draw_on_host(cm3_batched_sampler *d, const cm3_decode_config *config, const float *logits,
                               cm3_sampling_request *drawing) {
    const float *rows[CM3_STREAMS_MAX];
    for (int s = 0; s < drawing->mix->streams; s++) rows[s] = logits + drawing->row[s] * d->vocabulary;
    return cm3_sampler_draw(d->sampler, config, drawing->mix, rows, drawing->allowed, drawing->ranges, &drawing->rng,
                            &drawing->id);
}

/* As the device wants it: the allowed ids ascend. */
static cm3_draw draw_of(const cm3_decode_config *config, const cm3_sampling_request *drawing) {
    cm3_draw draw = {.streams = drawing->mix->streams,
                     .ranges = drawing->ranges,
                     .contrast = config->method == CM3_DECODE_CD_K && drawing->mix->streams > 1,
                     .temperature = config->temperature,
                     .top_p = config->top_p,
                     .cdk_k = config->cdk_k,
                     .cdk_alpha = config->cdk_alpha,
                     .rng = drawing->rng};
    for (int s = 0; s < draw.streams; s++) {
        draw.row[s] = (int32_t)drawing->row[s];
        draw.weight[s] = drawing->mix->weight[s];
    }
    for (int r = 0; r < draw.ranges; r++) {
        int at = r;
        for (; at > 0 && draw.range[at - 1].first > drawing->allowed[r].first; at--)
            draw.range[at] = draw.range[at - 1];
        draw.range[at].first = drawing->allowed[r].first;
        draw.range[at].count = drawing->allowed[r].count;
    }
    return draw;
}

static cm3_status draw_there(cm3_batched_sampler *d, const cm3_decode_config *config, const cm3_tensor *logits,
                             cm3_sampling_request *requests, int64_t count) {
    const cm3_sampling sampling = {.logits = logits->data,
                                   .type = logits->type,
                                   .vocabulary = d->vocabulary,
                                   .draws = d->draws.there,
                                   .count = count,
                                   .ids = d->ids.there,
                                   .workspace = d->workspace};
    cm3_draw *draws = d->draws.host;
    const int32_t *ids = d->ids.host;
    for (int64_t i = 0; i < count; i++) draws[i] = draw_of(config, &requests[i]);
    CM3_TRY(cm3_staged_buffer_upload(&d->draws));
    CM3_TRY(d->backend->sample(&sampling));
    CM3_TRY(cm3_staged_buffer_download(&d->ids));
    for (int64_t i = 0; i < count; i++) {
        if (ids[i] < 0) return cm3_fail(CM3_ERR_NUMERIC, "the model's logits are not finite");
        requests[i].id = ids[i];
    }
    return CM3_OK;
}

cm3_status cm3_batched_sampler_run(cm3_batched_sampler *d, const cm3_decode_config *config, const cm3_tensor *logits,
                                   cm3_sampling_request *requests, int64_t count) {
    if (count < 1) return CM3_OK;
    if (d->backend->sample) return draw_there(d, config, logits, requests, count);
    for (int64_t i = 0; i < count; i++) CM3_TRY(draw_on_host(d, config, logits->data, &requests[i]));
    return CM3_OK;
}
