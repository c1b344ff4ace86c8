#include "core/kernels/rates.h"

#include "core/clock.h"
#include "core/kernels/cpu/machine.h"

/* Seconds of one run of `work`, of those within `seconds`: of the fastest, and the mean. Each measurement is of many,
 * because a device is told of work long before it does it. */
static cm3_status time_runs(const cm3_backend *backend, cm3_status (*work)(const cm3_backend *, const cm3_call *),
                            const cm3_call *call, double seconds, double *best, double *mean) {
    enum { AT_ONCE = 8 };
    double all = 0;
    int runs = 0;
    CM3_TRY(work(backend, call)); /* what is made only once */
    CM3_TRY(backend->memory->sync());
    *best = 1e30;
    do {
        const double begin = cm3_clock_seconds();
        for (int i = 0; i < AT_ONCE; i++) CM3_TRY(work(backend, call));
        CM3_TRY(backend->memory->sync());
        const double spent = (cm3_clock_seconds() - begin) / AT_ONCE;
        if (spent < *best) *best = spent;
        all += spent;
        runs++;
    } while (all * AT_ONCE < seconds);
    *mean = all / runs;
    return CM3_OK;
}

static cm3_status product(const cm3_backend *backend, const cm3_call *call) {
    return backend->kernels[CM3_OP_LINEAR]->forward(call);
}

static cm3_status copy(const cm3_backend *backend, const cm3_call *call) {
    return backend->memory->copy(call->out[0].data, call->in[0].data, cm3_tensor_bytes(&call->in[0]));
}

/* Three tensors of one shape: two inputs and an output. */
static cm3_status take(const cm3_backend *backend, cm3_tensor like, cm3_call *call) {
    static const cm3_op_attr attr = {0};
    const size_t bytes = cm3_tensor_bytes(&like);
    cm3_tensor *tensors[] = {&call->in[0], &call->in[1], &call->out[0]};
    *call = (cm3_call){.attr = &attr};
    bool there = true;
    for (int i = 0; i < 3; i++) {
        *tensors[i] = like;
        tensors[i]->data = backend->memory->alloc(bytes);
        there &= tensors[i]->data != NULL;
    }
    return there ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "%s is out of memory to measure its rates", backend->name);
}

static void give(const cm3_backend *backend, const cm3_call *call) {
    const size_t bytes = cm3_tensor_bytes(&call->in[0]);
    backend->memory->free(call->in[0].data, bytes);
    backend->memory->free(call->in[1].data, bytes);
    backend->memory->free(call->out[0].data, bytes);
}

cm3_status cm3_product_rate(const cm3_backend *backend, cm3_dtype type, double seconds, double *best, double *mean) {
    enum { SIDE = 8192 };
    if (backend->memory->host) {
        *best = cm3_machine_sgemm_rate(seconds, mean);
        return CM3_OK;
    }
    cm3_call call;
    double least = 1e30, usual = 1e30;
    cm3_status status = take(backend, (cm3_tensor){.type = type, .shape = cm3_shape_of(SIDE, SIDE)}, &call);
    if (status == CM3_OK) status = time_runs(backend, product, &call, seconds, &least, &usual);
    give(backend, &call);
    const double flops = 2.0 * SIDE * SIDE * (double)SIDE;
    *best = flops / least;
    if (mean) *mean = flops / usual;
    return status;
}

cm3_status cm3_copy_rate(const cm3_backend *backend, double seconds, double *rate) {
    enum { COUNT = 128 << 20 };
    if (backend->memory->host) {
        *rate = cm3_machine_copy_rate(seconds);
        return CM3_OK;
    }
    cm3_call call;
    double best = 1e30, mean;
    const cm3_tensor like = {.type = CM3_F32, .shape = cm3_shape_of(COUNT)};
    cm3_status status = take(backend, like, &call);
    if (status == CM3_OK) status = time_runs(backend, copy, &call, seconds, &best, &mean);
    give(backend, &call);
    *rate = 2.0 * COUNT * sizeof(float) / best;
    return status;
}
