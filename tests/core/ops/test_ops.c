#include "core/rng.h"
#include "core/threads.h"
#include "tests/core/ops/reference.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* --- buffers with guards ----------------------------------------------------------------------------------------- */

enum { GUARD = 128 };
static const unsigned char GUARD_BYTE = 0xA5;

typedef struct buffer {
    unsigned char *memory;
    size_t bytes;
} buffer;

/* Everything inside is NaN (as float) until written. */
static void *buffer_open(buffer *b, size_t bytes) {
    b->bytes = bytes;
    b->memory = aligned_alloc(64, (bytes + 2 * GUARD + 63) / 64 * 64);
    memset(b->memory, GUARD_BYTE, GUARD + bytes + GUARD);
    memset(b->memory + GUARD, 0xFF, bytes);
    return b->memory + GUARD;
}

static bool buffer_is_whole(const buffer *b) {
    for (size_t i = 0; b->memory && i < GUARD; i++)
        if (b->memory[i] != GUARD_BYTE || b->memory[GUARD + b->bytes + i] != GUARD_BYTE) return false;
    return true;
}

/* --- a case, filled ---------------------------------------------------------------------------------------------- */

enum { BUFFERS = CM3_OP_INPUTS + CM3_OP_OUTPUTS + 1 + CM3_OP_INPUTS + 1 };

typedef struct trial {
    const cm3_op_case *of;
    const op_reference *reference;
    const cm3_op_def *def;
    const cm3_kernel *kernel;
    op_values truth;              /* in double */
    float *before[CM3_OP_INPUTS]; /* inputs as they were filled (integers have the bits of i32) */
    int outputs;
    cm3_call call;
    buffer buffers[BUFFERS];
    int opened;
} trial;

static void *open_in(trial *t, size_t bytes) {
    return buffer_open(&t->buffers[t->opened++], bytes);
}

static const op_reference *reference_of(cm3_op op) {
    const bool mine = op_references_transformer[op].forward != NULL;
    return mine ? &op_references_transformer[op] : &op_references_convolution[op];
}

static void fill_input(trial *t, int i) {
    const int64_t count = cm3_shape_count(t->call.in[i].shape);
    t->before[i] = malloc((size_t)count * sizeof(float));
    t->truth.in[i] = malloc((size_t)count * sizeof(double));
    t->truth.in_shape[i] = t->call.in[i].shape;
    cm3_op_input_fill(&t->of->in[i], t->of->op * CM3_OP_INPUTS + (uint64_t)i, t->before[i]);
    for (int64_t j = 0; j < count; j++)
        t->truth.in[i][j] = t->call.in[i].type == CM3_I32 ? ((int32_t *)t->before[i])[j] : t->before[i][j];
}

static void trial_open(trial *t, const cm3_op_case *of) {
    *t = (trial){.of = of,
                 .reference = reference_of(of->op),
                 .def = cm3_op_definition(of->op),
                 .kernel = cm3_backend_cpu()->kernels[of->op],
                 .truth = {.of = of},
                 .call = {.attr = &of->attr}};
    for (int i = 0; i < CM3_OP_INPUTS; i++) {
        t->call.in[i] = cm3_op_input_tensor(&of->in[i]);
        if (t->call.in[i].shape.rank) fill_input(t, i);
    }
    cm3_tensor out[CM3_OP_OUTPUTS];
    if (t->def->infer(&of->attr, t->call.in, out, &t->outputs) != CM3_OK) fail_msg("%s: %s", of->name, cm3_message());
    for (int i = 0; i < t->outputs; i++) {
        t->truth.out_shape[i] = out[i].shape;
        t->truth.out[i] = calloc((size_t)cm3_shape_count(out[i].shape), sizeof(double));
        t->call.out[i] = out[i];
    }
    t->reference->forward(&t->truth);
}

/* Fresh buffers: inputs as filled, outputs unwritten. */
static void trial_reset(trial *t) {
    for (int i = 0; i < t->opened; i++) free(t->buffers[i].memory);
    t->opened = 0;
    for (int i = 0; i < CM3_OP_INPUTS; i++) {
        if (!t->before[i]) continue;
        t->call.in[i].data = open_in(t, cm3_tensor_bytes(&t->call.in[i]));
        memcpy(t->call.in[i].data, t->before[i], cm3_tensor_bytes(&t->call.in[i]));
    }
    for (int i = 0; i < t->outputs; i++) t->call.out[i].data = open_in(t, cm3_tensor_bytes(&t->call.out[i]));
}

static void trial_close(trial *t) {
    for (int i = 0; i < t->opened; i++) free(t->buffers[i].memory);
    for (int i = 0; i < CM3_OP_INPUTS; i++) {
        free(t->before[i]);
        free(t->truth.in[i]);
        free(t->truth.grad_in[i]);
    }
    for (int i = 0; i < CM3_OP_OUTPUTS; i++) free(t->truth.out[i]);
    free(t->truth.grad_out);
}

static void trial_check_guards(const trial *t) {
    for (int i = 0; i < t->opened; i++)
        if (!buffer_is_whole(&t->buffers[i])) fail_msg("%s: buffer %d was written outside its bounds", t->of->name, i);
}

/* Before the forward call its buffers are open already; the workspace is exactly what was asked for. */
static void trial_forward(trial *t) {
    const size_t bytes = t->kernel->forward_workspace ? t->kernel->forward_workspace(&t->call) : 0;
    t->call.workspace = open_in(t, bytes);
    if (t->kernel->forward(&t->call) != CM3_OK) fail_msg("%s: %s", t->of->name, cm3_message());
    trial_check_guards(t);
}

/* --- tolerance --------------------------------------------------------------------------------------------------- */

/* A sum of n rounded terms is off by about sqrt(n) half units of its largest partial sum; 8 units are for the few
 * further operations around it. */
static double tolerance(const cm3_op_case *of, double largest) {
    return FLT_EPSILON * (8 + 2 * sqrt(of->sum)) * of->magnitude * (largest > 0 ? largest : 1e-3);
}

static double largest_of(const double *x, int64_t count) {
    double most = 0;
    for (int64_t i = 0; i < count; i++) most = fabs(x[i]) > most ? fabs(x[i]) : most;
    return most;
}

static void expect_close(const trial *t, const char *what, int index, const cm3_tensor *got, const double *want,
                         const char *how) {
    const int64_t count = cm3_shape_count(got->shape);
    const double allowed = tolerance(t->of, largest_of(want, count));
    for (int64_t i = 0; i < count; i++) {
        const double value = got->type == CM3_I32 ? ((const int32_t *)got->data)[i] : ((const float *)got->data)[i];
        if (!(fabs(value - want[i]) <= allowed))
            fail_msg("%s (%s): %s %d [%lld of %lld] is %.9g, expected %.9g within %.2g", t->of->name, how, what, index,
                     (long long)i, (long long)count, value, want[i], allowed);
    }
}

/* --- test -------------------------------------------------------------------------------------------------------- */

static const char *const LEVELS[] = {"base", "avx2", "avx512"};
static const int THREADS[] = {1, 2, 3};

typedef void (*check)(trial *t, const char *how);

static void for_every_case(cm3_op_mode mode, check run) {
    const int threads_before = cm3_threads_count();
    size_t count;
    const cm3_op_case *cases = cm3_op_cases(&count);
    for (size_t c = 0; c < count; c++) {
        if (!(cases[c].modes & mode)) continue;
        trial t;
        trial_open(&t, &cases[c]);
        for (size_t i = 0; i < 9; i++) {
            char how[64];
            snprintf(how, sizeof how, "%s, %d threads", LEVELS[i / 3], THREADS[i % 3]);
            setenv("CM3_SIMD", LEVELS[i / 3], 1);
            cm3_threads_set(THREADS[i % 3]);
            run(&t, how);
        }
        trial_close(&t);
    }
    unsetenv("CM3_SIMD");
    cm3_threads_set(threads_before);
}

static void every_operation_has_a_case_of_every_mode(void **state) {
    (void)state;
    size_t count;
    const cm3_op_case *cases = cm3_op_cases(&count);
    for (cm3_op op = 0; op < CM3_OP_COUNT; op++) {
        const cm3_kernel *kernel = cm3_backend_cpu()->kernels[op];
        unsigned modes = 0;
        if (!kernel) continue;
        for (size_t c = 0; c < count; c++) modes |= cases[c].op == op ? cases[c].modes : 0;
        if (modes != (CM3_MODE_TEST | CM3_MODE_GRADIENT | CM3_MODE_BENCH))
            fail_msg("%s: no case of modes %#x", cm3_op_definition(op)->name, ~modes & 7);
    }
}

static void check_values(trial *t, const char *how) {
    trial_reset(t);
    trial_forward(t);
    for (int i = 0; i < t->outputs; i++)
        if (!cm3_op_is_mask(t->of->op, &t->call.out[i]))
            expect_close(t, "output", i, &t->call.out[i], t->truth.out[i], how);
    for (int i = 0; i < CM3_OP_INPUTS; i++) {
        if (!t->before[i]) continue;
        if (t->reference->changes & 1u << i)
            expect_close(t, "changed input", i, &t->call.in[i], t->truth.in[i], how);
        else if (memcmp(t->before[i], t->call.in[i].data, cm3_tensor_bytes(&t->call.in[i])))
            fail_msg("%s: input %d was changed", t->of->name, i);
    }
}

static void every_operation_agrees_with_its_reference(void **state) {
    (void)state;
    for_every_case(CM3_MODE_TEST, check_values);
}

static void check_repeat(trial *t, const char *how) {
    const size_t bytes = cm3_tensor_bytes(&t->call.out[0]);
    trial_reset(t);
    trial_forward(t);
    void *first = malloc(bytes);
    memcpy(first, t->call.out[0].data, bytes);
    trial_reset(t);
    trial_forward(t);
    if (memcmp(first, t->call.out[0].data, bytes)) fail_msg("%s (%s): two runs differ", t->of->name, how);
    /* The output over an input, where the definition allows it (ACTIVATE only for RELU, whose gradient needs no input).
     */
    const int over = t->def->in_place;
    if (over >= 0 && t->before[over]) {
        trial_reset(t);
        t->call.out[0].data = t->call.in[over].data;
        trial_forward(t);
        for (size_t i = 0; i < bytes / sizeof(float); i++)
            if (!(fabsf(((float *)first)[i] - ((float *)t->call.out[0].data)[i]) <=
                  tolerance(t->of, largest_of(t->truth.out[0], (int64_t)(bytes / 4)))))
                fail_msg("%s (%s): another result in place at %zu", t->of->name, how, i);
    }
    free(first);
}

static void runs_repeat_bit_for_bit_and_agree_in_place(void **state) {
    (void)state;
    for_every_case(CM3_MODE_TEST, check_repeat);
}

/* --- gradient ---------------------------------------------------------------------------------------------------- */

static double projection(const trial *t) {
    double sum = 0;
    t->reference->forward(&t->truth);
    for (int64_t i = 0; i < cm3_shape_count(t->truth.out_shape[0]); i++)
        sum += t->truth.grad_out[i] * t->truth.out[0][i];
    return sum;
}

/* How the projection changes when input `i` moves along `direction` (NULL: along its element `at`). */
static double difference(trial *t, int i, const float *direction, int64_t at) {
    const double step = 1e-5;
    const int64_t count = cm3_shape_count(t->truth.in_shape[i]);
    double *x = t->truth.in[i], ends[2];
    for (int side = 0; side < 2; side++) {
        for (int64_t j = 0; j < count; j++) {
            const double along = direction ? direction[j] : j == at;
            x[j] = t->before[i][j] + (side ? step : -step) * along;
        }
        ends[side] = projection(t);
    }
    for (int64_t j = 0; j < count; j++) x[j] = t->before[i][j];
    return (ends[1] - ends[0]) / (2 * step);
}

enum { SAMPLES = 12 };

/* Elements of input i at which the gradient is compared: first, last, and some between. */
static int64_t sample_of(const trial *t, int i, int sample) {
    const int64_t count = cm3_shape_count(t->truth.in_shape[i]);
    if (sample == 0) return 0;
    if (sample == 1) return count - 1;
    cm3_rng rng = cm3_rng_stream(2, CM3_RNG_TEST, (uint64_t)i, (uint64_t)sample);
    return (int64_t)cm3_rng_below(&rng, (uint64_t)count);
}

static float direction_value(int i, int64_t j) {
    cm3_rng rng = cm3_rng_stream(3, CM3_RNG_TEST, (uint64_t)i, (uint64_t)j);
    return (float)cm3_rng_u32(&rng) / 2147483648.0f - 1;
}

/* What backward must give, made once a case: differences at the samples and along one direction. */
typedef struct slopes {
    double sampled[CM3_OP_INPUTS][SAMPLES], along[CM3_OP_INPUTS];
} slopes;

static void slopes_measure(trial *t, slopes *s) {
    const int64_t outputs = cm3_shape_count(t->truth.out_shape[0]);
    cm3_rng rng = cm3_rng_stream(4, CM3_RNG_TEST, t->of->op, 0);
    t->truth.grad_out = malloc((size_t)outputs * sizeof(double));
    for (int64_t i = 0; i < outputs; i++) t->truth.grad_out[i] = (float)cm3_rng_normal(&rng);
    for (int i = 0; i < CM3_OP_INPUTS; i++) {
        if (!t->before[i] || !(t->def->differentiable & 1u << i)) continue;
        const int64_t count = cm3_shape_count(t->truth.in_shape[i]);
        t->truth.grad_in[i] = calloc((size_t)count, sizeof(double));
        if (t->reference->gradient) continue;
        float *direction = malloc((size_t)count * sizeof *direction);
        for (int64_t j = 0; j < count; j++) direction[j] = direction_value(i, j);
        for (int j = 0; j < SAMPLES; j++) s->sampled[i][j] = difference(t, i, NULL, sample_of(t, i, j));
        s->along[i] = difference(t, i, direction, 0);
        free(direction);
    }
    if (t->reference->gradient) t->reference->gradient(&t->truth);
}

static void slopes_compare(const trial *t, const slopes *s, int i, const float *grad, const char *how) {
    const int64_t count = cm3_shape_count(t->truth.in_shape[i]);
    double most = 0, along = 0;
    for (int64_t j = 0; j < count; j++) {
        if (!isfinite(grad[j]))
            fail_msg("%s (%s): gradient %d [%lld] is %g", t->of->name, how, i, (long long)j, (double)grad[j]);
        most = fabs(grad[j]) > most ? fabs(grad[j]) : most;
        along += (double)grad[j] * direction_value(i, j);
    }
    if (t->reference->gradient) {
        const cm3_tensor got = {.type = CM3_F32, .shape = t->truth.in_shape[i], .data = (void *)(uintptr_t)grad};
        expect_close(t, "gradient", i, &got, t->truth.grad_in[i], how);
        return;
    }
    const double noise = 1e-9 * (1 + fabs(s->along[i])); /* of the differences themselves */
    for (int j = 0; j < SAMPLES; j++) {
        const int64_t at = sample_of(t, i, j);
        if (!(fabs(grad[at] - s->sampled[i][j]) <= tolerance(t->of, most) + noise))
            fail_msg("%s (%s): gradient %d [%lld] is %.9g, differences give %.9g within %.2g", t->of->name, how, i,
                     (long long)at, (double)grad[at], s->sampled[i][j], tolerance(t->of, most));
    }
    const double allowed = tolerance(t->of, most * sqrt((double)count)) + noise;
    if (!(fabs(along - s->along[i]) <= allowed))
        fail_msg("%s (%s): gradient %d along a direction is %.9g, differences give %.9g within %.2g", t->of->name, how,
                 i, along, s->along[i], allowed);
}

/* A backward call as the tape makes it: only what the definition reads has data. `over`: gradient of the definition's
 * grad_in_place input written over grad_out. `before`: what the gradients hold already, NULL for overwriting. */
static void trial_backward(trial *t, bool over, const float *before) {
    trial_reset(t);
    unsigned inputs = 0, outputs = 0;
    if (!t->def->fused_forward_in_backward) trial_forward(t);
    t->def->reads(&t->of->attr, t->call.in, &inputs, &outputs);
    cm3_call backward = t->call;
    for (int i = 0; i < CM3_OP_INPUTS; i++)
        if (!(inputs & 1u << i)) backward.in[i].data = NULL;
    for (int i = 0; i < t->outputs; i++)
        if (!(outputs & 1u << i)) backward.out[i].data = NULL;
    backward.grad_out = t->call.out[0];
    backward.grad_out.data = open_in(t, cm3_tensor_bytes(&backward.grad_out));
    for (int64_t i = 0; i < cm3_shape_count(backward.grad_out.shape); i++)
        ((float *)backward.grad_out.data)[i] = (float)t->truth.grad_out[i];
    for (int i = 0; i < CM3_OP_INPUTS; i++) {
        if (!t->truth.grad_in[i]) continue;
        backward.grad_in[i] = t->call.in[i];
        backward.grad_in[i].data =
            over && i == t->def->grad_in_place ? backward.grad_out.data : open_in(t, cm3_tensor_bytes(&t->call.in[i]));
        backward.accumulate[i] = before && cm3_op_case_accumulates(t->of, i);
        for (int64_t j = 0; backward.accumulate[i] && j < cm3_shape_count(backward.grad_in[i].shape); j++)
            ((float *)backward.grad_in[i].data)[j] = *before;
    }
    backward.workspace = open_in(t, t->kernel->backward_workspace ? t->kernel->backward_workspace(&backward) : 0);
    if (t->kernel->backward(&backward) != CM3_OK) fail_msg("%s: %s", t->of->name, cm3_message());
    trial_check_guards(t);
    t->call = backward;
    for (int i = 0; i < CM3_OP_INPUTS; i++) t->call.accumulate[i] = false;
}

static void check_gradient(trial *t, const char *how) {
    if (!t->kernel->backward) return;
    static slopes s;
    if (!t->truth.grad_out) slopes_measure(t, &s);
    for (int way = 0; way < 3; way++) {
        const float before = 0.5f;
        if (way == 1 && t->def->grad_in_place < 0) continue;
        trial_backward(t, way == 1, way == 2 ? &before : NULL);
        if (t->def->fused_forward_in_backward)
            for (int i = 0; i < t->outputs; i++) expect_close(t, "output", i, &t->call.out[i], t->truth.out[i], how);
        for (int i = 0; i < CM3_OP_INPUTS; i++) {
            if (!t->truth.grad_in[i]) continue;
            float *grad = t->call.grad_in[i].data;
            const bool added = way == 2 && cm3_op_case_accumulates(t->of, i);
            for (int64_t j = 0; added && j < cm3_shape_count(t->call.grad_in[i].shape); j++) grad[j] -= before;
            slopes_compare(t, &s, i, grad, how);
        }
        memset(t->call.grad_in, 0, sizeof t->call.grad_in);
        t->call.grad_out = (cm3_tensor){0};
    }
}

static void every_gradient_agrees_with_differences_of_the_reference(void **state) {
    (void)state;
    for_every_case(CM3_MODE_GRADIENT, check_gradient);
}

/* --- bytes ------------------------------------------------------------------------------------------------------- */

static void bytes_count_the_rows_that_are_read_and_what_backward_needs(void **state) {
    (void)state;
    enum { V = 100, N = 6, D = 8, F = sizeof(float) };
    const cm3_op_attr attr = {0};
    cm3_call embed = {.attr = &attr,
                      .in = {{.shape = cm3_shape_of(V, D)}, {.type = CM3_I32, .shape = cm3_shape_of(N)}},
                      .out = {{.shape = cm3_shape_of(N, D)}}};
    assert_true(cm3_op_bytes(CM3_OP_EMBED, &embed, false) == (N * D + N + N * D) * F);
    embed.grad_out = embed.out[0];
    embed.grad_in[0] = embed.in[0];
    assert_true(cm3_op_bytes(CM3_OP_EMBED, &embed, true) == (N * D + N + V * D) * F);
    const cm3_call add = {.attr = &attr,
                          .in = {embed.out[0], embed.out[0]},
                          .out = {embed.out[0]},
                          .grad_out = embed.out[0],
                          .grad_in = {{0}, embed.out[0]}};
    assert_true(cm3_op_bytes(CM3_OP_ADD, &add, false) == 3 * N * D * F);
    assert_true(cm3_op_bytes(CM3_OP_ADD, &add, true) == 2 * N * D * F);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_has_a_case_of_every_mode),
        cmocka_unit_test(every_operation_agrees_with_its_reference),
        cmocka_unit_test(runs_repeat_bit_for_bit_and_agree_in_place),
        cmocka_unit_test(every_gradient_agrees_with_differences_of_the_reference),
        cmocka_unit_test(bytes_count_the_rows_that_are_read_and_what_backward_needs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
