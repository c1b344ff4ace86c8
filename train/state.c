#include "train/state.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static size_t bytes_of(const cm3_train_state *s) {
    return (size_t)cm3_params_size(s->params) * sizeof(float);
}

static bool on_host(const cm3_train_state *s) {
    return s->backend->memory->host;
}

static cm3_status list_spans(cm3_train_state *s) {
    s->span_count = cm3_params_count(s->params);
    s->spans = calloc((size_t)s->span_count + 1, sizeof *s->spans);
    if (!s->spans)
        return cm3_fail(CM3_ERR_MEMORY, "no memory for a table of %lld parameters", (long long)s->span_count);
    for (int i = 0; i < s->span_count; i++) {
        const cm3_param *p = cm3_params_get(s->params, i);
        s->spans[i] = (cm3_flat_span){.offset = p->offset, .count = p->count, .decay = p->decay == CM3_DECAY};
    }
    return CM3_OK;
}

static cm3_status alloc_buffers(cm3_train_state *s) {
    const cm3_memory *memory = s->backend->memory;
    const size_t bytes = bytes_of(s);
    CM3_TRY(list_spans(s));
    CM3_TRY(cm3_staged_buffer_alloc(memory, bytes, "AdamW's first moments", &s->m));
    CM3_TRY(cm3_staged_buffer_alloc(memory, bytes, "AdamW's second moments", &s->v));
    s->reductions = calloc((size_t)cm3_params_bucket_count(s->params) + 1, sizeof *s->reductions);
    s->loss = memory->alloc(sizeof *s->loss);
    s->verdicts = memory->alloc_pinned(CM3_STEPS_QUEUED * sizeof *s->verdicts);
    return s->reductions && s->loss && s->verdicts ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "no memory for a step's loss");
}

cm3_status cm3_train_state_open(const cm3_backend *backend, cm3_params *params, cm3_comm *comm, cm3_train_state *s) {
    *s = (cm3_train_state){.backend = backend, .params = params};
    const cm3_status status = alloc_buffers(s);
    CM3_TRY(comm ? cm3_comm_agree_status(comm, status) : status);
    return comm ? cm3_comm_devices(comm, backend->collective, &s->collective) : CM3_OK;
}

void cm3_train_state_close(cm3_train_state *s) {
    if (!s->params) return;
    const cm3_memory *memory = s->backend->memory;
    memory->sync(); /* after a failure, copies may still be queued */
    cm3_staged_buffer_free(&s->m);
    cm3_staged_buffer_free(&s->v);
    memory->free(s->loss, sizeof *s->loss);
    memory->free_pinned(s->verdicts, CM3_STEPS_QUEUED * sizeof *s->verdicts);
    for (int i = 0; i < CM3_STEPS_QUEUED; i++) memory->event_free(s->marks[i]);
    free(s->spans);
    free(s->reductions);
    *s = (cm3_train_state){0};
}

cm3_status cm3_train_state_upload(const cm3_train_state *s) {
    CM3_TRY(cm3_params_upload(s->params));
    CM3_TRY(cm3_staged_buffer_upload(&s->m));
    return cm3_staged_buffer_upload(&s->v);
}

cm3_status cm3_train_state_download(const cm3_train_state *s) {
    CM3_TRY(cm3_params_download(s->params));
    CM3_TRY(cm3_staged_buffer_download(&s->m));
    return cm3_staged_buffer_download(&s->v);
}

/* --- all-reduce of gradients: by the devices, or through host memory --------------------------------------------- */

cm3_status cm3_train_state_reduce(cm3_train_state *s, cm3_comm *comm, int bucket) {
    const cm3_param_range range = cm3_params_bucket_range(s->params, bucket);
    float *host = cm3_params_gradients(s->params) + range.offset;
    const float *device = cm3_params_placement(s->params)->gradients + range.offset;
    cm3_status status = CM3_OK;
    if (s->collective)
        return s->backend->collective->all_reduce(
            s->collective, cm3_params_placement(s->params)->gradients + range.offset, range.count);
    if (!on_host(s)) status = s->backend->memory->download(host, device, (size_t)range.count * sizeof *host);
    if (status == CM3_OK) status = cm3_comm_all_reduce_start(comm, host, range.count, &s->reductions[bucket]);
    if (s->reduced == CM3_OK) s->reduced = status;
    return status;
}

cm3_status cm3_train_state_reduced(cm3_train_state *s) {
    cm3_status status = s->reduced;
    bool any = false;
    if (s->collective) {
        if (s->watches) CM3_TRY(s->backend->collective->all_reduce(s->collective, s->loss, 1));
        return s->backend->collective->join();
    }
    for (int i = 0; i < cm3_params_bucket_count(s->params); i++) {
        any |= s->reductions[i] != NULL;
        const cm3_status one = cm3_comm_wait(s->reductions[i]);
        s->reductions[i] = NULL;
        if (status == CM3_OK) status = one;
    }
    if (status != CM3_OK || !any || on_host(s)) return status;
    return s->backend->memory->upload(cm3_params_placement(s->params)->gradients, cm3_params_gradients(s->params),
                                      bytes_of(s));
}

/* --- the update -------------------------------------------------------------------------------------------------- */

cm3_status cm3_train_state_norm(const cm3_train_state *s, double *norm) {
    const float *grad = cm3_params_placement(s->params)->gradients;
    CM3_TRY(s->backend->flat->sum_of_squares(grad, cm3_params_size(s->params), norm));
    *norm = sqrt(*norm);
    return CM3_OK;
}

static cm3_status queue(const cm3_train_state *s, const cm3_adamw_config *config, int64_t step, double learning_rate,
                        const float *loss, cm3_flat_verdict *verdict) {
    const cm3_placement *at = cm3_params_placement(s->params);
    cm3_flat_adamw now = cm3_adamw_update(config, step, learning_rate);
    now.spans = s->spans;
    now.span_count = s->span_count;
    now.size = cm3_params_size(s->params);
    now.value = at->values;
    now.grad = at->gradients;
    now.m = s->m.there;
    now.v = s->v.there;
    now.bf16_weights = at->bf16_weights;
    return s->backend->flat->clipped_adamw(&now, config->clip, loss, verdict);
}

cm3_status cm3_train_state_update(const cm3_train_state *s, const cm3_adamw_config *config, int64_t step,
                                  double learning_rate, double *norm) {
    CM3_TRY(queue(s, config, step, learning_rate, NULL, s->verdicts));
    CM3_TRY(s->backend->memory->sync());
    *norm = s->verdicts[0].norm;
    return CM3_OK;
}

cm3_status cm3_train_state_watch(cm3_train_state *s, const cm3_tensor *loss, bool first_of_step) {
    const cm3_tensor sum = {.type = CM3_F32, .shape = loss->shape, .data = s->loss};
    s->watches = true;
    return s->backend->cast(&sum, loss, !first_of_step);
}

cm3_status cm3_train_state_queue(cm3_train_state *s, const cm3_adamw_config *config, int64_t step,
                                 double learning_rate) {
    const int64_t at = step % CM3_STEPS_QUEUED;
    CM3_TRY(queue(s, config, step, learning_rate, s->watches ? s->loss : NULL, &s->verdicts[at]));
    return s->backend->memory->event_record(&s->marks[at]);
}

cm3_status cm3_train_state_reach(const cm3_train_state *s, int64_t step, cm3_flat_verdict *verdict) {
    const int64_t at = step % CM3_STEPS_QUEUED;
    CM3_TRY(s->backend->memory->event_sync(s->marks[at]));
    *verdict = s->verdicts[at];
    return CM3_OK;
}
