/* The workspaces that the program plans a GPU's step with are those of the kernels in libcm3_cuda.so, where that was
 * built; it can be opened without a GPU. Labels: cuda */
#include "core/tensor/op_case.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define X(upper, lower) [CM3_OP_##upper] = "cm3__cuda_" #lower,
static const char *const symbols[CM3_OP_COUNT] = {CM3_KERNEL_LIST(X)};
#undef X

static cm3_call call_of(const cm3_op_case *of, cm3_dtype real) {
    cm3_call call = {.attr = &of->attr};
    int outputs;
    for (int i = 0; i < CM3_OP_INPUTS; i++) call.grad_in[i] = call.in[i] = cm3_op_case_tensor(of, i, real);
    if (cm3_op_definition(of->op)->infer(&of->attr, call.in, call.out, &outputs) != CM3_OK)
        fail_msg("%s: %s", of->name, cm3_message());
    call.grad_out = call.out[0];
    return call;
}

static size_t bytes(size_t (*of)(const cm3_call *), const cm3_call *call) {
    return of ? of(call) : 0;
}

static void the_library_runs_by_the_workspaces_that_are_planned(void **state) {
    void *library = *state;
    if (!library) skip();
    size_t count;
    const cm3_op_case *cases = cm3_op_cases(&count);
    for (size_t c = 0; c < 2 * count; c++) {
        const cm3_op_case *of = &cases[c / 2];
        if (c % 2 && !cm3_op_case_has_bf16(of)) continue;
        const cm3_call call = call_of(of, c % 2 ? CM3_BF16 : CM3_F32);
        const cm3_kernel *planned = cm3_backend_meta_cuda()->kernels[of->op], *built = dlsym(library, symbols[of->op]);
        if (!built) fail_msg("%s is not in the library", symbols[of->op]);
        assert_int_equal(bytes(planned->forward_workspace, &call), bytes(built->forward_workspace, &call));
        assert_int_equal(bytes(planned->backward_workspace, &call), bytes(built->backward_workspace, &call));
    }
}

static int open_library(void **state) {
    const char *path = CM3_BINARY_DIR "/libcm3_cuda.so";
    *state = access(path, R_OK) == 0 ? dlopen(path, RTLD_LAZY | RTLD_LOCAL) : NULL;
    if (!*state && access(path, R_OK) == 0) fail_msg("%s", dlerror());
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_library_runs_by_the_workspaces_that_are_planned, open_library),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
