#include "core/kernels/cuda/autotune.h"

extern "C" {
#include "core/kernels/cuda/device.h"
#include "core/log.h"
}

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

constexpr int TUNE_THREADS = 256, TUNE_RUNS = 5, TUNE_BLOCKS = 32, MOST_TUNED = 512, TUNE_NAME = 128;
/* Distance between two results of a part over its length. In bf16 weights and results are rounded, each by up to 2^-9.
 * In f32 a sum of n terms is off by some sqrt(n) 2^-25, exponentials are approximate, too; factors in TF32 would put it
 * off by 2^-12. And what a race must be won by, that the next run repeats the choice. */
constexpr double WITHIN_BF16 = 0x1p-7, WITHIN_F32 = 0x1p-13, FASTER_BY = 0.95;

/* --- kernels ----------------------------------------------------------------------------------------------------- */

/* Numbers of variance 1 that nothing but their places decide. */
template <typename T> static __global__ void make_numbers(T *x, int64_t count, uint32_t seed) {
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    uint32_t bits = (uint32_t)i * 0x9E3779B9u + seed;
    bits = (bits ^ bits >> 16) * 0x85EBCA6Bu;
    bits = (bits ^ bits >> 13) * 0xC2B2AE35u;
    bits ^= bits >> 16;
    x[i] = from_float<T>(((float)bits * 0x1p-31f - 1) * 1.7320508f);
}

struct difference {
    float distance, length; /* squared */
    float other_bits;       /* elements */
};

/* A part each block. */
template <typename T> static __global__ void compare_parts(const T *a, const T *b, cm3__parts of, difference *to) {
    const int64_t first = blockIdx.x / of.across * of.rows, column = blockIdx.x % of.across;
    float distance = 0, length = 0, other_bits = 0;
    for (int64_t i = threadIdx.x; i < of.rows * of.width; i += blockDim.x) {
        const int64_t at = ((first + i / of.width) * of.across + column) * of.width + i % of.width;
        const float x = to_float(a[at]), y = to_float(b[at]);
        distance += (x - y) * (x - y);
        length += x * x;
        other_bits += __float_as_uint(x) != __float_as_uint(y);
    }
    distance = block_sum(distance);
    length = block_sum(length);
    other_bits = block_sum(other_bits);
    if (threadIdx.x == 0) to[blockIdx.x] = {distance, length, other_bits};
}

/* --- one shape: both kernels on random numbers ------------------------------------------------------------------- */

enum { OWN, LIBRARY, AGAIN, RESULTS };

struct tuning {
    const cm3__autotune *of;
    cm3_call call[RESULTS]; /* the same but for where results go */
    void *blocks[TUNE_BLOCKS];
    int block_count;
};

struct finding {
    bool agrees, same_bits;
    double seconds[2]; /* OWN, LIBRARY */
};

static cm3_status take(tuning *t, void **data, size_t bytes) {
    *data = t->block_count < TUNE_BLOCKS ? cm3__device_memory.alloc(bytes) : nullptr;
    if (!*data) return cm3_fail(CM3_ERR_MEMORY, "no GPU memory for a comparison");
    t->blocks[t->block_count++] = *data;
    return CM3_OK;
}

static cm3_status take_tensor(tuning *t, cm3_tensor *tensor) {
    return take(t, &tensor->data, cm3_tensor_bytes(tensor));
}

static cm3_status take_numbers(tuning *t, cm3_tensor *tensor, uint32_t seed) {
    const int64_t count = cm3_shape_count(tensor->shape);
    CM3_TRY(take_tensor(t, tensor));
    CM3_BY_TYPE(tensor->type, CM3_LAUNCH((make_numbers<T>), cm3__blocks_for(count, TUNE_THREADS), TUNE_THREADS, 0,
                                         (T *)tensor->data, count, seed));
    return cm3__cuda_launched("random numbers");
}

static cm3_status run(const tuning *t, int which) {
    const cm3_kernel *kernel = which == OWN ? t->of->own : t->of->librarys;
    return (t->of->backward ? kernel->backward : kernel->forward)(&t->call[which]);
}

static int result_count(const tuning *t) {
    return t->of->backward ? CM3_OP_INPUTS : CM3_OP_OUTPUTS;
}

static cm3_tensor *result(tuning *t, int which, int i) {
    return t->of->backward ? &t->call[which].grad_in[i] : &t->call[which].out[i];
}

/* In the place of what `like` has: numbers for the inputs and, backward, what our forward pass leaves. */
static cm3_status prepare_common(tuning *t, const cm3_call *like, size_t workspace, cm3_call *common) {
    bool reads_outputs = false;
    *common = *like;
    for (int i = 0; i < CM3_OP_INPUTS; i++)
        if (like->in[i].data) CM3_TRY(take_numbers(t, &common->in[i], 1 + i));
    CM3_TRY(take(t, &common->workspace, workspace));
    if (!t->of->backward) return CM3_OK;
    for (int i = 0; i < CM3_OP_OUTPUTS; i++) {
        if (!like->out[i].data) continue;
        CM3_TRY(take_tensor(t, &common->out[i]));
        reads_outputs = true;
    }
    if (reads_outputs) CM3_TRY(t->of->own->forward(common));
    return take_numbers(t, &common->grad_out, CM3_OP_INPUTS + 1);
}

/* Results are to each its own, and begin with the same numbers: they may be added to. */
static cm3_status prepare(tuning *t, const cm3_call *like, size_t workspace) {
    cm3_call common;
    CM3_TRY(prepare_common(t, like, workspace, &common));
    for (int which = 0; which < RESULTS; which++) {
        t->call[which] = common;
        for (int i = 0; i < result_count(t); i++)
            if (result(t, which, i)->data) CM3_TRY(take_numbers(t, result(t, which, i), CM3_OP_INPUTS + 2 + i));
    }
    return CM3_OK;
}

static cm3_status compare(tuning *t, const cm3_tensor *a, const cm3_tensor *b, const cm3__parts &of, finding *found) {
    const int64_t count = cm3_shape_count(a->shape) / (of.rows * of.width);
    const size_t bytes = (size_t)count * sizeof(difference);
    const double within = a->type == CM3_BF16 ? WITHIN_BF16 : WITHIN_F32;
    void *to;
    CM3_TRY(take(t, &to, bytes));
    CM3_BY_TYPE(a->type, CM3_LAUNCH((compare_parts<T>), (unsigned)count, TUNE_THREADS, 0, (const T *)a->data,
                                    (const T *)b->data, of, (difference *)to));
    CM3_TRY(cm3__cuda_launched("a comparison"));
    difference *between = (difference *)malloc(bytes);
    if (!between) return cm3_fail(CM3_ERR_MEMORY, "no memory for a comparison");
    const cm3_status status = cm3__device_memory.download(between, to, bytes);
    for (int64_t i = 0; i < count && status == CM3_OK; i++) {
        const difference &d = between[i];
        if (!(d.distance <= within * within * d.length)) found->agrees = false; /* NaN, too */
        if (d.other_bits != 0) found->same_bits = false;
    }
    free(between);
    return status;
}

static cm3_status compare_results(tuning *t, int first, int second, finding *found) {
    found->agrees = found->same_bits = true;
    for (int i = 0; i < result_count(t); i++)
        if (result(t, first, i)->data)
            CM3_TRY(compare(t, result(t, first, i), result(t, second, i), t->of->results[i], found));
    return CM3_OK;
}

/* In turn; the best of each. */
static cm3_status race(const tuning *t, double (&best)[2]) {
    best[OWN] = best[LIBRARY] = INFINITY;
    for (int i = 0; i < 2 * TUNE_RUNS; i++) {
        double seconds;
        CM3_TRY(cm3__device_clock_start());
        CM3_TRY(run(t, i % 2));
        CM3_TRY(cm3__device_clock_stop(&seconds));
        best[i % 2] = fmin(best[i % 2], seconds);
    }
    return CM3_OK;
}

static cm3_status try_both(tuning *t, const cm3_call *like, size_t workspace, finding *found) {
    finding again = {};
    CM3_TRY(prepare(t, like, workspace));
    for (int which = 0; which < RESULTS; which++) CM3_TRY(run(t, which));
    CM3_TRY(compare_results(t, OWN, LIBRARY, found));
    CM3_TRY(compare_results(t, LIBRARY, AGAIN, &again));
    found->same_bits = again.same_bits;
    return race(t, found->seconds);
}

/* --- results ----------------------------------------------------------------------------------------------------- */

/* Says what was found, and why it is not the library in spite of its time. */
static bool decide(const char *what, const cm3__autotune &of, cm3_status status, const finding &found) {
    char why[CM3_MESSAGE_MAX + 128];
    const bool faster = found.seconds[LIBRARY] < found.seconds[OWN] * FASTER_BY;
    const bool librarys = status == CM3_OK && found.agrees && found.same_bits && faster;
    if (status != CM3_OK)
        snprintf(why, sizeof why, "no comparison: %s", cm3_message());
    else
        snprintf(why, sizeof why, "our kernel %.4g ms, %s %.4g ms%s", found.seconds[OWN] * 1e3, of.library,
                 found.seconds[LIBRARY] * 1e3,
                 !found.agrees      ? ", which is farther off than rounding explains"
                 : !found.same_bits ? ", whose bits change from run to run"
                                    : "");
    cm3_log_info("%s: %s (%s)", what, librarys ? of.library : "our kernel", why);
    return librarys;
}

static size_t room(const cm3_kernel *kernel, const cm3_call *call, bool backward) {
    size_t (*const bytes_of)(const cm3_call *) = backward ? kernel->backward_workspace : kernel->forward_workspace;
    return bytes_of ? bytes_of(call) : 0;
}

static size_t most(size_t a, size_t b) {
    return a > b ? a : b;
}

const cm3_kernel *cm3__autotune_pick(const char *what, const cm3_call *call, const cm3__autotune &of) {
    static struct {
        char what[TUNE_NAME];
        bool librarys;
    } tuned[MOST_TUNED];
    static int count;
    const size_t librarys = room(of.librarys, call, of.backward);
    if (!librarys) return of.own;
    for (int i = 0; i < count; i++)
        if (!strcmp(tuned[i].what, what)) return tuned[i].librarys ? of.librarys : of.own;
    if (count == MOST_TUNED || strlen(what) >= TUNE_NAME) return of.own;
    tuning t = {};
    finding found = {};
    t.of = &of;
    const size_t workspace = most(librarys, most(room(of.own, call, false), room(of.own, call, of.backward)));
    const cm3_status status = try_both(&t, call, workspace, &found);
    if (status != CM3_OK) cm3__device_forget(); /* our kernel is not to be blamed for it */
    for (int i = 0; i < t.block_count; i++) cm3__device_memory.free(t.blocks[i], 0);
    tuned[count].librarys = decide(what, of, status, found);
    snprintf(tuned[count].what, TUNE_NAME, "%s", what);
    return tuned[count++].librarys ? of.librarys : of.own;
}
