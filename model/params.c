#include "model/params.h"

#include "core/pages.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cm3_params {
    cm3_param *list;
    int count, capacity;
    cm3_param_group *groups;
    int group_count;
    int bucket; /* of what is added next */
    bool laid_out;
    const cm3_backend *backend; /* after cm3_params_allocate() */
    cm3_dtype compute;
    cm3_status status; /* of the first failure */
    char message[CM3_MESSAGE_MAX];
};

cm3_init cm3_init_zeros(void) {
    return (cm3_init){CM3_INIT_ZEROS, 0};
}

cm3_init cm3_init_ones(void) {
    return (cm3_init){CM3_INIT_ONES, 0};
}

cm3_init cm3_init_normal(double std) {
    return (cm3_init){CM3_INIT_NORMAL, std};
}

cm3_init cm3_init_uniform(double bound) {
    return (cm3_init){CM3_INIT_UNIFORM, bound};
}

cm3_status cm3_params_create(cm3_params **params) {
    *params = calloc(1, sizeof **params);
    return *params ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "out of memory for a table of parameters");
}

/* --- the table --------------------------------------------------------------------------------------------------- */

/* Keeps the first failure: it may be asked for much later, when the thread's message is another one. */
static int stick(cm3_params *params, cm3_status status) {
    params->status = status;
    snprintf(params->message, sizeof params->message, "%s", cm3_message());
    return -1;
}

void cm3_params_add_group(cm3_params *params, const cm3_group_options *o) {
    if (params->status != CM3_OK) return;
    cm3_param_group *grown = realloc(params->groups, (size_t)(params->group_count + 1) * sizeof *grown);
    if (grown) params->groups = grown;
    cm3_param_group group = {
        .trainable = !o->frozen, .type = o->type, .name = strdup(o->name), .match = strdup(o->match)};
    if (!grown || !group.name || !group.match) {
        free(group.name);
        free(group.match);
        stick(params, cm3_fail(CM3_ERR_MEMORY, "out of memory for a group of parameters"));
        return;
    }
    bool taken = false;
    for (int g = 0; g < params->group_count; g++) taken |= strcmp(params->groups[g].name, group.name) == 0;
    params->groups[params->group_count++] = group;
    if (params->laid_out)
        stick(params, cm3_fail(CM3_ERR_INTERNAL, "group %s is added after the layout", o->name));
    else if (!*group.name || taken)
        stick(params, cm3_fail(CM3_ERR_INTERNAL, "parameter group \"%s\": expected a name of its own", o->name));
    else if (group.type != CM3_F32 && (group.trainable || group.type != CM3_BF16))
        stick(params, cm3_fail(CM3_ERR_UNSUPPORTED, "parameter group %s: %s values cannot be kept in %s", o->name,
                               group.trainable ? "trained" : "frozen", cm3_dtype_name(group.type)));
}

void cm3_params_bucket(cm3_params *params, int bucket) {
    if (params->status != CM3_OK) return;
    if (bucket < params->bucket) {
        stick(params, cm3_fail(CM3_ERR_INTERNAL, "parameters of bucket %d are added after those of bucket %d", bucket,
                               params->bucket));
    } else {
        params->bucket = bucket;
    }
}

static cm3_status count_elements(const char *name, cm3_shape shape, int64_t *count) {
    *count = 1;
    if (shape.rank < 1 || shape.rank > CM3_MAX_DIMS)
        return cm3_fail(CM3_ERR_SHAPE, "parameter %s has %d dimensions, expected 1 to %d", name, shape.rank,
                        CM3_MAX_DIMS);
    for (int i = 0; i < shape.rank; i++) {
        if (shape.dim[i] < 1)
            return cm3_fail(CM3_ERR_SHAPE, "parameter %s has the side %lld", name, (long long)shape.dim[i]);
        if (__builtin_mul_overflow(*count, shape.dim[i], count) || *count > INT64_MAX / 64)
            return cm3_fail(CM3_ERR_SHAPE, "parameter %s is too large to be counted", name);
    }
    return CM3_OK;
}

static cm3_status append(cm3_params *params, const cm3_param *param) {
    if (params->laid_out) return cm3_fail(CM3_ERR_INTERNAL, "parameter %s is added after the layout", param->name);
    if (cm3_params_find(params, param->name) >= 0)
        return cm3_fail(CM3_ERR_INTERNAL, "there are two parameters with the name %s", param->name);
    if (params->count == params->capacity) {
        const int capacity = params->capacity ? 2 * params->capacity : 64;
        cm3_param *list = realloc(params->list, (size_t)capacity * sizeof *list);
        if (!list) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a table of %d parameters", capacity);
        params->list = list;
        params->capacity = capacity;
    }
    params->list[params->count++] = *param;
    return CM3_OK;
}

static int add(cm3_params *params, cm3_shape shape, cm3_init init, cm3_decay decay, const char *name,
               va_list arguments) {
    if (params->status != CM3_OK) return -1;
    cm3_param param = {.index = params->count, .shape = shape, .init = init, .decay = decay, .bucket = params->bucket};
    const int length = vasprintf(&param.name, name, arguments);
    if (length < 0) return stick(params, cm3_fail(CM3_ERR_MEMORY, "out of memory for the name of a parameter"));

    cm3_status status = count_elements(param.name, shape, &param.count);
    if (status == CM3_OK) status = append(params, &param);
    if (status == CM3_OK) return params->count - 1;
    free(param.name);
    return stick(params, status);
}

int cm3_params_add(cm3_params *params, cm3_shape shape, cm3_init init, cm3_decay decay, const char *name, ...) {
    va_list arguments;
    va_start(arguments, name);
    const int index = add(params, shape, init, decay, name, arguments);
    va_end(arguments);
    return index;
}

/* The next multiple of `unit`, or a failure. */
static cm3_status round_up(int64_t *size, int64_t unit) {
    const int64_t rest = *size % unit;
    if (rest && __builtin_add_overflow(*size, unit - rest, size))
        return cm3_fail(CM3_ERR_SHAPE, "the parameters are too large to be counted");
    return CM3_OK;
}

static cm3_status join_groups(cm3_params *params) {
    for (int i = 0; i < params->count; i++) {
        cm3_param *param = &params->list[i];
        while (param->group < params->group_count && fnmatch(params->groups[param->group].match, param->name, 0) != 0)
            param->group++;
        if (param->group == params->group_count)
            return cm3_fail(CM3_ERR_RECIPE, "parameter %s joins none of the %d parameter groups", param->name,
                            params->group_count);
        params->groups[param->group].elements += param->count;
    }
    for (int g = 0; g < params->group_count; g++)
        if (!params->groups[g].elements)
            return cm3_fail(CM3_ERR_RECIPE, "parameter group %s is empty: none of the %d parameters is named like %s",
                            params->groups[g].name, params->count, params->groups[g].match);
    return CM3_OK;
}

static cm3_status lay_out_group(cm3_params *params, int index, int64_t shard_unit) {
    cm3_param_group *group = &params->groups[index];
    group->starts = calloc((size_t)params->bucket + 2, sizeof *group->starts);
    if (!group->starts) return cm3_fail(CM3_ERR_MEMORY, "out of memory for %d buckets", params->bucket + 1);
    int bucket = 0;
    for (int i = 0; i < params->count; i++) {
        cm3_param *param = &params->list[i];
        if (param->group != index) continue;
        while (bucket < param->bucket) group->starts[++bucket] = group->size;
        param->offset = group->size;
        if (__builtin_add_overflow(group->size, param->count, &group->size))
            return cm3_fail(CM3_ERR_SHAPE, "the parameters are too large to be counted");
        CM3_TRY(round_up(&group->size, CM3_PARAM_ALIGN));
    }
    while (bucket < params->bucket) group->starts[++bucket] = group->size;
    if (shard_unit > 1) CM3_TRY(round_up(&group->size, shard_unit));
    group->starts[bucket + 1] = group->size;
    return CM3_OK;
}

cm3_status cm3_params_layout(cm3_params *params, int64_t shard_unit) {
    if (!params->group_count) cm3_params_add_group(params, &(cm3_group_options){.name = "all", .match = "*"});
    if (params->status != CM3_OK) return cm3_fail(params->status, "%s", params->message);
    if (params->laid_out) return cm3_fail(CM3_ERR_INTERNAL, "the parameters are laid out already");
    params->laid_out = true;
    CM3_TRY(join_groups(params));
    for (int g = 0; g < params->group_count; g++) CM3_TRY(lay_out_group(params, g, shard_unit));
    return CM3_OK;
}

int cm3_params_count(const cm3_params *params) {
    return params->count;
}

const cm3_param *cm3_params_get(const cm3_params *params, int index) {
    return index >= 0 && index < params->count ? &params->list[index] : NULL;
}

int cm3_params_find(const cm3_params *params, const char *name) {
    for (int i = 0; i < params->count; i++)
        if (strcmp(params->list[i].name, name) == 0) return i;
    return -1;
}

int64_t cm3_params_elements(const cm3_params *params) {
    int64_t sum = 0;
    for (int i = 0; i < params->count; i++) sum += params->list[i].count;
    return sum;
}

int cm3_params_group_count(const cm3_params *params) {
    return params->group_count;
}

const cm3_param_group *cm3_params_group(const cm3_params *params, int group) {
    return group >= 0 && group < params->group_count ? &params->groups[group] : NULL;
}

int cm3_params_bucket_count(const cm3_params *params) {
    return params->laid_out ? params->bucket + 1 : 0;
}

cm3_param_range cm3_param_group_bucket(const cm3_param_group *group, int bucket) {
    return (cm3_param_range){group->starts[bucket], group->starts[bucket + 1] - group->starts[bucket]};
}

/* --- the memory -------------------------------------------------------------------------------------------------- */

/* Bytes of an element in each of a group's buffers; 0: it has no such buffer. */
typedef struct element_bytes {
    size_t values, gradients, moments, bf16_weights;
} element_bytes;

static element_bytes bytes_on_host(const cm3_param_group *group, cm3_use use) {
    const bool whole = group->type == CM3_F32;
    if (use == CM3_USE_PLAN) return (element_bytes){0};
    return (element_bytes){.values = whole ? sizeof(float) : 0,
                           .bf16_weights = whole ? 0 : sizeof(uint16_t),
                           .gradients = group->trainable && use >= CM3_USE_GRADIENTS ? sizeof(float) : 0,
                           .moments = group->trainable && use >= CM3_USE_TRAIN ? sizeof(float) : 0};
}

/* Where a tape computes in bf16 it reads the rounded copy, and f32 values are there only if something changes them. */
static element_bytes bytes_there(const cm3_param_group *group, cm3_dtype compute, cm3_use use) {
    element_bytes bytes = bytes_on_host(group, use);
    if (use == CM3_USE_PLAN || compute != CM3_BF16) return bytes;
    bytes.values = bytes.gradients;
    bytes.bf16_weights = sizeof(uint16_t);
    return bytes;
}

cm3_params_bytes cm3_params_count_bytes(const cm3_params *params, cm3_dtype compute, cm3_use use) {
    cm3_params_bytes sum = {0};
    for (int g = 0; g < params->group_count; g++) {
        const element_bytes bytes = bytes_there(&params->groups[g], compute, use);
        const double size = (double)params->groups[g].size;
        sum.values += size * (double)(bytes.values + bytes.bf16_weights);
        sum.gradients += size * (double)bytes.gradients;
        sum.moments += size * 2 * (double)bytes.moments;
    }
    return sum;
}

static bool take(const cm3_memory *memory, int64_t size, element_bytes bytes, cm3_group_memory *m) {
    const size_t n = (size_t)size;
    *m = (cm3_group_memory){.values = bytes.values ? memory->alloc(n * bytes.values) : NULL,
                            .gradients = bytes.gradients ? memory->alloc(n * bytes.gradients) : NULL,
                            .m = bytes.moments ? memory->alloc(n * bytes.moments) : NULL,
                            .v = bytes.moments ? memory->alloc(n * bytes.moments) : NULL,
                            .bf16_weights = bytes.bf16_weights ? memory->alloc(n * bytes.bf16_weights) : NULL};
    return !m->values == !bytes.values && !m->gradients == !bytes.gradients && !m->m == !bytes.moments &&
           !m->v == !bytes.moments && !m->bf16_weights == !bytes.bf16_weights;
}

static void release(const cm3_memory *memory, int64_t size, const cm3_group_memory *m) {
    memory->free(m->values, (size_t)size * sizeof *m->values);
    memory->free(m->gradients, (size_t)size * sizeof *m->gradients);
    memory->free(m->m, (size_t)size * sizeof *m->m);
    memory->free(m->v, (size_t)size * sizeof *m->v);
    memory->free(m->bf16_weights, (size_t)size * sizeof *m->bf16_weights);
}

static cm3_status allocate_group(cm3_params *params, cm3_param_group *group, cm3_use use) {
    const cm3_backend *backend = params->backend;
    if (group->type == CM3_BF16 && params->compute != CM3_BF16)
        return cm3_fail(CM3_ERR_UNSUPPORTED, "parameter group %s is kept in bf16, but the network computes in %s on %s",
                        group->name, cm3_dtype_name(params->compute), backend->name);
    bool taken = take(&cm3_memory_host, group->size, bytes_on_host(group, use), &group->host);
    if (backend->memory->host)
        group->there = group->host;
    else
        taken &= take(backend->memory, group->size, bytes_there(group, params->compute, use), &group->there);
    if (taken) return CM3_OK;
    return cm3_fail(CM3_ERR_MEMORY, "out of memory for %lld parameters%s%s%s", (long long)group->elements,
                    use >= CM3_USE_GRADIENTS ? ", their gradients" : "",
                    use >= CM3_USE_TRAIN ? " and the optimizer's moments" : "",
                    backend->memory->host ? "" : " on the device");
}

cm3_status cm3_params_allocate(cm3_params *params, const cm3_backend *backend, cm3_dtype compute, cm3_use use) {
    if (!params->laid_out) return cm3_fail(CM3_ERR_INTERNAL, "parameters are allocated before their layout");
    params->backend = backend;
    params->compute = compute;
    for (int g = 0; g < params->group_count; g++) CM3_TRY(allocate_group(params, &params->groups[g], use));
    return CM3_OK;
}

void cm3_params_free(cm3_params *params) {
    if (!params) return;
    for (int g = 0; g < params->group_count; g++) {
        cm3_param_group *group = &params->groups[g];
        if (params->backend && !params->backend->memory->host)
            release(params->backend->memory, group->size, &group->there);
        release(&cm3_memory_host, group->size, &group->host);
        free(group->name);
        free(group->match);
        free(group->starts);
    }
    for (int i = 0; i < params->count; i++) free(params->list[i].name);
    free(params->groups);
    free(params->list);
    free(params);
}

static const cm3_param_group *group_of(const cm3_params *params, const cm3_param *param) {
    return &params->groups[param->group];
}

float *cm3_params_value(const cm3_params *params, int index) {
    const cm3_param *param = cm3_params_get(params, index);
    float *values = param && params->laid_out ? group_of(params, param)->host.values : NULL;
    return values ? values + param->offset : NULL;
}

void cm3_params_read(const cm3_params *params, int index, cm3_param_range range, float *values) {
    const cm3_param *param = cm3_params_get(params, index);
    const cm3_group_memory *host = &group_of(params, param)->host;
    const int64_t first = param->offset + range.offset;
    if (host->values) memcpy(values, host->values + first, (size_t)range.count * sizeof *values);
    for (int64_t i = 0; !host->values && i < range.count; i++) {
        const uint32_t bits = (uint32_t)host->bf16_weights[first + i] << 16;
        memcpy(&values[i], &bits, sizeof bits);
    }
}

cm3_tape_options cm3_params_tape_options(const cm3_params *params) {
    return (cm3_tape_options){.backend = params->backend ? params->backend : cm3_backend_cpu(),
                              .compute = params->compute};
}

/* --- on a device ------------------------------------------------------------------------------------------------- */

static cm3_status round_on(const cm3_backend *backend, const float *from, uint16_t *to, int64_t count) {
    const cm3_tensor values = {.type = CM3_F32, .shape = cm3_shape_of(count), .data = (void *)(uintptr_t)from},
                     rounded = {.type = CM3_BF16, .shape = values.shape, .data = to};
    return backend->cast(&rounded, &values, false);
}

/* The bf16 copy alone, a block at a time. */
static cm3_status upload_copy(const cm3_backend *backend, const cm3_param_group *group) {
    enum { BLOCK = 16 << 20 };
    const cm3_memory *memory = backend->memory;
    float *block = memory->alloc(BLOCK * sizeof *block);
    cm3_status status = block ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "%s is out of memory for parameters", backend->name);
    for (int64_t first = 0; first < group->size && status == CM3_OK; first += BLOCK) {
        const int64_t count = group->size - first < BLOCK ? group->size - first : BLOCK;
        status = memory->upload(block, group->host.values + first, (size_t)count * sizeof *block);
        if (status == CM3_OK) status = round_on(backend, block, group->there.bf16_weights + first, count);
    }
    memory->free(block, BLOCK * sizeof *block);
    return status;
}

static cm3_status upload_group(const cm3_backend *backend, const cm3_param_group *group) {
    const cm3_group_memory *host = &group->host, *there = &group->there;
    const size_t bytes = (size_t)group->size * sizeof(float);
    if (there->m) CM3_TRY(backend->memory->upload(there->m, host->m, bytes));
    if (there->v) CM3_TRY(backend->memory->upload(there->v, host->v, bytes));
    if (host->bf16_weights) return backend->memory->upload(there->bf16_weights, host->bf16_weights, bytes / 2);
    if (!there->values) return there->bf16_weights ? upload_copy(backend, group) : CM3_OK;
    CM3_TRY(backend->memory->upload(there->values, host->values, bytes));
    return there->bf16_weights ? round_on(backend, there->values, there->bf16_weights, group->size) : CM3_OK;
}

cm3_status cm3_params_upload(const cm3_params *params) {
    for (int g = 0; params->backend && !params->backend->memory->host && g < params->group_count; g++)
        CM3_TRY(upload_group(params->backend, &params->groups[g]));
    return CM3_OK;
}

cm3_status cm3_params_download(const cm3_params *params) {
    for (int g = 0; params->backend && !params->backend->memory->host && g < params->group_count; g++) {
        const cm3_group_memory *host = &params->groups[g].host, *there = &params->groups[g].there;
        const size_t bytes = (size_t)params->groups[g].size * sizeof(float);
        if (there->values) CM3_TRY(params->backend->memory->download(host->values, there->values, bytes));
        if (there->m) CM3_TRY(params->backend->memory->download(host->m, there->m, bytes));
        if (there->v) CM3_TRY(params->backend->memory->download(host->v, there->v, bytes));
    }
    return CM3_OK;
}

cm3_var *cm3_params_var(const cm3_params *params, cm3_tape *tape, int index) {
    const cm3_param *param = cm3_params_get(params, index);
    if (!param) return NULL;
    const cm3_param_group *group = group_of(params, param);
    const cm3_tape_options *options = cm3_tape_get_options(tape);
    const cm3_group_memory *at = params->backend == options->backend ? &group->there : &group->host;
    void *value = at->values ? at->values + param->offset : NULL;
    if (at->bf16_weights) value = at->bf16_weights + param->offset;
    if (!group->trainable) return cm3_tape_input(tape, options->compute, param->shape, value);
    return cm3_tape_parameter(tape, param->shape, value, at->gradients ? at->gradients + param->offset : NULL,
                              param->bucket);
}

/* --- a network's walk -------------------------------------------------------------------------------------------- */

void cm3_walk_bucket(cm3_walk *walk, int bucket) {
    if (walk->tape)
        cm3_tape_bucket(walk->tape, bucket);
    else
        cm3_params_bucket(walk->params, bucket);
}

cm3_var *cm3_walk_parameter(cm3_walk *walk, cm3_shape shape, cm3_init init, cm3_decay decay, const char *name, ...) {
    const int index = walk->next++;
    if (walk->tape) {
        const cm3_param *param = cm3_params_get(walk->params, index);
        return param && cm3_shape_equal(param->shape, shape) ? cm3_params_var(walk->params, walk->tape, index) : NULL;
    }
    va_list arguments;
    va_start(arguments, name);
    add(walk->params, shape, init, decay, name, arguments);
    va_end(arguments);
    return NULL;
}
