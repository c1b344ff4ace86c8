#include "model/decode/sampler.h"

static const char *const methods[] = {"top-p", "cd-k", NULL};

#define C cm3_decode_config
const cm3_field cm3_decode_fields[] = {
    CM3_FIELD_CHOICE(C, method, "top-p", methods, "top-p sampling with guidance, or contrastive decoding CD-K"),
    CM3_FIELD_FLOAT(C, temperature, "1.0", 0, 100, "", "divides the logits; 0 always takes the likeliest token"),
    CM3_FIELD_FLOAT(C, top_p, "0.9", 1e-6, 1, "", "share of probability of the likeliest tokens that are drawn from"),
    CM3_FIELD_FLOAT(C, guidance, "3.0", 0, 100, "", "classifier-free guidance for images; 1 is none"),
    CM3_FIELD_INT(C, cdk_k, "16", 1, 65536, "", "CD-K: which largest probability sets the threshold"),
    CM3_FIELD_FLOAT(C, cdk_alpha, "0.1", 0, 1, "", "CD-K: share of that probability a token must reach"),
    CM3_FIELD_INT(C, seed, "0", 0, 1e15, "", "of every draw"),
    CM3_FIELD_END};
#undef C

cm3_mix cm3_mix_none(void) {
    return (cm3_mix){.streams = 1, .weight = {1}};
}

cm3_mix cm3_mix_guidance(double scale) {
    return (cm3_mix){.streams = 2, .weight = {scale, 1 - scale}};
}

cm3_mix cm3_mix_two_guidances(double image_scale, double text_scale) {
    return (cm3_mix){.streams = 3, .weight = {text_scale, image_scale - text_scale, 1 - image_scale}};
}

cm3_sampling_request cm3_decode_request(const cm3_decode_config *config, const cm3_mix *mix,
                                        const cm3_id_range *allowed, int ranges, cm3_rng rng) {
    cm3_sampling_request request = {.mix = *mix,
                                    .ranges = ranges,
                                    .contrast = config->method == CM3_DECODE_CD_K && mix->streams > 1,
                                    .cdk_k = config->cdk_k,
                                    .cdk_alpha = config->cdk_alpha,
                                    .temperature = config->temperature,
                                    .top_p = config->top_p,
                                    .rng = rng};
    for (int s = 0; s < mix->streams; s++) request.row[s] = s;
    for (int r = 0; r < ranges; r++) {
        int at = r;
        for (; at > 0 && request.allowed[at - 1].first > allowed[r].first; at--)
            request.allowed[at] = request.allowed[at - 1];
        request.allowed[at] = allowed[r];
    }
    return request;
}

/* --- the batched sampler ----------------------------------------------------------------------------------------- */

static size_t workspace_bytes(const cm3_batched_sampler *s) {
    return (size_t)(s->capacity * s->vocabulary) * s->backend->sampler->bytes;
}

cm3_status cm3_batched_sampler_open(const cm3_backend *backend, int64_t vocabulary, int64_t capacity,
                                    cm3_batched_sampler *s) {
    *s = (cm3_batched_sampler){.backend = backend, .vocabulary = vocabulary, .capacity = capacity};
    const size_t count = (size_t)capacity;
    CM3_TRY(cm3_staged_buffer_alloc(backend->memory, count * sizeof *s->requests, "sampling", &s->request_buffer));
    CM3_TRY(cm3_staged_buffer_alloc(backend->memory, count * sizeof *s->ids, "sampling", &s->id_buffer));
    s->requests = s->request_buffer.host;
    s->ids = s->id_buffer.host;
    s->workspace = backend->memory->alloc(workspace_bytes(s));
    return s->workspace
               ? CM3_OK
               : cm3_fail(CM3_ERR_MEMORY, "out of memory for sampling (%.1f MiB)", (double)workspace_bytes(s) / 0x1p20);
}

void cm3_batched_sampler_close(cm3_batched_sampler *s) {
    if (!s->backend) return;
    cm3_staged_buffer_free(&s->request_buffer);
    cm3_staged_buffer_free(&s->id_buffer);
    s->backend->memory->free(s->workspace, workspace_bytes(s));
    *s = (cm3_batched_sampler){0};
}

cm3_status cm3_batched_sampler_run(const cm3_batched_sampler *s, const cm3_tensor *logits, int64_t count) {
    if (count < 1) return CM3_OK;
    const cm3_sampling sampling = {.logits = logits->data,
                                   .vocabulary = s->vocabulary,
                                   .requests = s->request_buffer.there,
                                   .count = count,
                                   .ids = s->id_buffer.there,
                                   .workspace = s->workspace};
    CM3_TRY(cm3_staged_buffer_upload(&s->request_buffer));
    CM3_TRY(s->backend->sampler->draw(&sampling));
    CM3_TRY(cm3_staged_buffer_download(&s->id_buffer));
    for (int64_t i = 0; i < count; i++)
        if (s->ids[i] < 0) return cm3_fail(CM3_ERR_NUMERIC, "the model's logits are not finite");
    return CM3_OK;
}
