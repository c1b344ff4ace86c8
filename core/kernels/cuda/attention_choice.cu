#include "core/kernels/cuda/attention_choice.h"

#include "core/kernels/cuda/attention_cudnn.h"

extern "C" {
#include "core/kernels/cuda/device.h"
#include "core/log.h"
}

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

constexpr int CHOICE_THREADS = 256, CHOICE_RUNS = 5, CHOICE_BLOCKS = 16, MOST_CHOICES = 64;
/* Distance between two results of a head over its length. In bf16 weights and results are rounded, each by up to 2^-9;
 * lse never leaves f32, but exponentials are approximate. And what a race must be won by, that the next run repeats
 * the choice. */
constexpr double WITHIN_BF16 = 0x1p-7, WITHIN_F32 = 0x1p-12, FASTER_BY = 0.95;

/* --- kernels ----------------------------------------------------------------------------------------------------- */

/* Numbers of variance 1 that nothing but their places decide. */
static __global__ void make_numbers(bf16 *x, int64_t count, uint32_t seed) {
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    uint32_t bits = (uint32_t)i * 0x9E3779B9u + seed;
    bits = (bits ^ bits >> 16) * 0x85EBCA6Bu;
    bits = (bits ^ bits >> 13) * 0xC2B2AE35u;
    bits ^= bits >> 16;
    x[i] = from_float<bf16>(((float)bits * 0x1p-31f - 1) * 1.7320508f);
}

/* What the results of a head say of it. */
struct head_difference {
    float distance, length; /* squared */
    float other_bits;       /* elements */
};

/* Of (batch, rows, heads, d), a head of a sequence each block. */
template <typename T>
static __global__ void compare_heads(const T *a, const T *b, int64_t rows, int64_t heads, int64_t d,
                                     head_difference *to) {
    const int64_t head = blockIdx.x % heads, sequence = blockIdx.x / heads;
    float distance = 0, length = 0, other_bits = 0;
    for (int64_t i = threadIdx.x; i < rows * d; i += blockDim.x) {
        const int64_t at = ((sequence * rows + i / d) * heads + head) * d + i % d;
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

/* --- a trial ----------------------------------------------------------------------------------------------------- */

enum { OWN, CUDNN, AGAIN, RESULTS };

struct trial {
    const cm3_kernel *own;
    bool backward;
    cm3_call call[RESULTS]; /* the same but for where results go */
    void *blocks[CHOICE_BLOCKS];
    int block_count;
};

struct finding {
    bool agrees, same_bits;
    double seconds[2]; /* OWN, CUDNN */
};

static cm3_status take(trial *t, void **data, size_t bytes) {
    *data = cm3__device_memory.take(bytes);
    if (!*data) return cm3_fail(CM3_ERR_MEMORY, "no GPU memory for a comparison");
    t->blocks[t->block_count++] = *data;
    return CM3_OK;
}

static cm3_status take_tensor(trial *t, cm3_tensor *tensor) {
    return take(t, &tensor->data, cm3_tensor_bytes(tensor));
}

static cm3_status take_numbers(trial *t, cm3_tensor *tensor, uint32_t seed) {
    const int64_t count = cm3_shape_count(tensor->shape);
    CM3_TRY(take_tensor(t, tensor));
    CM3_LAUNCH(make_numbers, cm3__blocks_for(count, CHOICE_THREADS), CHOICE_THREADS, 0, (bf16 *)tensor->data, count,
               seed);
    return cm3__cuda_launched("random numbers");
}

static cm3_status run(const trial *t, int which) {
    const cm3_kernel *kernel = which == OWN ? t->own : &cm3__cudnn_attention;
    return (t->backward ? kernel->backward : kernel->forward)(&t->call[which]);
}

/* Inputs, a workspace and, backward, what our forward pass leaves: common to all. Results: to each its own. */
static cm3_status prepare(trial *t, const cm3_call *like, size_t workspace) {
    cm3_call common = {};
    common.attr = like->attr;
    common.in[0] = like->in[0];
    common.out[0] = like->out[0];
    common.out[1] = like->out[1];
    CM3_TRY(take_numbers(t, &common.in[0], 1));
    CM3_TRY(take(t, &common.workspace, workspace));
    if (t->backward) {
        CM3_TRY(take_tensor(t, &common.out[0]));
        CM3_TRY(take_tensor(t, &common.out[1]));
        CM3_TRY(t->own->forward(&common));
        common.grad_out = common.out[0];
        CM3_TRY(take_numbers(t, &common.grad_out, 2));
        common.grad_in[0] = common.in[0];
    }
    for (int which = 0; which < RESULTS; which++) {
        cm3_call *call = &t->call[which];
        *call = common;
        if (t->backward) {
            CM3_TRY(take_tensor(t, &call->grad_in[0]));
        } else {
            CM3_TRY(take_tensor(t, &call->out[0]));
            CM3_TRY(take_tensor(t, &call->out[1]));
        }
    }
    return CM3_OK;
}

/* Tensors of (batch, rows, heads, d). */
template <typename T>
static cm3_status compare(trial *t, const cm3_tensor *a, const cm3_tensor *b, int64_t rows, int64_t heads, int64_t d,
                          double within, finding *found) {
    const int64_t count = cm3_shape_count(a->shape) / rows / d;
    const size_t bytes = (size_t)count * sizeof(head_difference);
    void *to;
    CM3_TRY(take(t, &to, bytes));
    CM3_LAUNCH((compare_heads<T>), (unsigned)count, CHOICE_THREADS, 0, (const T *)a->data, (const T *)b->data, rows,
               heads, d, (head_difference *)to);
    CM3_TRY(cm3__cuda_launched("a comparison"));
    head_difference *of = (head_difference *)malloc(bytes);
    if (!of) return cm3_fail(CM3_ERR_MEMORY, "no memory for a comparison");
    const cm3_status status = cm3__device_memory.download(of, to, bytes);
    for (int64_t i = 0; i < count && status == CM3_OK; i++) {
        if (!(of[i].distance <= within * within * of[i].length)) found->agrees = false; /* NaN, too */
        if (of[i].other_bits != 0) found->same_bits = false;
    }
    free(of);
    return status;
}

static cm3_status compare_results(trial *t, int first, int second, finding *found) {
    const cm3_call *a = &t->call[first], *b = &t->call[second];
    const int64_t rows = a->attr->sequence, heads = a->attr->heads, all = heads + 2 * a->attr->kv_heads;
    const int64_t d = a->in[0].shape.dim[1] / all;
    found->agrees = found->same_bits = true;
    if (t->backward) return compare<bf16>(t, &a->grad_in[0], &b->grad_in[0], rows, all, d, WITHIN_BF16, found);
    CM3_TRY(compare<bf16>(t, &a->out[0], &b->out[0], rows, heads, d, WITHIN_BF16, found));
    return compare<float>(t, &a->out[1], &b->out[1], rows, 1, 1, WITHIN_F32, found);
}

/* In turn; the best of each. */
static cm3_status race(const trial *t, double (&best)[2]) {
    best[OWN] = best[CUDNN] = INFINITY;
    for (int i = 0; i < 2 * CHOICE_RUNS; i++) {
        double seconds;
        CM3_TRY(cm3__device_clock_start());
        CM3_TRY(run(t, i % 2));
        CM3_TRY(cm3__device_clock_stop(&seconds));
        best[i % 2] = fmin(best[i % 2], seconds);
    }
    return CM3_OK;
}

static cm3_status try_both(trial *t, const cm3_call *like, size_t workspace, finding *found) {
    finding again = {};
    CM3_TRY(prepare(t, like, workspace));
    for (int which = 0; which < RESULTS; which++) CM3_TRY(run(t, which));
    CM3_TRY(compare_results(t, OWN, CUDNN, found));
    CM3_TRY(compare_results(t, CUDNN, AGAIN, &again));
    found->same_bits = again.same_bits;
    return race(t, found->seconds);
}

/* --- choices ----------------------------------------------------------------------------------------------------- */

struct choice {
    int64_t rows, width, sequence;
    int heads, kv_heads;
    bool causal, backward;
    bool cudnns;
};

static bool same_shape(const choice &a, const choice &b) {
    return a.rows == b.rows && a.width == b.width && a.sequence == b.sequence && a.heads == b.heads &&
           a.kv_heads == b.kv_heads && a.causal == b.causal && a.backward == b.backward;
}

/* Says what was found, and why it is not cuDNN in spite of its time. */
static bool decide(const choice &of, cm3_status status, const finding &found) {
    char why[CM3_MESSAGE_MAX + 128];
    const bool faster = found.seconds[CUDNN] < found.seconds[OWN] * FASTER_BY;
    const bool cudnns = status == CM3_OK && found.agrees && found.same_bits && faster;
    if (status != CM3_OK)
        snprintf(why, sizeof why, "no comparison: %s", cm3_message());
    else
        snprintf(why, sizeof why, "our kernel %.4g ms, cuDNN %.4g ms%s", found.seconds[OWN] * 1e3,
                 found.seconds[CUDNN] * 1e3,
                 !found.agrees      ? ", which is farther off than bf16 explains"
                 : !found.same_bits ? ", whose bits change from run to run"
                                    : "");
    cm3_log_info("attention %s, %lld x %lld, %d heads of %lld%s: %s (%s)", of.backward ? "backward" : "forward",
                 (long long)(of.rows / of.sequence), (long long)of.sequence, of.heads,
                 (long long)(of.width / (of.heads + 2 * of.kv_heads)), of.causal ? ", causal" : "",
                 cudnns ? "cuDNN" : "our kernel", why);
    return cudnns;
}

static size_t room(const cm3_kernel *kernel, const cm3_call *call, bool backward) {
    size_t (*const bytes_of)(const cm3_call *) = backward ? kernel->backward_workspace : kernel->forward_workspace;
    return bytes_of ? bytes_of(call) : 0;
}

bool cm3__attention_is_cudnns(const cm3_call *call, bool backward, const cm3_kernel *own) {
    static choice choices[MOST_CHOICES];
    static int count;
    const cm3_op_attr *attr = call->attr;
    if (call->in[0].type != CM3_BF16) return false;
    choice of = {};
    of.rows = call->in[0].shape.dim[0];
    of.width = call->in[0].shape.dim[1];
    of.sequence = attr->sequence;
    of.heads = attr->heads;
    of.kv_heads = attr->kv_heads;
    of.causal = attr->causal;
    of.backward = backward;
    for (int i = 0; i < count; i++)
        if (same_shape(choices[i], of)) return choices[i].cudnns;
    const size_t needed = room(&cm3__cudnn_attention, call, backward), ours = room(own, call, backward);
    if (!needed || count == MOST_CHOICES) return false;
    trial t = {};
    finding found = {};
    t.own = own;
    t.backward = backward;
    const cm3_status status = try_both(&t, call, needed > ours ? needed : ours, &found);
    for (int i = 0; i < t.block_count; i++) cm3__device_memory.give(t.blocks[i], 0);
    of.cudnns = decide(of, status, found);
    choices[count++] = of;
    return of.cudnns;
}
