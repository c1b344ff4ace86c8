/* cuDNN's plans for attention and convolutions, made for an H100 that is only described (h100.json), with something in
 * the driver's place (tests/support/driver): cuDNN accepts the graphs and compiles its kernels for them. Without cuDNN
 * nothing is tested. Labels: slow, cuda */
#include "core/kernels/cuda/attention_cudnn_plan.h"
#include "core/kernels/cuda/conv2d_cudnn_plan.h"
#include "core/kernels/cuda/cudnn_graph.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#ifdef CM3__CUDNN_IS_KNOWN
static cm3__cudnn cudnn;

/* NULL: not possible here. */
static cudnnBackendDescriptor_t describe_h100(void) {
    static char text[4096];
    cudnnBackendDescriptor_t made;
    assert_non_null(dlopen(CM3_DRIVER, RTLD_NOW | RTLD_LOCAL)); /* libcuda.so.1 from now on */
    if (cm3__cudnn_load(&cudnn) != CM3_OK) {
        print_message("%s\n", cm3_message());
        return NULL;
    }
    FILE *file = fopen(CM3_SOURCE_DIR "/tests/core/cuda/h100.json", "rb");
    assert_non_null(file);
    const size_t bytes = fread(text, 1, sizeof text, file);
    fclose(file);
    assert_int_equal(cudnn.BackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &made), CUDNN_STATUS_SUCCESS);
    assert_int_equal(cudnn.BackendSetAttribute(made, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                                               (int64_t)bytes, text),
                     CUDNN_STATUS_SUCCESS);
    assert_int_equal(cudnn.BackendFinalize(made), CUDNN_STATUS_SUCCESS);
    return made;
}

static void expect_plan(const cm3__cudnn_device *device, cm3__attention_shape shape) {
    cm3__cudnn_plan plan;
    if (cm3__cudnn_plan_make(&cudnn, device, &cm3__cudnn_of_attention, &shape, &plan) != CM3_OK)
        fail_msg("%s", cm3_message());
    print_message("%-8s %-6s d %3lld, heads %lld of keys %lld: %d tensors, workspace %lld bytes\n",
                  shape.backward ? "backward" : "forward", shape.causal ? "causal" : "", (long long)shape.d,
                  (long long)shape.heads, (long long)shape.kv_heads, plan.count, (long long)plan.workspace);
    cm3__cudnn_plan_free(&cudnn, &plan);
}

static void an_h100_has_a_plan_for_every_attention(void **state) {
    static const int64_t sizes[] = {64, 80, 96, 128};
    const cm3__cudnn_device device = {.description = describe_h100()};
    (void)state;
    if (!device.description) skip();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int causal = 0; causal < 2; causal++)
            for (int backward = 0; backward < 2; backward++)
                for (int64_t sharing = 1; sharing <= (causal && sizes[i] == 128 ? 4 : 1); sharing *= 4)
                    expect_plan(&device, (cm3__attention_shape){.batch = 2,
                                                                .heads = 16,
                                                                .kv_heads = 16 / sharing,
                                                                .sequence = 4096,
                                                                .d = sizes[i],
                                                                .causal = causal,
                                                                .backward = backward});
    cudnn.BackendDestroyDescriptor(device.description);
}

static void what_cudnn_cannot_do_is_said(void **state) {
    const cm3__cudnn_device device = {.description = describe_h100()};
    const cm3__attention_shape shape = {.batch = 2, .heads = 4, .kv_heads = 4, .sequence = 4096, .d = 65};
    cm3__cudnn_plan plan;
    (void)state;
    if (!device.description) skip();
    assert_int_equal(cm3__cudnn_plan_make(&cudnn, &device, &cm3__cudnn_of_attention, &shape, &plan),
                     CM3_ERR_UNSUPPORTED);
    assert_non_null(strstr(cm3_message(), "cuDNN"));
    assert_null(plan.plan);
    cudnn.BackendDestroyDescriptor(device.description);
}

/* --- convolutions ------------------------------------------------------------------------------------------------ */

static bool has_note(const cm3__cudnn_plan *plan, cudnnBackendNumericalNote_t wanted) {
    cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    cudnnBackendDescriptor_t engine;
    int64_t count = 0;
    bool found = false;
    assert_int_equal(cudnn.BackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine), CUDNN_STATUS_SUCCESS);
    assert_int_equal(cudnn.BackendGetAttribute(plan->config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                               1, &count, &engine),
                     CUDNN_STATUS_SUCCESS);
    assert_int_equal(cudnn.BackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                               CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &count, notes),
                     CUDNN_STATUS_SUCCESS);
    for (int64_t i = 0; i < count; i++) found |= notes[i] == wanted;
    cudnn.BackendDestroyDescriptor(engine);
    return found;
}

static void expect_conv2d(const cm3__cudnn_device *device, const cm3__conv2d_shape *s) {
    static const char *const passes[] = {"forward", "images", "weights"};
    cm3__cudnn_plan plan;
    if (cm3__cudnn_plan_make(&cudnn, device, &cm3__cudnn_of_conv2d, s, &plan) != CM3_OK) fail_msg("%s", cm3_message());
    print_message("%-8s %4lld px, %3lld to %3lld, kernel %lld, stride %lld, pad %lld and %lld: %lld bytes of %lld\n",
                  passes[s->pass], (long long)s->rows, (long long)s->channels, (long long)s->outputs,
                  (long long)s->kernel, (long long)s->stride, (long long)s->pad, (long long)s->pad_after,
                  (long long)plan.workspace, (long long)cm3__cudnn_of_conv2d.room(s));
    assert_int_equal(plan.count, s->bias ? 4 : 3);
    assert_false(has_note(&plan, CUDNN_NUMERICAL_NOTE_TENSOR_CORE)); /* TF32 */
    assert_false(has_note(&plan, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC));
    cm3__cudnn_plan_free(&cudnn, &plan);
}

/* Of an image tokenizer: the first, the last, within a level, between levels, of a shortcut, halving, large. */
static void an_h100_has_a_plan_for_every_convolution(void **state) {
    static const struct {
        int64_t batch, side, channels, outputs, kernel, stride, pad, pad_after;
    } of[] = {{4, 64, 3, 128, 3, 1, 1, 1},   {4, 64, 128, 3, 3, 1, 1, 1},    {4, 256, 128, 128, 3, 1, 1, 1},
              {4, 32, 128, 256, 3, 1, 1, 1}, {4, 32, 128, 256, 1, 1, 0, 0},  {4, 64, 128, 128, 3, 2, 0, 1},
              {1, 63, 20, 33, 3, 2, 1, 0},   {16, 256, 128, 128, 3, 1, 1, 1}};
    const cm3__cudnn_device device = {.description = describe_h100()};
    (void)state;
    if (!device.description) skip();
    for (size_t i = 0; i < sizeof of / sizeof *of; i++)
        for (int pass = CM3__CONV2D_FORWARD; pass <= CM3__CONV2D_OF_WEIGHTS; pass++)
            for (int adds = 0; adds < 2; adds++) {
                const int64_t out = (of[i].side + of[i].pad + of[i].pad_after - of[i].kernel) / of[i].stride + 1;
                const bool backward = pass != CM3__CONV2D_FORWARD;
                expect_conv2d(&device, &(cm3__conv2d_shape){.pass = pass,
                                                            .batch = of[i].batch,
                                                            .rows = of[i].side,
                                                            .columns = of[i].side,
                                                            .channels = of[i].channels,
                                                            .out_rows = out,
                                                            .out_columns = out,
                                                            .outputs = of[i].outputs,
                                                            .kernel = of[i].kernel,
                                                            .stride = of[i].stride,
                                                            .pad = of[i].pad,
                                                            .pad_after = of[i].pad_after,
                                                            .bias = adds && !backward,
                                                            .accumulate = adds && backward});
            }
    cudnn.BackendDestroyDescriptor(device.description);
}
#else
static void an_h100_has_a_plan_for_every_attention(void **state) {
    (void)state;
    skip();
}

static void an_h100_has_a_plan_for_every_convolution(void **state) {
    (void)state;
    skip();
}

static void what_cudnn_cannot_do_is_said(void **state) {
    (void)state;
    skip();
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_h100_has_a_plan_for_every_attention),
        cmocka_unit_test(an_h100_has_a_plan_for_every_convolution),
        cmocka_unit_test(what_cudnn_cannot_do_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
