#include "train/state.h"

#include <stdlib.h>

/* The one group that is trained, and its parameters as the optimizer sees them. */
static cm3_status find_group(cm3_train_state *s) {
    int index = -1;
    for (int g = 0; g < cm3_params_group_count(s->params); g++) {
        if (!cm3_params_group(s->params, g)->trainable) continue;
        if (index >= 0) return cm3_fail(CM3_ERR_UNSUPPORTED, "an optimizer trains one group of parameters, not two");
        index = g;
    }
    if (index < 0) return cm3_fail(CM3_ERR_RECIPE, "every group of parameters is frozen: there is nothing to train");
    s->group = cm3_params_group(s->params, index);
    s->spans = calloc((size_t)cm3_params_count(s->params) + 1, sizeof *s->spans);
    if (!s->spans) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a table of parameters");
    for (int i = 0; i < cm3_params_count(s->params); i++) {
        const cm3_param *p = cm3_params_get(s->params, i);
        if (p->group == index)
            s->spans[s->span_count++] =
                (cm3_flat_span){.offset = p->offset, .count = p->count, .decay = p->decay == CM3_DECAY};
    }
    return CM3_OK;
}

static cm3_status prepare(cm3_train_state *s) {
    const cm3_memory *memory = s->backend->memory;
    CM3_TRY(find_group(s));
    CM3_TRY(cm3_staged_buffer_alloc(memory, sizeof(float), "a step's loss", &s->loss));
    s->requests = calloc((size_t)cm3_params_bucket_count(s->params) + 1, sizeof *s->requests);
    s->verdicts = memory->alloc_pinned(CM3_STEPS_QUEUED * sizeof *s->verdicts);
    return s->requests && s->verdicts ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "out of memory for an optimizer");
}

cm3_status cm3_train_state_open(cm3_params *params, cm3_comm *comm, cm3_train_state *s) {
    *s = (cm3_train_state){.backend = cm3_params_tape_options(params).backend, .params = params, .comm = comm};
    const cm3_status status = prepare(s);
    if (!comm) return status;
    CM3_TRY(cm3_comm_agree_status(comm, status));
    return cm3_comm_devices(comm, s->backend->collective, &s->collective);
}

void cm3_train_state_close(cm3_train_state *s) {
    if (!s->params) return;
    const cm3_memory *memory = s->backend->memory;
    memory
        ->sync(); /* after a failure, copies may still be queued, and sums on their way to memory that is freed next */
    for (int i = 0; s->requests && i <= cm3_params_bucket_count(s->params); i++) cm3_comm_wait(s->requests[i]);
    memory->free_pinned(s->verdicts, CM3_STEPS_QUEUED * sizeof *s->verdicts);
    for (int i = 0; i < CM3_STEPS_QUEUED; i++) memory->event_free(s->events[i]);
    cm3_staged_buffer_free(&s->loss);
    free(s->spans);
    free(s->requests);
    *s = (cm3_train_state){0};
}

cm3_status cm3_train_state_watch(cm3_train_state *s, const cm3_tensor *loss, bool first_of_step) {
    const cm3_tensor sum = {.type = CM3_F32, .shape = loss->shape, .data = s->loss.there};
    s->watches = true;
    return s->backend->cast(&sum, loss, !first_of_step);
}

/* --- all-reduce of gradients: by the devices, or through host memory --------------------------------------------- */

cm3_status cm3_train_state_reduce(cm3_train_state *s, int bucket) {
    const cm3_param_range range = cm3_param_group_bucket(s->group, bucket);
    float *host = s->group->host.gradients + range.offset, *there = s->group->there.gradients + range.offset;
    if (s->collective) return s->backend->collective->all_reduce(s->collective, there, range.count);
    if (host != there) CM3_TRY(s->backend->memory->download(host, there, (size_t)range.count * sizeof *host));
    return cm3_comm_all_reduce_start(s->comm, host, range.count, &s->requests[bucket]);
}

/* Through host memory: nothing of it is on its way when this returns. */
static cm3_status wait_for_sums(cm3_train_state *s) {
    const int buckets = cm3_params_bucket_count(s->params);
    cm3_status status = CM3_OK;
    if (s->watches) status = cm3_staged_buffer_download(&s->loss);
    if (s->watches && status == CM3_OK)
        status = cm3_comm_all_reduce_start(s->comm, s->loss.host, 1, &s->requests[buckets]);
    for (int i = 0; i <= buckets; i++) {
        const cm3_status one = cm3_comm_wait(s->requests[i]);
        s->requests[i] = NULL;
        if (status == CM3_OK) status = one;
    }
    return status;
}

cm3_status cm3_train_state_reduced(cm3_train_state *s) {
    const cm3_group_memory *host = &s->group->host, *there = &s->group->there;
    if (!s->comm || cm3_comm_size(s->comm) == 1) return CM3_OK;
    if (s->collective) {
        if (s->watches) CM3_TRY(s->backend->collective->all_reduce(s->collective, s->loss.there, 1));
        return s->backend->collective->join();
    }
    CM3_TRY(wait_for_sums(s));
    if (host->gradients == there->gradients) return CM3_OK;
    CM3_TRY(cm3_staged_buffer_upload(&s->loss));
    return s->backend->memory->upload(there->gradients, host->gradients,
                                      (size_t)s->group->size * sizeof *host->gradients);
}

/* --- the update -------------------------------------------------------------------------------------------------- */

cm3_status cm3_train_state_queue(cm3_train_state *s, const cm3_adamw_config *config, int64_t update,
                                 double learning_rate) {
    const cm3_group_memory *at = &s->group->there;
    const int64_t slot = update % CM3_STEPS_QUEUED;
    cm3_flat_adamw now = cm3_adamw_update(config, update, learning_rate);
    now.spans = s->spans;
    now.span_count = s->span_count;
    now.size = s->group->size;
    now.value = at->values;
    now.grad = at->gradients;
    now.m = at->m;
    now.v = at->v;
    now.bf16_weights = at->bf16_weights;
    CM3_TRY(s->backend->flat->clipped_adamw(&now, config->clip, s->watches ? s->loss.there : NULL, &s->verdicts[slot]));
    return s->backend->memory->event_record(&s->events[slot]);
}

cm3_status cm3_train_state_reach(const cm3_train_state *s, int64_t update, cm3_flat_verdict *verdict) {
    const int64_t slot = update % CM3_STEPS_QUEUED;
    CM3_TRY(s->backend->memory->event_sync(s->events[slot]));
    *verdict = s->verdicts[slot];
    return CM3_OK;
}
