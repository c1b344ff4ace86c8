/* The choice between cuDNN's convolutions and our own kernels (core/kernels/cuda/conv2d.cu), with something in cuDNN's
 * place. What is common to all choices is tested with attention's. */
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

enum { ROWS = 8, COLUMNS = 6, CHANNELS = 4, OUT_ROWS = 4, OUT_COLUMNS = 3, OUTPUTS = 6, KERNEL = 3 };
enum { TRIAL_RUNS = 2 + 5 }; /* twice for the comparison, and the race */

static const cm3_op_attr attr = {.stride = 2, .pad_after = 1}; /* none before, one behind */

/* One convolution, all in memory of its size. A batch is used by one test only: choices are kept. */
typedef struct problem {
    cm3_call call;
    void *forward_workspace, *backward_workspace;
} problem;

static cm3_tensor tensor_of(int rank, int64_t a, int64_t b, int64_t c, int64_t d, uint64_t stream) {
    cm3_tensor t = {.type = CM3_F32, .shape = {.rank = rank, .dim = {a, b, c, d}}};
    const int64_t count = cm3_shape_count(t.shape);
    cm3_rng rng = cm3_rng_stream(3, CM3_RNG_TEST, stream, 0);
    float *x = malloc(cm3_tensor_bytes(&t));
    for (int64_t i = 0; i < count; i++) x[i] = (float)cm3_rng_normal(&rng);
    t.data = cm3__device_memory.alloc(cm3_tensor_bytes(&t));
    assert_non_null(t.data);
    assert_int_equal(cm3__device_memory.upload(t.data, x, cm3_tensor_bytes(&t)), CM3_OK);
    free(x);
    return t;
}

static problem begin(int64_t batch, simt_cudnn cudnn) {
    problem p = {.call = {.attr = &attr}};
    *simt_cudnn_now() = cudnn;
    p.call.in[0] = tensor_of(4, batch, ROWS, COLUMNS, CHANNELS, 1);
    p.call.in[1] = tensor_of(4, OUTPUTS, KERNEL, KERNEL, CHANNELS, 2);
    p.call.in[2] = tensor_of(1, OUTPUTS, 0, 0, 0, 3);
    p.call.out[0] = tensor_of(4, batch, OUT_ROWS, OUT_COLUMNS, OUTPUTS, 4);
    p.call.grad_out = tensor_of(4, batch, OUT_ROWS, OUT_COLUMNS, OUTPUTS, 5);
    p.call.grad_in[0] = tensor_of(4, batch, ROWS, COLUMNS, CHANNELS, 6);
    p.call.grad_in[1] = tensor_of(4, OUTPUTS, KERNEL, KERNEL, CHANNELS, 7);
    p.call.grad_in[2] = tensor_of(1, OUTPUTS, 0, 0, 0, 8);
    p.forward_workspace = cm3__device_memory.alloc(cm3__cuda_conv2d.forward_workspace(&p.call));
    p.backward_workspace = cm3__device_memory.alloc(cm3__cuda_conv2d.backward_workspace(&p.call));
    return p;
}

static void end(problem *p) {
    void *blocks[] = {p->call.in[0].data,    p->call.in[1].data,      p->call.in[2].data,      p->call.out[0].data,
                      p->call.grad_out.data, p->call.grad_in[0].data, p->call.grad_in[1].data, p->call.grad_in[2].data,
                      p->forward_workspace,  p->backward_workspace};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) cm3__device_memory.free(blocks[i], 0);
}

/* Gives how often cuDNN ran. */
static int run_forward(problem *p) {
    simt_cudnn_now()->runs = 0;
    p->call.workspace = p->forward_workspace;
    assert_int_equal(cm3__cuda_conv2d.forward(&p->call), CM3_OK);
    return simt_cudnn_now()->runs;
}

static int run_backward(problem *p, bool accumulate) {
    simt_cudnn_now()->runs = 0;
    p->call.workspace = p->backward_workspace;
    for (int i = 0; i < 3; i++) p->call.accumulate[i] = accumulate;
    assert_int_equal(cm3__cuda_conv2d.backward(&p->call), CM3_OK);
    return simt_cudnn_now()->runs;
}

static float *values(const cm3_tensor *t) {
    float *x = malloc(cm3_tensor_bytes(t));
    assert_int_equal(cm3__device_memory.download(x, t->data, cm3_tensor_bytes(t)), CM3_OK);
    return x;
}

static void assert_same(const cm3_tensor *a, const cm3_tensor *b) {
    float *x = values(a), *y = values(b);
    for (int64_t i = 0; i < cm3_shape_count(a->shape); i++)
        if (!(fabsf(x[i] - y[i]) <= 1e-5f * (1 + fabsf(y[i]))))
            fail_msg("%lld: %g, %g expected", (long long)i, x[i], y[i]);
    free(x);
    free(y);
}

static void without_cudnn_our_kernels_run_and_no_more_memory_is_asked_for(void **state) {
    (void)state;
    problem p = begin(1, (simt_cudnn){.there = false});
    const size_t windows = OUT_ROWS * OUT_COLUMNS * KERNEL * KERNEL * CHANNELS * sizeof(float);
    assert_int_equal(cm3__cuda_conv2d.forward_workspace(&p.call), windows);
    assert_int_equal(run_forward(&p) + run_backward(&p, false), 0);
    simt_cudnn_now()->there = true;
    assert_true(cm3__cuda_conv2d.forward_workspace(&p.call) > windows);
    end(&p);
}

static void each_gradient_is_chosen_for_itself_also_when_added(void **state) {
    (void)state;
    problem p = begin(2, (simt_cudnn){.there = true, .seconds = 0.5});
    void *images = p.call.grad_in[0].data;
    assert_int_equal(run_forward(&p), TRIAL_RUNS + 1);
    assert_int_equal(run_forward(&p), 1);
    p.call.grad_in[0].data = NULL;
    assert_int_equal(run_backward(&p, false), TRIAL_RUNS + 1);
    p.call.grad_in[0].data = images;
    assert_int_equal(run_backward(&p, false), 1 + TRIAL_RUNS + 1);
    assert_int_equal(run_backward(&p, false), 2);
    assert_int_equal(run_backward(&p, true), 2 * (TRIAL_RUNS + 1));
    assert_int_equal(run_backward(&p, true), 2);
    end(&p);
}

static void both_give_the_same_results(void **state) {
    (void)state;
    problem own = begin(3, (simt_cudnn){.there = false}), p = begin(3, (simt_cudnn){.there = true, .seconds = 0.5});
    for (int way = 0; way < 3; way++) { /* overwritten, added, and that again */
        simt_cudnn_now()->there = false;
        assert_int_equal(run_forward(&own) + run_backward(&own, way > 0), 0);
        simt_cudnn_now()->there = true;
        assert_true(run_forward(&p) > 0);
        assert_true(run_backward(&p, way > 0) > 0);
        assert_same(&p.call.out[0], &own.call.out[0]);
        for (int i = 0; i < 3; i++) assert_same(&p.call.grad_in[i], &own.call.grad_in[i]);
    }
    end(&own);
    end(&p);
}

static void factors_rounded_to_tf32_would_be_noticed(void **state) {
    (void)state;
    problem p = begin(4, (simt_cudnn){.there = true, .seconds = 0.5, .error = 0x1p-12f});
    assert_int_equal(run_forward(&p), TRIAL_RUNS);
    assert_int_equal(run_backward(&p, false), 2 * TRIAL_RUNS);
    assert_int_equal(run_forward(&p) + run_backward(&p, false), 0);
    end(&p);
}

static void a_convolution_without_bias_is_another(void **state) {
    (void)state;
    problem p = begin(5, (simt_cudnn){.there = true, .seconds = 0.5});
    const cm3_tensor bias = p.call.in[2];
    assert_int_equal(run_forward(&p), TRIAL_RUNS + 1);
    p.call.in[2] = (cm3_tensor){.type = CM3_F32};
    assert_int_equal(run_forward(&p), TRIAL_RUNS + 1);
    p.call.in[2] = bias;
    assert_int_equal(run_forward(&p), 1);
    end(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_cudnn_our_kernels_run_and_no_more_memory_is_asked_for),
        cmocka_unit_test(each_gradient_is_chosen_for_itself_also_when_added),
        cmocka_unit_test(both_give_the_same_results),
        cmocka_unit_test(factors_rounded_to_tf32_would_be_noticed),
        cmocka_unit_test(a_convolution_without_bias_is_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
