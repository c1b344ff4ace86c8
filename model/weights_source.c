#include "model/weights_source.h"

#include "core/rng.h"
#include "core/threads.h"

#include <stdlib.h>
#include <string.h>

/* --- initialisation ---------------------------------------------------------------------------------------------- */

/* Values drawn from one random stream. Streams, not threads, divide a large parameter. */
enum { INIT_CHUNK = 1 << 16 };

static double truncated_normal(cm3_rng *rng) {
    double x;
    do x = cm3_rng_normal(rng);
    while (!(x >= -3 && x <= 3));
    return x;
}

static double draw(cm3_init init, cm3_rng *rng) {
    switch (init.kind) {
    case CM3_INIT_ZEROS:
        return 0;
    case CM3_INIT_ONES:
        return 1;
    case CM3_INIT_NORMAL:
        return init.scale * truncated_normal(rng);
    case CM3_INIT_UNIFORM:
        return init.scale * (2 * cm3_rng_double(rng) - 1);
    }
    return 0;
}

typedef struct initial {
    uint64_t seed;
    const cm3_param *param;
    int64_t skipped; /* elements of the range's first stream that come before it */
    int64_t first_chunk;
    float *values;
} initial;

static void draw_chunk(const void *context, int64_t first, int64_t last) {
    const initial *job = context;
    cm3_rng rng = cm3_rng_stream(job->seed, CM3_RNG_INIT, (uint64_t)job->param->index,
                                 (uint64_t)(job->first_chunk + first / INIT_CHUNK));
    for (int64_t i = first; i < last; i++) {
        const double value = draw(job->param->init, &rng);
        if (i >= job->skipped) job->values[i - job->skipped] = (float)value;
    }
}

static cm3_status read_initial(cm3_weights_source *source, const cm3_param *param, cm3_param_range range,
                               float *values) {
    const initial job = {source->seed, param, range.offset % INIT_CHUNK, range.offset / INIT_CHUNK, values};
    cm3_parallel_for(job.skipped + range.count, INIT_CHUNK, draw_chunk, &job);
    return CM3_OK;
}

cm3_weights_source cm3_weights_initial(uint64_t seed) {
    return (cm3_weights_source){.read = read_initial, .seed = seed};
}

cm3_status cm3_weights_safetensors(const char *path, cm3_weights_source **source) {
    *source = NULL;
    return cm3_fail(CM3_ERR_UNSUPPORTED, "%s: reading safetensors is not built yet; expected a checkpoint", path);
}

void cm3_weights_close(cm3_weights_source *source) {
    if (source && source->close) source->close(source);
}

/* --- loading ----------------------------------------------------------------------------------------------------- */

/* What is kept in bf16 is read a block at a time. */
static cm3_status load_rounded(const cm3_param *param, cm3_weights_source *source, uint16_t *values) {
    enum { BLOCK = 1 << 20 };
    float *block = malloc(BLOCK * sizeof *block);
    cm3_status status = block ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "out of memory to load parameters");
    for (int64_t first = 0; first < param->count && status == CM3_OK; first += BLOCK) {
        const int64_t count = param->count - first < BLOCK ? param->count - first : BLOCK;
        status = source->read(source, param, (cm3_param_range){first, count}, block);
        for (int64_t i = 0; i < count && status == CM3_OK; i++) values[first + i] = cm3_bf16_of(block[i]);
    }
    free(block);
    return status;
}

cm3_status cm3_params_load(cm3_params *params, cm3_weights_source *source) {
    if (source->check) CM3_TRY(source->check(source, params));
    for (int i = 0; i < cm3_params_count(params); i++) {
        const cm3_param *param = cm3_params_get(params, i);
        float *values = cm3_params_value(params, i);
        CM3_TRY(values ? source->read(source, param, (cm3_param_range){0, param->count}, values)
                       : load_rounded(param, source,
                                      cm3_params_group(params, param->group)->host.bf16_weights + param->offset));
    }
    return cm3_params_upload(params);
}

cm3_status cm3_params_init(cm3_params *params, uint64_t seed) {
    cm3_weights_source source = cm3_weights_initial(seed);
    return cm3_params_load(params, &source);
}
