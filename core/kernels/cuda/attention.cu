/* ATTENTION: which kernels compute it, and how heads lie in its tensors. */
#include "core/kernels/cuda/attention.h"

#include "core/kernels/cuda/attention_cudnn.h"
#include "core/kernels/cuda/attention_plain.h"
#include "core/kernels/cuda/attention_tensor.h"
#include "core/kernels/cuda/autotune.h"
#include "core/kernels/cuda/cuda.h"

#include <stdio.h>

/* --- delta: the sum of y dy over a head, which the slope of a softmax takes away from every dp ------------------- */

constexpr int DELTA_WARPS = 4;

/* A warp has a head of a position. */
template <typename T, int N> static __global__ void delta_of_rows(const attention<T> a, const T *y) {
    const int64_t at = (int64_t)blockIdx.x * DELTA_WARPS + threadIdx.x / CM3_WARP; /* (b, t, head) */
    if (at >= a.batch * a.queries * a.heads) return;
    const int64_t head = at % a.heads, t = at / a.heads % a.queries, b = at / a.heads / a.queries;
    float sum = 0;
    for (int64_t c = (int64_t)(threadIdx.x % CM3_WARP) * N; c < a.d; c += CM3_WARP * N) {
        float u[N], v[N];
        load<T, N>(u, y + at * a.d + c);
        load<T, N>(v, a.dy + at * a.d + c);
        CM3_UNROLL for (int i = 0; i < N; i++) sum += u[i] * v[i];
    }
    sum = warp_sum(sum);
    if (threadIdx.x % CM3_WARP == 0) a.delta[(b * a.heads + head) * a.queries + t] = sum;
}

template <typename T> static void run_delta(const attention<T> &a, const T *y) {
    const unsigned blocks = cm3__blocks_for(a.batch * a.queries * a.heads, DELTA_WARPS);
    if (can_use_vectors<T>(a.d, y, a.dy))
        CM3_LAUNCH((delta_of_rows<T, CM3_VEC<T>>), blocks, DELTA_WARPS * CM3_WARP, 0, a, y);
    else
        CM3_LAUNCH((delta_of_rows<T, 1>), blocks, DELTA_WARPS * CM3_WARP, 0, a, y);
}

/* --- launchers --------------------------------------------------------------------------------------------------- */

cm3_status cm3__cuda_attention_check(const cm3_call *call) {
    const int64_t d = packed_heads<float>(call).d;
    if (d <= CM3_ATTENTION_MOST_D) return CM3_OK;
    return cm3_fail(CM3_ERR_UNSUPPORTED, "attention: heads of %lld, the cuda backend has heads of up to %lld",
                    (long long)d, (long long)CM3_ATTENTION_MOST_D);
}

void cm3__cuda_attention_forward(const attention<float> &a) {
    run_plain_forward(a);
}

void cm3__cuda_attention_forward(const attention<bf16> &a) {
    if (tensor_cores_take(a))
        run_tensor_forward(a);
    else
        run_plain_forward(a);
}

static void run_backward(const attention<float> &a) {
    run_plain_backward(a);
}

static void run_backward(const attention<bf16> &a) {
    if (tensor_cores_take(a))
        run_tensor_backward(a);
    else
        run_plain_backward(a);
}

template <typename T> static void run_backward(const cm3_call *call) {
    attention<T> a = packed_heads<T>(call);
    a.lse = (float *)call->out[1].data;
    a.dy = (const T *)call->grad_out.data;
    a.delta = (float *)call->workspace;
    a.dq = (T *)call->grad_in[0].data;
    a.dk = a.dq + a.heads * a.d;
    a.dv = a.dk + a.kv_heads * a.d;
    a.accumulate = call->accumulate[0];
    run_delta(a, a.y);
    run_backward(a);
}

template <typename T> static void run_forward(const cm3_call *call) {
    attention<T> a = packed_heads<T>(call);
    a.lse = (float *)call->out[1].data;
    cm3__cuda_attention_forward(a);
}

static cm3_status own_forward(const cm3_call *call) {
    CM3_BY_TYPE(call->in[0].type, run_forward<T>(call));
    return cm3__cuda_launched("attention, forward");
}

static cm3_status own_backward(const cm3_call *call) {
    CM3_BY_TYPE(call->in[0].type, run_backward<T>(call));
    return cm3__cuda_launched("attention, backward");
}

static const cm3_kernel own = {own_forward, own_backward, cm3__cuda_attention_forward_workspace,
                               cm3__cuda_attention_backward_workspace};

/* --- ours or cuDNN's: the workspace is enough for both ----------------------------------------------------------- */

static const cm3_kernel *kernel_for(const cm3_call *call, bool backward) {
    const cm3_op_attr *attr = call->attr;
    const int64_t rows = attr->sequence, heads = attr->heads, all = heads + 2 * attr->kv_heads;
    const int64_t *dim = call->in[0].shape.dim, d = dim[1] / all;
    char what[128];
    snprintf(what, sizeof what, "attention %s, %lld x %lld, %d heads of %lld, %d of keys%s",
             backward ? "backward" : "forward", (long long)(dim[0] / rows), (long long)rows, attr->heads, (long long)d,
             attr->kv_heads, attr->causal ? ", causal" : "");
    cm3__autotune of = {"cuDNN", &own, &cm3__cudnn_attention, {}, backward};
    of.results[0] = {rows, backward ? all : heads, d};
    if (!backward) of.results[1] = {rows, 1, 1};
    return cm3__autotune_pick(what, call, of);
}

static cm3_status forward(const cm3_call *call) {
    CM3_TRY(cm3__cuda_attention_check(call));
    return kernel_for(call, false)->forward(call);
}

static cm3_status backward(const cm3_call *call) {
    if (!call->grad_in[0].data) return CM3_OK;
    CM3_TRY(cm3__cuda_attention_check(call));
    return (call->accumulate[0] ? &own : kernel_for(call, true))->backward(call);
}

CM3__CUDA_KERNEL(attention, forward, backward);
