/* The choice between cuDNN's attention and our own kernels (core/kernels/cuda/autotune.h), with something in
 * cuDNN's place that is there or not, fast or slow, right or wrong; the clock counts launches. */
#include "core/kernels/cuda/cuda.h"
#include "core/kernels/cuda/device.h"
#include "core/rng.h"
#include "tests/support/simt/simt_cudnn.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { HEADS = 2, SEQUENCE = 128, D = 8, WIDTH = 3 * HEADS * D };
enum { TRIAL_RUNS = 2 + 5 }; /* twice for the comparison, and the race */

#define ATTR(is_causal)                                                                                                \
    { .heads = HEADS, .kv_heads = HEADS, .sequence = SEQUENCE, .causal = is_causal, .scale = 0.35f }
static const cm3_op_attr attrs[2] = {ATTR(false), ATTR(true)};

/* One attention, all in memory of its size. A number is used by one test only: choices are kept. */
typedef struct problem {
    cm3_call call;
    void *forward_workspace, *backward_workspace;
} problem;

static cm3_tensor tensor_of(cm3_dtype type, int64_t rows, int64_t width) {
    cm3_tensor t = {.type = type, .shape = {.rank = 2, .dim = {rows, width}}};
    t.data = cm3__device_memory.alloc(cm3_tensor_bytes(&t));
    assert_non_null(t.data);
    return t;
}

static void fill(const cm3_tensor *t, uint64_t stream) {
    cm3_rng rng = cm3_rng_stream(3, CM3_RNG_TEST, stream, 0);
    const int64_t count = cm3_shape_count(t->shape);
    uint16_t *rounded = malloc((size_t)count * sizeof *rounded);
    for (int64_t i = 0; i < count; i++) {
        const float x = (float)cm3_rng_normal(&rng);
        memcpy(rounded + i, (const uint16_t *)&x + 1, sizeof *rounded);
    }
    assert_int_equal(cm3__device_memory.upload(t->data, rounded, cm3_tensor_bytes(t)), CM3_OK);
    free(rounded);
}

static problem begin(int number, simt_cudnn cudnn) {
    const int64_t batch = 1 + number / 2, rows = batch * SEQUENCE;
    problem p = {.call = {.attr = &attrs[number % 2]}};
    *simt_cudnn_now() = cudnn;
    p.call.in[0] = tensor_of(CM3_BF16, rows, WIDTH);
    p.call.out[0] = tensor_of(CM3_BF16, rows, HEADS * D);
    p.call.out[1] = tensor_of(CM3_F32, batch * HEADS, SEQUENCE);
    p.call.grad_out = tensor_of(CM3_BF16, rows, HEADS * D);
    p.call.grad_in[0] = tensor_of(CM3_BF16, rows, WIDTH);
    fill(&p.call.in[0], 1);
    fill(&p.call.grad_out, 2);
    p.forward_workspace = cm3__device_memory.alloc(cm3__cuda_attention.forward_workspace(&p.call));
    p.backward_workspace = cm3__device_memory.alloc(cm3__cuda_attention.backward_workspace(&p.call));
    return p;
}

static void end(problem *p) {
    void *blocks[] = {p->call.in[0].data,      p->call.out[0].data,  p->call.out[1].data,  p->call.grad_out.data,
                      p->call.grad_in[0].data, p->forward_workspace, p->backward_workspace};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) cm3__device_memory.free(blocks[i], 0);
}

/* Gives how often cuDNN ran. */
static int run_forward(problem *p) {
    simt_cudnn_now()->runs = 0;
    p->call.workspace = p->forward_workspace;
    assert_int_equal(cm3__cuda_attention.forward(&p->call), CM3_OK);
    return simt_cudnn_now()->runs;
}

static int run_backward(problem *p, bool accumulate) {
    simt_cudnn_now()->runs = 0;
    p->call.workspace = p->backward_workspace;
    p->call.accumulate[0] = accumulate;
    assert_int_equal(cm3__cuda_attention.backward(&p->call), CM3_OK);
    return simt_cudnn_now()->runs;
}

static float *values(const cm3_tensor *t) {
    const int64_t count = cm3_shape_count(t->shape);
    uint16_t *rounded = malloc(cm3_tensor_bytes(t));
    float *x = malloc((size_t)count * sizeof *x);
    assert_int_equal(cm3__device_memory.download(rounded, t->data, cm3_tensor_bytes(t)), CM3_OK);
    for (int64_t i = 0; i < count; i++) {
        const uint32_t bits = (uint32_t)rounded[i] << 16;
        memcpy(&x[i], &bits, sizeof *x);
    }
    free(rounded);
    return x;
}

static void assert_close(const cm3_tensor *t, const float *want, float times) {
    float *found = values(t);
    for (int64_t i = 0; i < cm3_shape_count(t->shape); i++) {
        const float x = found[i], y = want[i] * times;
        if (!(fabsf(x - y) <= 0.02f * (1 + fabsf(y)))) fail_msg("%lld: %g, %g expected", (long long)i, x, y);
    }
    free(found);
}

static void without_cudnn_our_kernels_run_and_no_memory_is_asked_for(void **state) {
    (void)state;
    problem p = begin(1, (simt_cudnn){.there = false});
    assert_int_equal(cm3__cuda_attention.forward_workspace(&p.call), 0);
    assert_int_equal(cm3__cuda_attention.backward_workspace(&p.call), SEQUENCE * HEADS * sizeof(float));
    assert_int_equal(run_forward(&p), 0);
    assert_int_equal(run_backward(&p, false), 0);
    end(&p);
}

static void a_faster_cudnn_is_tried_once_and_then_taken(void **state) {
    (void)state;
    problem p = begin(2, (simt_cudnn){.there = true, .seconds = 0.5});
    assert_true(cm3__cuda_attention.forward_workspace(&p.call) > 0);
    assert_true(cm3__cuda_attention.backward_workspace(&p.call) > 2 * SEQUENCE * HEADS * sizeof(float));
    assert_int_equal(run_forward(&p), TRIAL_RUNS + 1);
    assert_int_equal(run_forward(&p), 1);
    assert_int_equal(run_backward(&p, false), TRIAL_RUNS + 1);
    assert_int_equal(run_backward(&p, false), 1);
    end(&p);
}

static void a_slower_cudnn_is_not_taken(void **state) {
    (void)state;
    problem p = begin(3, (simt_cudnn){.there = true, .seconds = 100});
    assert_int_equal(run_forward(&p), TRIAL_RUNS);
    assert_int_equal(run_forward(&p), 0);
    assert_int_equal(run_backward(&p, false), TRIAL_RUNS);
    assert_int_equal(run_backward(&p, false), 0);
    end(&p);
}

static void a_wrong_cudnn_is_not_taken(void **state) {
    (void)state;
    problem p = begin(4, (simt_cudnn){.there = true, .seconds = 0.5, .error = 0.02f});
    assert_int_equal(run_forward(&p), TRIAL_RUNS);
    assert_int_equal(run_backward(&p, false), TRIAL_RUNS);
    assert_int_equal(run_forward(&p) + run_backward(&p, false), 0);
    end(&p);
}

static void a_cudnn_whose_bits_change_is_not_taken(void **state) {
    (void)state;
    problem p = begin(5, (simt_cudnn){.there = true, .seconds = 0.5, .noise = 0.004f});
    assert_int_equal(run_forward(&p), TRIAL_RUNS);
    assert_int_equal(run_backward(&p, false), TRIAL_RUNS);
    assert_int_equal(run_forward(&p) + run_backward(&p, false), 0);
    end(&p);
}

static void both_give_the_same_results_and_only_ours_adds_to_gradients(void **state) {
    (void)state;
    problem own = begin(6, (simt_cudnn){.there = false}), p = begin(6, (simt_cudnn){.there = true, .seconds = 0.5});
    simt_cudnn_now()->there = false;
    run_forward(&own);
    run_backward(&own, false);
    float *y = values(&own.call.out[0]), *grad = values(&own.call.grad_in[0]);
    simt_cudnn_now()->there = true;
    assert_true(run_forward(&p) > 0);
    assert_true(run_backward(&p, false) > 0);
    assert_close(&p.call.out[0], y, 1);
    assert_close(&p.call.grad_in[0], grad, 1);
    assert_int_equal(run_backward(&p, true), 0);
    assert_close(&p.call.grad_in[0], grad, 2);
    free(y);
    free(grad);
    end(&own);
    end(&p);
}

static void a_choice_that_was_made_holds_in_a_graph(void **state) {
    (void)state;
    problem p = begin(0, (simt_cudnn){.there = true, .seconds = 0.5});
    void *graph;
    run_forward(&p);
    float *y = values(&p.call.out[0]);
    assert_int_equal(cm3__device_graph.begin(), CM3_OK);
    assert_int_equal(run_forward(&p), 1);
    assert_int_equal(cm3__device_graph.end(&graph), CM3_OK);
    assert_int_equal(cm3__device_memory.clear(p.call.out[0].data, cm3_tensor_bytes(&p.call.out[0])), CM3_OK);
    assert_int_equal(cm3__device_graph.run(graph), CM3_OK);
    assert_close(&p.call.out[0], y, 1);
    cm3__device_graph.free(graph);
    free(y);
    end(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_cudnn_our_kernels_run_and_no_memory_is_asked_for),
        cmocka_unit_test(a_faster_cudnn_is_tried_once_and_then_taken),
        cmocka_unit_test(a_slower_cudnn_is_not_taken),
        cmocka_unit_test(a_wrong_cudnn_is_not_taken),
        cmocka_unit_test(a_cudnn_whose_bits_change_is_not_taken),
        cmocka_unit_test(both_give_the_same_results_and_only_ours_adds_to_gradients),
        cmocka_unit_test(a_choice_that_was_made_holds_in_a_graph),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
