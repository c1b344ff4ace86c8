#include "tools/bench_ops.h"

#include "core/clock.h"
#include "core/json.h"
#include "core/kernels/cpu/machine.h"
#include "core/tensor/op_case.h"
#include "core/kernels/rates.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- one case ---------------------------------------------------------------------------------------------------- */

typedef struct limits {
    double flops, bytes; /* per second */
} limits;

typedef struct figure {
    double seconds, flops, bytes;
} figure;

typedef struct job {
    const cm3_backend *backend;
    cm3_dtype real; /* what the operation computes in */
    const cm3_op_case *of;
    const cm3_op_def *def;
    const cm3_kernel *kernel;
    cm3_call call;
    int outputs;
    bool out_of_memory;
} job;

static void *allocate(job *j, size_t bytes) {
    void *memory = j->backend->memory->alloc(bytes);
    if (!memory) j->out_of_memory = true;
    return memory;
}

/* The tensor's own memory in the backend's, filled there. */
static cm3_status fill_tensor(job *j, const cm3_op_input *input, uint64_t stream, cm3_tensor *t) {
    const cm3_memory *memory = j->backend->memory;
    cm3_tensor plain = cm3_op_input_tensor(input);
    const size_t bytes = cm3_tensor_bytes(&plain);
    void *values = malloc(bytes + 1);
    t->data = allocate(j, cm3_tensor_bytes(t));
    plain.data = plain.type == t->type ? t->data : allocate(j, bytes);
    cm3_status status = values ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "%s: out of memory for its tensors", j->of->name);
    if (status == CM3_OK && !j->out_of_memory) {
        cm3_op_input_fill(input, stream, values);
        status = memory->upload(plain.data, values, bytes);
        if (status == CM3_OK && plain.data != t->data) status = j->backend->cast(t, &plain, false);
        if (status == CM3_OK) status = memory->sync();
    }
    if (plain.data != t->data) memory->free(plain.data, bytes);
    free(values);
    return status;
}

static cm3_status job_open(job *j) {
    const cm3_op_case *of = j->of;
    cm3_tensor out[CM3_OP_OUTPUTS];
    for (int i = 0; i < CM3_OP_INPUTS; i++) j->call.in[i] = cm3_op_case_tensor(of, i, j->real);
    CM3_TRY(j->def->infer(&of->attr, j->call.in, out, &j->outputs));
    j->call.attr = &of->attr;
    for (int i = 0; i < CM3_OP_INPUTS; i++)
        if (j->call.in[i].shape.rank) CM3_TRY(fill_tensor(j, &of->in[i], (uint64_t)i, &j->call.in[i]));
    for (int i = 0; i < j->outputs; i++) {
        j->call.out[i] = out[i];
        j->call.out[i].data = allocate(j, cm3_tensor_bytes(&out[i]));
    }
    return CM3_OK;
}

/* *any false: there is nothing to do, the gradient of the only input is that of the output. */
static cm3_status job_open_backward(job *j, bool *any) {
    const cm3_op_input uniform = {j->call.out[0].shape, CM3_FILL_UNIFORM, 1};
    *any = false;
    j->call.grad_out = j->call.out[0];
    CM3_TRY(fill_tensor(j, &uniform, CM3_OP_INPUTS, &j->call.grad_out));
    for (int i = 0; i < CM3_OP_INPUTS; i++) {
        if (!j->call.in[i].data || !(j->def->differentiable & 1u << i) || i == j->def->grad_is_identity_for) continue;
        j->call.grad_in[i] = j->call.in[i];
        if (cm3_op_is_parameter(j->of->op, i)) j->call.grad_in[i].type = CM3_F32;
        j->call.grad_in[i].data = allocate(j, cm3_tensor_bytes(&j->call.grad_in[i]));
        *any = true;
    }
    return CM3_OK;
}

static void free_tensor(const job *j, const cm3_tensor *t) {
    j->backend->memory->free(t->data, cm3_tensor_bytes(t));
}

static void job_close(job *j) {
    for (int i = 0; i < CM3_OP_INPUTS; i++) {
        free_tensor(j, &j->call.in[i]);
        free_tensor(j, &j->call.grad_in[i]);
    }
    for (int i = 0; i < CM3_OP_OUTPUTS; i++) free_tensor(j, &j->call.out[i]);
    free_tensor(j, &j->call.grad_out);
}

/* The best of the runs within `seconds`, at least three. */
static cm3_status measure(job *j, bool backward, double seconds, figure *f) {
    size_t (*workspace)(const cm3_call *) = backward ? j->kernel->backward_workspace : j->kernel->forward_workspace;
    cm3_status (*run)(const cm3_call *) = backward ? j->kernel->backward : j->kernel->forward;
    const cm3_memory *memory = j->backend->memory;
    const size_t scratch_bytes = workspace ? workspace(&j->call) : 0;
    const int at_once = memory->host ? 1 : 20; /* a device runs work long after it was queued */
    void *scratch = allocate(j, scratch_bytes);
    j->call.workspace = scratch;
    cm3_status status =
        j->out_of_memory ? cm3_fail(CM3_ERR_MEMORY, "%s: out of memory for its tensors", j->of->name) : CM3_OK;
    *f = (figure){.seconds = 1e30,
                  .flops = j->def->flops(&j->call, backward),
                  .bytes = cm3_op_bytes(j->of->op, &j->call, backward)};
    const double end = cm3_clock_seconds() + seconds;
    for (int i = 0; status == CM3_OK && (i < 3 || cm3_clock_seconds() < end); i++) {
        const double begin = cm3_clock_seconds();
        for (int k = 0; k < at_once && status == CM3_OK; k++) status = run(&j->call);
        if (status == CM3_OK) status = memory->sync();
        const double spent = (cm3_clock_seconds() - begin) / at_once;
        if (spent < f->seconds) f->seconds = spent;
    }
    memory->free(scratch, scratch_bytes);
    return status;
}

/* --- printing ---------------------------------------------------------------------------------------------------- */

static double floor_seconds(const figure *f, const limits *l) {
    const double compute = f->flops / l->flops, memory = f->bytes / l->bytes;
    return compute > memory ? compute : memory;
}

static void print_row(const char *name, const char *direction, const figure *f, const limits *l) {
    printf("%-24s %-8s %10.3f ms %8.1f GFLOP/s %7.1f GB/s   floor %9.3f ms   %4.2f of it\n", name, direction,
           1e3 * f->seconds, f->flops / f->seconds / 1e9, f->bytes / f->seconds / 1e9, 1e3 * floor_seconds(f, l),
           floor_seconds(f, l) / f->seconds);
}

static void write_row(cm3_json_writer *w, const char *name, const char *direction, const figure *f, const limits *l) {
    cm3_json_begin_object(w, NULL);
    cm3_json_put_string(w, "operation", name);
    cm3_json_put_string(w, "direction", direction);
    cm3_json_put_double(w, "seconds", f->seconds);
    cm3_json_put_double(w, "flops", f->flops);
    cm3_json_put_double(w, "bytes", f->bytes);
    cm3_json_put_double(w, "floor_seconds", floor_seconds(f, l));
    cm3_json_end_object(w);
}

static cm3_status bench_one(const cm3_backend *backend, const cm3_op_case *of, double seconds, const limits *l,
                            cm3_json_writer *w) {
    job j = {.backend = backend,
             .real = backend->has_bf16 && cm3_op_case_has_bf16(of) ? CM3_BF16 : CM3_F32,
             .of = of,
             .def = cm3_op_definition(of->op),
             .kernel = backend->kernels[of->op]};
    cm3_status status = job_open(&j);
    for (int backward = 0; backward < 2 && status == CM3_OK; backward++) {
        bool any = true;
        if (backward && !j.kernel->backward) break;
        if (backward) status = job_open_backward(&j, &any);
        if (status != CM3_OK || !any) break;
        figure f;
        const char *direction = !backward ? "forward" : j.def->fused_forward_in_backward ? "whole" : "backward";
        status = measure(&j, backward, seconds, &f);
        if (status == CM3_OK && j.def->fused_forward_in_backward && backward) f.flops += j.def->flops(&j.call, false);
        if (status != CM3_OK) break;
        if (w)
            write_row(w, of->name, direction, &f, l);
        else
            print_row(of->name, direction, &f, l);
    }
    job_close(&j);
    return status;
}

static bool wanted(const cm3_backend *backend, const cm3_op_case *of, const char *only) {
    return of->modes & CM3_MODE_BENCH && backend->kernels[of->op] && (!only || strstr(of->name, only));
}

cm3_status cm3_bench_ops(const cm3_backend *backend, double seconds, bool json, const char *only) {
    size_t count, chosen = 0;
    const cm3_op_case *cases = cm3_op_cases(&count);
    for (size_t i = 0; i < count; i++) chosen += wanted(backend, &cases[i], only);
    if (!chosen) return cm3_fail(CM3_ERR_USAGE, "bench ops: no operation's name contains \"%s\"", only);
    limits l;
    CM3_TRY(cm3_product_rate(backend, backend->has_bf16 ? CM3_BF16 : CM3_F32, 1, &l.flops, NULL));
    CM3_TRY(cm3_copy_rate(backend, 0.5, &l.bytes));
    const double peak = backend->peak(backend->has_bf16 ? CM3_BF16 : CM3_F32);
    cm3_json_writer writer = cm3_json_writer_on(stdout);
    if (json) {
        cm3_json_begin_object(&writer, NULL);
        cm3_json_put_double(&writer, "sgemm_flops_per_second", l.flops);
        cm3_json_put_double(&writer, "copy_bytes_per_second", l.bytes);
        cm3_json_put_double(&writer, "peak_flops_per_second", peak);
        cm3_json_begin_array(&writer, "operations");
    } else {
        if (peak > 0)
            printf("multipliers %.1f GFLOP/s; sgemm (OpenBLAS's kernel on a CPU: %s) reaches %.3f of it\n", peak / 1e9,
                   cm3_machine_sgemm_kernel(), l.flops / peak);
        printf("sgemm %.1f GFLOP/s, copy %.1f GB/s; the floor of an operation is the longer time of its FLOPs and its "
               "bytes at these rates\n",
               l.flops / 1e9, l.bytes / 1e9);
    }
    for (size_t i = 0; i < count; i++)
        if (wanted(backend, &cases[i], only))
            CM3_TRY(bench_one(backend, &cases[i], seconds, &l, json ? &writer : NULL));
    if (json) {
        cm3_json_end_array(&writer);
        cm3_json_end_object(&writer);
        cm3_json_end_line(&writer);
    }
    return CM3_OK;
}
