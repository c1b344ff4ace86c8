#include "model/params.h"

#include "core/pages.h"
#include "core/rng.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Values drawn from one random stream. Streams, not threads, divide a large parameter. */
enum { INIT_CHUNK = 1 << 16 };

struct cm3_params {
    cm3_param *list;
    int count, capacity;
    int bucket;      /* of what is added next */
    int64_t *starts; /* of the buckets, and the size behind the last; after the layout */
    int64_t size;
    float *values, *gradients;
    cm3_placement host, placed; /* placed.backend NULL: on the host alone */
    cm3_status status;          /* of the first failure */
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
    return *params ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "no memory for a table of parameters");
}

void cm3_params_free(cm3_params *params) {
    if (!params) return;
    for (int i = 0; i < params->count; i++) free(params->list[i].name);
    free(params->list);
    free(params->starts);
    if (params->placed.backend) {
        const cm3_memory *memory = params->placed.backend->memory;
        memory->free(params->placed.values, (size_t)params->size * sizeof(float));
        memory->free(params->placed.gradients, (size_t)params->size * sizeof(float));
        memory->free(params->placed.bf16_weights, (size_t)params->size * sizeof(uint16_t));
    }
    cm3_pages_free(params->values, (size_t)params->size * sizeof(float));
    cm3_pages_free(params->gradients, (size_t)params->size * sizeof(float));
    free(params);
}

/* --- the table --------------------------------------------------------------------------------------------------- */

/* Keeps the first failure: it may be asked for much later, when the thread's message is another one. */
static int stick(cm3_params *params, cm3_status status) {
    params->status = status;
    snprintf(params->message, sizeof params->message, "%s", cm3_message());
    return -1;
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
    if (params->starts) return cm3_fail(CM3_ERR_INTERNAL, "parameter %s is added after the layout", param->name);
    if (cm3_params_find(params, param->name) >= 0)
        return cm3_fail(CM3_ERR_INTERNAL, "there are two parameters with the name %s", param->name);
    if (params->count == params->capacity) {
        const int capacity = params->capacity ? 2 * params->capacity : 64;
        cm3_param *list = realloc(params->list, (size_t)capacity * sizeof *list);
        if (!list) return cm3_fail(CM3_ERR_MEMORY, "no memory for a table of %d parameters", capacity);
        params->list = list;
        params->capacity = capacity;
    }
    params->list[params->count++] = *param;
    return CM3_OK;
}

int cm3_params_add(cm3_params *params, cm3_shape shape, cm3_init init, cm3_decay decay, const char *name, ...) {
    if (params->status != CM3_OK) return -1;
    cm3_param param = {.shape = shape, .init = init, .decay = decay, .bucket = params->bucket};
    va_list arguments;
    va_start(arguments, name);
    const int length = vasprintf(&param.name, name, arguments);
    va_end(arguments);
    if (length < 0) return stick(params, cm3_fail(CM3_ERR_MEMORY, "no memory for the name of a parameter"));

    cm3_status status = count_elements(param.name, shape, &param.count);
    if (status == CM3_OK) status = append(params, &param);
    if (status == CM3_OK) return params->count - 1;
    free(param.name);
    return stick(params, status);
}

/* The next multiple of `unit`, or a failure. */
static cm3_status round_up(int64_t *size, int64_t unit) {
    const int64_t rest = *size % unit;
    if (rest && __builtin_add_overflow(*size, unit - rest, size))
        return cm3_fail(CM3_ERR_SHAPE, "the parameters are too large to be counted");
    return CM3_OK;
}

cm3_status cm3_params_layout(cm3_params *params, int64_t shard_unit) {
    if (params->status != CM3_OK) return cm3_fail(params->status, "%s", params->message);
    if (params->starts) return cm3_fail(CM3_ERR_INTERNAL, "the parameters are laid out already");
    params->starts = calloc((size_t)params->bucket + 2, sizeof *params->starts);
    if (!params->starts) return cm3_fail(CM3_ERR_MEMORY, "no memory for %d buckets of parameters", params->bucket + 1);

    int bucket = 0;
    for (int i = 0; i < params->count; i++) {
        cm3_param *param = &params->list[i];
        while (bucket < param->bucket) params->starts[++bucket] = params->size;
        param->offset = params->size;
        if (__builtin_add_overflow(params->size, param->count, &params->size))
            return cm3_fail(CM3_ERR_SHAPE, "the parameters are too large to be counted");
        CM3_TRY(round_up(&params->size, CM3_PARAM_ALIGN));
    }
    while (bucket < params->bucket) params->starts[++bucket] = params->size;
    if (shard_unit > 1) CM3_TRY(round_up(&params->size, shard_unit));
    params->starts[bucket + 1] = params->size;
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

int64_t cm3_params_size(const cm3_params *params) {
    return params->size;
}

int64_t cm3_params_elements(const cm3_params *params) {
    int64_t sum = 0;
    for (int i = 0; i < params->count; i++) sum += params->list[i].count;
    return sum;
}

int cm3_params_bucket_count(const cm3_params *params) {
    return params->starts ? params->bucket + 1 : 0;
}

cm3_param_range cm3_params_bucket_range(const cm3_params *params, int bucket) {
    if (bucket < 0 || bucket >= cm3_params_bucket_count(params)) return (cm3_param_range){params->size, 0};
    return (cm3_param_range){params->starts[bucket], params->starts[bucket + 1] - params->starts[bucket]};
}

/* --- the memory -------------------------------------------------------------------------------------------------- */

cm3_status cm3_params_allocate(cm3_params *params, bool with_gradients) {
    if (!params->starts) return cm3_fail(CM3_ERR_INTERNAL, "parameters are allocated before their layout");
    const size_t bytes = (size_t)params->size * sizeof(float);
    if (!params->values) params->values = cm3_pages_alloc(bytes);
    if (with_gradients && !params->gradients) params->gradients = cm3_pages_alloc(bytes);
    if (!params->values || (with_gradients && !params->gradients))
        return cm3_fail(CM3_ERR_MEMORY, "no memory for %lld parameters%s", (long long)params->size,
                        with_gradients ? " and their gradients" : "");
    params->host =
        (cm3_placement){.backend = cm3_backend_cpu(), .values = params->values, .gradients = params->gradients};
    return CM3_OK;
}

float *cm3_params_values(const cm3_params *params) {
    return params->values;
}

float *cm3_params_gradients(const cm3_params *params) {
    return params->gradients;
}

float *cm3_params_value(const cm3_params *params, int index) {
    const cm3_param *param = cm3_params_get(params, index);
    return params->values && param ? params->values + param->offset : NULL;
}

static double truncated_normal(cm3_rng *rng) {
    double x;
    do x = cm3_rng_normal(rng);
    while (!(x >= -3 && x <= 3));
    return x;
}

static void fill(float *values, int64_t count, cm3_init init, cm3_rng rng) {
    for (int64_t i = 0; i < count; i++) {
        switch (init.kind) {
        case CM3_INIT_ZEROS:
            values[i] = 0;
            break;
        case CM3_INIT_ONES:
            values[i] = 1;
            break;
        case CM3_INIT_NORMAL:
            values[i] = (float)(init.scale * truncated_normal(&rng));
            break;
        case CM3_INIT_UNIFORM:
            values[i] = (float)(init.scale * (2 * cm3_rng_double(&rng) - 1));
            break;
        }
    }
}

void cm3_params_init(cm3_params *params, uint64_t seed) {
    if (!params->values) return;
    for (int index = 0; index < params->count; index++) {
        const cm3_param *param = &params->list[index];
        const int64_t chunks = (param->count + INIT_CHUNK - 1) / INIT_CHUNK;
#pragma omp parallel for schedule(dynamic)
        for (int64_t chunk = 0; chunk < chunks; chunk++) {
            const int64_t begin = chunk * INIT_CHUNK;
            const int64_t count = param->count - begin < INIT_CHUNK ? param->count - begin : INIT_CHUNK;
            fill(params->values + param->offset + begin, count, param->init,
                 cm3_rng_stream(seed, CM3_RNG_INIT, (uint64_t)index, (uint64_t)chunk));
        }
    }
}

const cm3_placement *cm3_params_placement(const cm3_params *params) {
    return params->placed.backend ? &params->placed : &params->host;
}

cm3_tape_options cm3_params_tape_options(const cm3_params *params) {
    const cm3_placement *at = cm3_params_placement(params);
    return (cm3_tape_options){.backend = at->backend, .compute = at->bf16_weights ? CM3_BF16 : CM3_F32};
}

/* --- on a device ------------------------------------------------------------------------------------------------- */

cm3_status cm3_params_place(cm3_params *params, const cm3_backend *backend, cm3_dtype compute) {
    if (backend->memory->host) return CM3_OK;
    const size_t bytes = (size_t)params->size * sizeof(float);
    const bool rounded = compute == CM3_BF16, whole = params->gradients || !rounded;
    params->placed = (cm3_placement){.backend = backend,
                                     .values = whole ? backend->memory->alloc(bytes) : NULL,
                                     .gradients = params->gradients ? backend->memory->alloc(bytes) : NULL,
                                     .bf16_weights = rounded ? backend->memory->alloc(bytes / 2) : NULL};
    const cm3_placement *p = &params->placed;
    if ((whole && !p->values) || (params->gradients && !p->gradients) || (rounded && !p->bf16_weights))
        return cm3_fail(CM3_ERR_MEMORY, "%s has no memory for %lld parameters%s", backend->name,
                        (long long)params->size, params->gradients ? " and their gradients" : "");
    return CM3_OK;
}

static cm3_status round_on(const cm3_placement *p, const float *from, int64_t first, int64_t count) {
    const cm3_tensor values = {.type = CM3_F32, .shape = cm3_shape_of(count), .data = (void *)(uintptr_t)from},
                     rounded = {.type = CM3_BF16, .shape = values.shape, .data = (uint16_t *)p->bf16_weights + first};
    return p->backend->cast(&rounded, &values, false);
}

/* The copy alone, a block at a time. */
static cm3_status upload_copy(const cm3_params *params) {
    enum { BLOCK = 16 << 20 };
    const cm3_placement *p = &params->placed;
    const cm3_memory *memory = p->backend->memory;
    float *block = memory->alloc(BLOCK * sizeof *block);
    cm3_status status = block ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "%s has no memory for parameters", p->backend->name);
    for (int64_t first = 0; first < params->size && status == CM3_OK; first += BLOCK) {
        const int64_t count = params->size - first < BLOCK ? params->size - first : BLOCK;
        status = memory->upload(block, params->values + first, (size_t)count * sizeof *block);
        if (status == CM3_OK) status = round_on(p, block, first, count);
    }
    memory->free(block, BLOCK * sizeof *block);
    return status;
}

cm3_status cm3_params_upload(const cm3_params *params) {
    const cm3_placement *p = &params->placed;
    if (!p->backend) return CM3_OK;
    if (!p->values) return upload_copy(params);
    CM3_TRY(p->backend->memory->upload(p->values, params->values, (size_t)params->size * sizeof(float)));
    return p->bf16_weights ? round_on(p, p->values, 0, params->size) : CM3_OK;
}

cm3_status cm3_params_download(const cm3_params *params) {
    const cm3_placement *p = &params->placed;
    if (!p->values) return CM3_OK;
    return p->backend->memory->download(params->values, p->values, (size_t)params->size * sizeof(float));
}

cm3_var *cm3_params_var(const cm3_params *params, cm3_tape *tape, int index) {
    const cm3_param *param = cm3_params_get(params, index);
    if (!param) return NULL;
    const bool there = params->placed.backend && params->placed.backend == cm3_tape_get_options(tape)->backend;
    const cm3_placement at = there ? params->placed : params->host;
    void *value = at.values ? at.values + param->offset : NULL;
    if (at.bf16_weights) value = (uint16_t *)at.bf16_weights + param->offset;
    return cm3_tape_parameter(tape, param->shape, value, at.gradients ? at.gradients + param->offset : NULL,
                              param->bucket);
}
