/* Every operation case of core/tensor/op_case.h that the cuda backend has a kernel for, forward and backward, in f32
 * and, where the operation has it, in bf16, beside the cpu backend in f32 on the same values. On a GPU; in ctest on
 * the host in its place (CM3_CUDA_LIBRARY). With an argument: only cases whose name contains it. */
#include "core/rng.h"
#include "core/tensor/op_case.h"
#include "tests/support/gpu.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char *wanted = "";
static const cm3_backend *device;

/* --- bfloat16 on the host ---------------------------------------------------------------------------------------- */

static uint16_t to_bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float of_bf16(uint16_t x) {
    const uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, sizeof y);
    return y;
}

/* --- one side ---------------------------------------------------------------------------------------------------- */

enum { MOST_BLOCKS = 3 * CM3_OP_INPUTS + CM3_OP_OUTPUTS + 3 };

typedef struct side {
    const cm3_backend *backend;
    cm3_call call;
    int outputs;
    struct {
        void *data;
        size_t bytes;
    } blocks[MOST_BLOCKS];
    int block_count;
} side;

static void *block(side *s, size_t bytes) {
    void *data = s->backend->memory->alloc(bytes);
    assert_non_null(data);
    s->blocks[s->block_count].bytes = bytes;
    return s->blocks[s->block_count++].data = data;
}

/* The tensor's own memory, holding `values`: as many f32, or i32 as they are. */
static void put(side *s, cm3_tensor *t, const void *values) {
    const int64_t count = cm3_shape_count(t->shape);
    const size_t bytes = cm3_tensor_bytes(t);
    t->data = block(s, bytes);
    if (t->type != CM3_BF16) {
        assert_int_equal(s->backend->memory->upload(t->data, values, bytes), CM3_OK);
        return;
    }
    uint16_t *rounded = malloc(bytes + 1);
    for (int64_t i = 0; i < count; i++) rounded[i] = to_bf16(((const float *)values)[i]);
    assert_int_equal(s->backend->memory->upload(t->data, rounded, bytes), CM3_OK);
    free(rounded);
}

static double *get(const side *s, const cm3_tensor *t) {
    const int64_t count = cm3_shape_count(t->shape);
    const size_t bytes = cm3_tensor_bytes(t);
    void *raw = malloc(bytes + 1);
    double *values = malloc((size_t)count * sizeof *values + 1);
    if (s->backend->memory->download(raw, t->data, bytes) != CM3_OK) fail_msg("%s", cm3_message());
    for (int64_t i = 0; i < count; i++)
        values[i] = t->type == CM3_I32    ? ((const int32_t *)raw)[i]
                    : t->type == CM3_BF16 ? of_bf16(((const uint16_t *)raw)[i])
                                          : ((const float *)raw)[i];
    free(raw);
    return values;
}

static void close_side(side *s) {
    for (int i = 0; i < s->block_count; i++) s->backend->memory->free(s->blocks[i].data, s->blocks[i].bytes);
    s->block_count = 0;
}

/* --- a case ------------------------------------------------------------------------------------------------------ */

typedef struct values {
    void *in[CM3_OP_INPUTS], *grad_out;
    float before; /* what gradients hold that are added to */
} values;

static void fill(const cm3_op_case *of, cm3_dtype real, values *v) {
    for (int i = 0; i < CM3_OP_INPUTS; i++) {
        const cm3_tensor t = cm3_op_input_tensor(&of->in[i]);
        if (!t.shape.rank) continue;
        v->in[i] = malloc(cm3_tensor_bytes(&t));
        cm3_op_input_fill(&of->in[i], of->op * CM3_OP_INPUTS + (uint64_t)i, v->in[i]);
        if (cm3_op_case_tensor(of, i, real).type == CM3_BF16)
            for (int64_t j = 0; j < cm3_shape_count(t.shape); j++)
                ((float *)v->in[i])[j] = of_bf16(to_bf16(((float *)v->in[i])[j]));
    }
}

/* OVER: the gradient that the definition allows it to is written over grad_out. */
typedef enum gradients { OVERWRITE, ACCUMULATE, OVER, WAYS } gradients;

static void run(const cm3_op_case *of, cm3_dtype real, const values *v, gradients way, side *s) {
    const cm3_op_def *def = cm3_op_definition(of->op);
    const cm3_kernel *kernel = s->backend->kernels[of->op];
    s->call = (cm3_call){.attr = &of->attr};
    for (int i = 0; i < CM3_OP_INPUTS; i++) {
        s->call.in[i] = cm3_op_case_tensor(of, i, real);
        if (!s->call.in[i].shape.rank) continue;
        put(s, &s->call.in[i], v->in[i]);
    }
    assert_int_equal(def->infer(&of->attr, s->call.in, s->call.out, &s->outputs), CM3_OK);
    for (int i = 0; i < s->outputs; i++) s->call.out[i].data = block(s, cm3_tensor_bytes(&s->call.out[i]));
    if (!def->fused_forward_in_backward || !kernel->backward || !v->grad_out) {
        s->call.workspace = block(s, kernel->forward_workspace ? kernel->forward_workspace(&s->call) : 0);
        if (kernel->forward(&s->call) != CM3_OK) fail_msg("%s: %s", of->name, cm3_message());
    }
    if (!kernel->backward || !v->grad_out) return;
    s->call.grad_out = s->call.out[0];
    put(s, &s->call.grad_out, v->grad_out);
    for (int i = 0; i < CM3_OP_INPUTS; i++) {
        if (!s->call.in[i].shape.rank || !(def->differentiable & 1u << i)) continue;
        cm3_tensor *grad = &s->call.grad_in[i];
        *grad = s->call.in[i];
        if (cm3_op_is_parameter(of->op, i)) grad->type = CM3_F32;
        const int64_t count = cm3_shape_count(grad->shape);
        const bool adds = way == ACCUMULATE && cm3_op_case_accumulates(of, i);
        float *before = malloc((size_t)count * sizeof *before + 1);
        for (int64_t j = 0; j < count; j++) before[j] = adds ? v->before : NAN;
        if (way == OVER && i == def->grad_in_place)
            grad->data = s->call.grad_out.data;
        else
            put(s, grad, before);
        s->call.accumulate[i] = adds;
        free(before);
    }
    s->call.workspace = block(s, kernel->backward_workspace ? kernel->backward_workspace(&s->call) : 0);
    if (kernel->backward(&s->call) != CM3_OK) fail_msg("%s: %s", of->name, cm3_message());
}

/* A sum of n terms in f32 is off by about sqrt(n) half units of its largest partial sum. In bf16 results are rounded
 * once, and what lies between (activations before their slope, probabilities) once more. */
static double tolerance(const cm3_op_case *of, cm3_dtype real, double largest) {
    const double sums = FLT_EPSILON * (16 + 2 * sqrt(of->sum)), rounding = real == CM3_BF16 ? 3 * 0x1p-8 : 0;
    return (sums + rounding) * of->magnitude * (largest > 0 ? largest : 1e-3);
}

static void compare(const cm3_op_case *of, cm3_dtype real, const char *what, int index, const side *a,
                    const cm3_tensor *ta, const side *b, const cm3_tensor *tb) {
    const int64_t count = cm3_shape_count(ta->shape);
    double *want = get(a, ta), *got = get(b, tb), largest = 0, worst = 0;
    int64_t at = 0;
    for (int64_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs(want[i]));
        if (!(fabs(want[i] - got[i]) <= worst)) worst = fabs(want[i] - got[i]), at = i;
    }
    if (!(worst <= tolerance(of, real, largest)))
        fail_msg("%s (%s): %s %d [%lld of %lld] is %.9g, on the cpu %.9g, within %.2g expected", of->name,
                 cm3_dtype_name(real), what, index, (long long)at, (long long)count, got[at], want[at],
                 tolerance(of, real, largest));
    free(want);
    free(got);
}

static void check(const cm3_op_case *of, cm3_dtype real, gradients way) {
    values v = {.before = 0.5f};
    side host = {.backend = cm3_backend_cpu()}, dev = {.backend = device};
    fill(of, real, &v);
    if (of->modes & CM3_MODE_GRADIENT) {
        cm3_tensor in[CM3_OP_INPUTS], out[CM3_OP_OUTPUTS];
        int outputs;
        for (int i = 0; i < CM3_OP_INPUTS; i++) in[i] = cm3_op_input_tensor(&of->in[i]);
        assert_int_equal(cm3_op_definition(of->op)->infer(&of->attr, in, out, &outputs), CM3_OK);
        const int64_t count = cm3_shape_count(out[0].shape);
        float *g = v.grad_out = malloc((size_t)count * sizeof *g + 1);
        cm3_rng rng = cm3_rng_stream(4, CM3_RNG_TEST, of->op, 0);
        for (int64_t i = 0; i < count; i++) {
            g[i] = (float)cm3_rng_normal(&rng);
            if (real == CM3_BF16 && out[0].type == CM3_F32 && count > 1) g[i] = of_bf16(to_bf16(g[i]));
        }
    }
    run(of, CM3_F32, &v, way, &host);
    run(of, real, &v, way, &dev);
    for (int i = 0; i < host.outputs; i++)
        if (!cm3_op_is_mask(of->op, &host.call.out[i]))
            compare(of, real, "output", i, &host, &host.call.out[i], &dev, &dev.call.out[i]);
    for (int i = 0; i < CM3_OP_INPUTS; i++) {
        if (host.call.in[i].shape.rank)
            compare(of, real, "input after", i, &host, &host.call.in[i], &dev, &dev.call.in[i]);
        if (host.call.grad_in[i].data)
            compare(of, real, "gradient", i, &host, &host.call.grad_in[i], &dev, &dev.call.grad_in[i]);
    }
    close_side(&host);
    close_side(&dev);
    for (int i = 0; i < CM3_OP_INPUTS; i++) free(v.in[i]);
    free(v.grad_out);
}

static void every_operation_agrees_with_the_cpu(void **state) {
    (void)state;
    size_t count;
    const cm3_op_case *cases = cm3_op_cases(&count);
    for (size_t c = 0; c < count; c++) {
        if (!(cases[c].modes & CM3_MODE_TEST) || !device->kernels[cases[c].op] || !strstr(cases[c].name, wanted))
            continue;
        for (gradients way = 0; way < WAYS; way++) {
            if (way == OVER && cm3_op_definition(cases[c].op)->grad_in_place < 0) continue;
            check(&cases[c], CM3_F32, way);
            if (cm3_op_case_has_bf16(&cases[c])) check(&cases[c], CM3_BF16, way);
        }
    }
}

int main(int argc, char **argv) {
    if (argc > 1) wanted = argv[1];
    device = gpu_open();
    if (!device) return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_operation_agrees_with_the_cpu)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
