#include "tools/bench_ops.h"

#include "core/clock.h"
#include "core/json.h"
#include "core/kernels/cpu/machine.h"
#include "core/rng.h"
#include "core/tensor/op.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the table --------------------------------------------------------------------------------------------------- */

typedef struct bench_input {
    cm3_shape shape;
    int64_t bound; /* > 0: integers below it */
} bench_input;

typedef struct bench_case {
    const char *name;
    cm3_op op;
    cm3_op_attr attr;
    bench_input in[CM3_OP_INPUTS];
} bench_case;

#define REAL(...)                                                                                                      \
    { {sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), {__VA_ARGS__}}, 0 }
#define INTEGER(bound, ...)                                                                                            \
    { {sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), {__VA_ARGS__}}, bound }
#define NONE                                                                                                           \
    { {0}, 0 }
#define HEADS(h, g, s) .heads = h, .kv_heads = g, .sequence = s

/* clang-format off */
static const bench_case cases[] = {
    /* one layer of the 350M model at 4,096 tokens */
    {"embed", CM3_OP_EMBED, {0}, {REAL(65536, 1024), INTEGER(65536, 4096), REAL(4096, 1024), INTEGER(4096, 4096)}},
    {"layer norm", CM3_OP_LAYER_NORM, {.epsilon = 1e-5f}, {REAL(4096, 1024)}},
    {"linear qkv", CM3_OP_LINEAR, {0}, {REAL(4096, 1024), REAL(3072, 1024)}},
    {"attention 4096 x 64", CM3_OP_ATTENTION, {HEADS(16, 16, 4096), .causal = true, .scale = 0.125f},
     {REAL(4096, 3072)}},
    {"linear with residual", CM3_OP_LINEAR, {0}, {REAL(4096, 1024), REAL(1024, 1024), NONE, REAL(4096, 1024)}},
    {"linear up, relu", CM3_OP_LINEAR, {.activation = CM3_ACT_RELU}, {REAL(4096, 1024), REAL(4096, 1024)}},
    {"linear down", CM3_OP_LINEAR, {0}, {REAL(4096, 4096), REAL(1024, 4096), NONE, REAL(4096, 1024)}},
    {"cross entropy 8192", CM3_OP_LINEAR_CROSS_ENTROPY, {0},
     {REAL(4096, 1024), REAL(8192, 1024), INTEGER(8192, 4096), REAL(1)}},
    /* Chameleon's variant */
    {"rms norm", CM3_OP_RMS_NORM, {.epsilon = 1e-5f}, {REAL(4096, 1024), REAL(1024)}},
    {"qk norm", CM3_OP_QK_NORM, {HEADS(16, 16, 0), .epsilon = 1e-5f},
     {REAL(4096, 3072), REAL(16, 64), REAL(16, 64), REAL(16, 64), REAL(16, 64)}},
    {"rotary", CM3_OP_ROTARY, {HEADS(16, 16, 0), .theta = 10000}, {REAL(4096, 3072), INTEGER(4096, 4096)}},
    {"swiglu", CM3_OP_SWIGLU, {0}, {REAL(4096, 5504)}},
    {"add", CM3_OP_ADD, {0}, {REAL(4096, 1024), REAL(4096, 1024)}},
    /* a small model */
    {"linear, small", CM3_OP_LINEAR, {0}, {REAL(2048, 256), REAL(768, 256)}},
    {"attention 256 x 64", CM3_OP_ATTENTION, {HEADS(4, 4, 256), .causal = true, .scale = 0.125f}, {REAL(2048, 768)}},
    {"attention 96 x 32", CM3_OP_ATTENTION, {HEADS(4, 4, 96), .causal = true, .scale = 0.18f}, {REAL(768, 384)}},
    {"cross entropy 1000", CM3_OP_LINEAR_CROSS_ENTROPY, {0},
     {REAL(2048, 256), REAL(1000, 256), INTEGER(1000, 2048), REAL(1)}},
    {"attention, cached", CM3_OP_ATTENTION_CACHED, {HEADS(16, 16, 1), .scale = 0.125f},
     {REAL(8, 3072), REAL(8, 1100, 1024), REAL(8, 1100, 1024), INTEGER(1099, 8)}},
    /* the image tokenizer at 128 pixels */
    {"conv 3x3, 64 channels", CM3_OP_CONV2D, {.stride = 1, .pad = 1, .pad_after = 1},
     {REAL(4, 128, 128, 64), REAL(64, 3, 3, 64), REAL(64)}},
    {"conv 3x3, 256 channels", CM3_OP_CONV2D, {.stride = 1, .pad = 1, .pad_after = 1},
     {REAL(4, 16, 16, 256), REAL(256, 3, 3, 256), REAL(256)}},
    {"conv 3x3, halving", CM3_OP_CONV2D, {.stride = 2, .pad_after = 1},
     {REAL(4, 128, 128, 64), REAL(64, 3, 3, 64), REAL(64)}},
    {"group norm, silu", CM3_OP_GROUP_NORM, {.groups = 32, .epsilon = 1e-6f, .activation = CM3_ACT_SILU},
     {REAL(4, 128, 128, 64), REAL(64), REAL(64)}},
    {"upsample", CM3_OP_UPSAMPLE, {0}, {REAL(4, 64, 64, 64)}},
    {"nearest code", CM3_OP_NEAREST_CODE, {0}, {REAL(4096, 32), REAL(8192, 32)}},
    {"pixel loss", CM3_OP_PIXEL_LOSS, {.l1 = 1, .l2 = 1}, {REAL(16, 128, 128, 3), REAL(16, 128, 128, 3), REAL(1)}},
};
/* clang-format on */

/* --- one case ---------------------------------------------------------------------------------------------------- */

typedef struct limits {
    double flops, bytes; /* per second */
} limits;

typedef struct figure {
    double seconds, flops, bytes;
} figure;

typedef struct job {
    const bench_case *of;
    const cm3_op_def *def;
    const cm3_kernel *kernel;
    cm3_call call;
    int outputs;
    bool out_of_memory;
} job;

static void *take(job *j, size_t bytes) {
    void *memory = aligned_alloc(64, (bytes + 64) / 64 * 64);
    if (!memory)
        j->out_of_memory = true;
    else
        memset(memory, 0, bytes);
    return memory;
}

static void fill(cm3_tensor *t, int64_t bound, uint64_t stream) {
    cm3_rng rng = cm3_rng_stream(1, CM3_RNG_TEST, stream, 0);
    const int64_t count = cm3_shape_count(t->shape);
    for (int64_t i = 0; i < count && t->data; i++) {
        if (bound)
            ((int32_t *)t->data)[i] = (int32_t)cm3_rng_below(&rng, (uint64_t)bound);
        else
            ((float *)t->data)[i] = 2 * cm3_rng_float(&rng) - 1;
    }
}

static cm3_status job_open(job *j) {
    const bench_case *of = j->of;
    cm3_tensor in[CM3_OP_INPUTS] = {0}, out[CM3_OP_OUTPUTS];
    for (int i = 0; i < CM3_OP_INPUTS; i++)
        in[i] = (cm3_tensor){.type = of->in[i].bound ? CM3_I32 : CM3_F32, .shape = of->in[i].shape};
    CM3_TRY(j->def->infer(&of->attr, in, out, &j->outputs));
    j->call.attr = &of->attr;
    for (int i = 0; i < CM3_OP_INPUTS; i++) {
        if (in[i].shape.rank == 0) continue;
        j->call.in[i] = in[i];
        j->call.in[i].data = take(j, cm3_tensor_bytes(&in[i]));
        fill(&j->call.in[i], of->in[i].bound, (uint64_t)i);
    }
    for (int i = 0; i < j->outputs; i++) {
        j->call.out[i] = out[i];
        j->call.out[i].data = take(j, cm3_tensor_bytes(&out[i]));
    }
    return CM3_OK;
}

static void job_open_backward(job *j) {
    j->call.grad_out = j->call.out[0];
    j->call.grad_out.data = take(j, cm3_tensor_bytes(&j->call.grad_out));
    fill(&j->call.grad_out, 0, 9);
    for (int i = 0; i < CM3_OP_INPUTS; i++) {
        if (!j->call.in[i].data || !(j->def->differentiable & 1u << i) || i == j->def->passes_gradient) continue;
        j->call.grad_in[i] = j->call.in[i];
        j->call.grad_in[i].data = take(j, cm3_tensor_bytes(&j->call.in[i]));
    }
}

static void job_close(job *j) {
    for (int i = 0; i < CM3_OP_INPUTS; i++) {
        free(j->call.in[i].data);
        free(j->call.grad_in[i].data);
    }
    for (int i = 0; i < CM3_OP_OUTPUTS; i++) free(j->call.out[i].data);
    free(j->call.grad_out.data);
}

/* Bytes that must cross memory at least once. */
static double least_bytes(const job *j, bool backward) {
    unsigned inputs = ~0u, outputs = ~0u;
    double bytes = backward ? (double)cm3_tensor_bytes(&j->call.grad_out) : 0;
    if (backward) j->def->reads(&j->of->attr, j->call.in, &inputs, &outputs);
    for (int i = 0; i < CM3_OP_INPUTS; i++) {
        if (j->call.in[i].data && inputs & 1u << i && !(j->of->op == CM3_OP_EMBED && i % 2 == 0))
            bytes += (double)cm3_tensor_bytes(&j->call.in[i]);
        if (backward && j->call.grad_in[i].data) bytes += (double)cm3_tensor_bytes(&j->call.grad_in[i]);
    }
    if (j->of->op == CM3_OP_EMBED && !backward)
        bytes += (double)cm3_tensor_bytes(&j->call.out[0]); /* the rows that are read */
    for (int i = 0; i < j->outputs; i++)
        if (outputs & 1u << i) bytes += (double)cm3_tensor_bytes(&j->call.out[i]);
    return bytes;
}

/* The best of the runs within `seconds`, at least three. */
static cm3_status measure(job *j, bool backward, double seconds, figure *f) {
    size_t (*workspace)(const cm3_call *) = backward ? j->kernel->backward_workspace : j->kernel->forward_workspace;
    cm3_status (*run)(const cm3_call *) = backward ? j->kernel->backward : j->kernel->forward;
    void *scratch = take(j, workspace ? workspace(&j->call) : 0);
    j->call.workspace = scratch;
    cm3_status status =
        j->out_of_memory ? cm3_fail(CM3_ERR_MEMORY, "%s: no memory for its tensors", j->of->name) : CM3_OK;
    *f = (figure){.seconds = 1e30, .flops = j->def->flops(&j->call, backward), .bytes = least_bytes(j, backward)};
    const double end = cm3_clock_seconds() + seconds;
    for (int i = 0; status == CM3_OK && (i < 3 || cm3_clock_seconds() < end); i++) {
        const double begin = cm3_clock_seconds();
        status = run(&j->call);
        const double spent = cm3_clock_seconds() - begin;
        if (spent < f->seconds) f->seconds = spent;
    }
    free(scratch);
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

static cm3_status bench_one(const bench_case *of, double seconds, const limits *l, cm3_json_writer *w) {
    job j = {.of = of, .def = cm3_op_definition(of->op), .kernel = cm3_backend_cpu()->kernels[of->op]};
    cm3_status status = job_open(&j);
    for (int backward = 0; backward < 2 && status == CM3_OK; backward++) {
        if (backward && !j.kernel->backward) break;
        if (backward) job_open_backward(&j);
        figure f;
        const char *direction = !backward ? "forward" : j.def->backward_is_whole ? "whole" : "backward";
        status = measure(&j, backward, seconds, &f);
        if (status == CM3_OK && j.def->backward_is_whole && backward) f.flops += j.def->flops(&j.call, false);
        if (status != CM3_OK) break;
        if (w)
            write_row(w, of->name, direction, &f, l);
        else
            print_row(of->name, direction, &f, l);
    }
    job_close(&j);
    return status;
}

static bool wanted(const bench_case *of, const char *only) {
    return !only || strstr(of->name, only);
}

cm3_status cm3_bench_ops(double seconds, bool json, const char *only) {
    size_t chosen = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) chosen += wanted(&cases[i], only);
    if (!chosen) return cm3_fail(CM3_ERR_USAGE, "bench ops: the name of no operation holds \"%s\"", only);
    const limits l = {cm3_machine_sgemm_rate(1), cm3_machine_copy_rate(0.5)};
    cm3_json_writer writer = cm3_json_writer_on(stdout);
    if (json) {
        cm3_json_begin_object(&writer, NULL);
        cm3_json_put_double(&writer, "sgemm_flops_per_second", l.flops);
        cm3_json_put_double(&writer, "copy_bytes_per_second", l.bytes);
        cm3_json_begin_array(&writer, "operations");
    } else {
        printf("sgemm %.1f GFLOP/s, copy %.1f GB/s; the floor of an operation is the longer of its FLOPs and its bytes "
               "at these rates\n",
               l.flops / 1e9, l.bytes / 1e9);
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (wanted(&cases[i], only)) CM3_TRY(bench_one(&cases[i], seconds, &l, json ? &writer : NULL));
    if (json) {
        cm3_json_end_array(&writer);
        cm3_json_end_object(&writer);
        cm3_json_end_line(&writer);
    }
    return CM3_OK;
}
