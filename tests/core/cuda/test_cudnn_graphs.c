/* cuDNN's plans for attention, made for an H100 that is only described (h100.json), with something in the driver's
 * place (tests/support/driver): cuDNN accepts the graphs and compiles its kernels for them. Without cuDNN nothing is
 * tested.
 * Labels: slow */
#include "core/kernels/cuda/attention_cudnn_plan.h"
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
#else
static void an_h100_has_a_plan_for_every_attention(void **state) {
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
        cmocka_unit_test(what_cudnn_cannot_do_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
