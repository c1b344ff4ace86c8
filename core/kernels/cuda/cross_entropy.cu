/* LINEAR_CROSS_ENTROPY: the logits of many rows at a time become losses and then, in place, their own gradient. */
#include "core/kernels/cuda/cuda.h"
#include "core/kernels/cuda/gemm.h"
#include "core/kernels/cuda/launch.h"

constexpr int THREADS = 512;

/* --- kernels ----------------------------------------------------------------------------------------------------- */

/* A row's losses, and where `grad_out` is given its logits become their gradient:
 *     d logits = scale grad_out weight (p (1 + 2 z lse) - onehot(target))
 * A block has a row, which comes from memory once: the second pass finds it in the second cache. */
template <typename T, int N>
static __global__ void row_losses(T *logits, const int32_t *targets, const float *weights, int64_t vocabulary,
                                  float z_loss, const float *scale, const float *grad_out, float *losses, float *ce) {
    const int64_t row = blockIdx.x, stride = (int64_t)blockDim.x * N, begin = (int64_t)threadIdx.x * N;
    const int32_t target = targets[row];
    logits += row * vocabulary;
    if (target < 0) { /* the whole block */
        const float zeros[N] = {};
        for (int64_t c = begin; grad_out && c < vocabulary; c += stride) store<T, N>(logits + c, zeros);
        if (threadIdx.x) return;
        losses[row] = 0;
        if (ce) ce[row] = 0;
        return;
    }
    float most = -INFINITY, sum = 0; /* sum of 2^(logit log2(e) - most) */
    for (int64_t c = begin; c < vocabulary; c += stride) {
        float v[N], larger = most;
        load<T, N>(v, logits + c);
        CM3_UNROLL for (int i = 0; i < N; i++) larger = fmaxf(larger, v[i] *= CM3_LOG2_E);
        if (larger > most) {
            sum *= exp2f(most - larger);
            most = larger;
        }
        CM3_UNROLL for (int i = 0; i < N; i++) sum += exp2f(v[i] - most);
    }
    const float row_most = block_most(most);
    sum = block_sum(most == -INFINITY ? 0.0f : sum * exp2f(most - row_most));
    const float lse2 = row_most + log2f(sum), lse = lse2 * CM3_LN_2;
    if (threadIdx.x == 0) {
        /* A target beyond the vocabulary: a kernel cannot fail, but a loss that is not finite stops the step. */
        const float own = target < vocabulary ? lse - to_float(logits[target]) : NAN;
        losses[row] = (weights ? weights[row] : 1.0f) * (own + z_loss * lse * lse);
        if (ce) ce[row] = own;
    }
    if (!grad_out) return;
    __syncthreads(); /* the target's logit has been read */
    const float slope = *scale * *grad_out * (weights ? weights[row] : 1.0f), of_p = slope * (1 + 2 * z_loss * lse);
    for (int64_t c = begin; c < vocabulary; c += stride) {
        float v[N];
        load<T, N>(v, logits + c);
        CM3_UNROLL for (int i = 0; i < N; i++) v[i] =
            of_p * exp2f(v[i] * CM3_LOG2_E - lse2) - (c + i == target ? slope : 0.0f);
        store<T, N>(logits + c, v);
    }
}

/* One block: each thread sums every THREADS-th row. */
static __global__ void total_loss(const float *losses, int64_t n, const float *scale, float *loss) {
    float sum = 0;
    for (int64_t row = threadIdx.x; row < n; row += blockDim.x) sum += losses[row];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *loss = *scale * sum;
}

/* --- launchers --------------------------------------------------------------------------------------------------- */

typedef cm3__logit_chunks extent;

template <typename T>
static void run_row_losses(const cm3_call *call, const extent *s, int64_t first, int64_t rows, bool gradient) {
    T *logits = (T *)((char *)call->workspace + s->losses);
    const int32_t *targets = (const int32_t *)call->in[2].data + first;
    const float *scale = (const float *)call->in[3].data;
    const float *weights = call->in[4].data ? (const float *)call->in[4].data + first : nullptr;
    const float *grad_out = gradient ? (const float *)call->grad_out.data : nullptr;
    float *losses = (float *)call->workspace + first;
    float *ce = call->out[1].data ? (float *)call->out[1].data + first : nullptr;
    const int64_t vocabulary = s->vocabulary;
    const float z_loss = call->attr->z_loss;
    if (can_use_vectors<T>(vocabulary, logits))
        CM3_LAUNCH((row_losses<T, CM3_VEC<T>>), (unsigned)rows, THREADS, 0, logits, targets, weights, vocabulary,
                   z_loss, scale, grad_out, losses, ce);
    else
        CM3_LAUNCH((row_losses<T, 1>), (unsigned)rows, THREADS, 0, logits, targets, weights, vocabulary, z_loss, scale,
                   grad_out, losses, ce);
}

/* d hidden = d logits table; d table = or += d logits^T hidden, in f32. */
static cm3_status chunk_gradients(const cm3_call *call, const extent *s, int64_t first, int64_t rows, size_t size) {
    cm3__cuda_gemm product = {};
    product.type = call->in[0].type;
    product.a = (const char *)call->workspace + s->losses;
    product.n = s->d;
    if (call->grad_in[0].data) {
        product.m = rows;
        product.k = s->vocabulary;
        product.b = call->in[1].data;
        product.c_type = call->grad_in[0].type;
        product.c = (char *)call->grad_in[0].data + (size_t)(first * s->d) * (product.c_type == CM3_BF16 ? 2 : 4);
        product.accumulate = call->accumulate[0];
        CM3_TRY(cm3__cuda_gemm_run(&product));
    }
    if (call->grad_in[1].data) {
        product.m = s->vocabulary;
        product.k = rows;
        product.a_transposed = true;
        product.b = (const char *)call->in[0].data + (size_t)(first * s->d) * size;
        product.c_type = call->grad_in[1].type;
        product.c = call->grad_in[1].data;
        product.accumulate = call->accumulate[1] || first > 0;
        CM3_TRY(cm3__cuda_gemm_run(&product));
    }
    return CM3_OK;
}

static cm3_status run(const cm3_call *call, bool gradient) {
    const extent s = cm3__logit_chunks_of(call);
    const cm3_dtype type = call->in[0].type;
    const size_t size = type == CM3_BF16 ? 2 : 4;
    for (int64_t first = 0; first < s.n; first += s.rows) {
        const int64_t rows = s.n - first < s.rows ? s.n - first : s.rows;
        cm3__cuda_gemm product = {};
        product.m = rows;
        product.n = s.vocabulary;
        product.k = s.d;
        product.type = product.c_type = type;
        product.a = (const char *)call->in[0].data + (size_t)(first * s.d) * size;
        product.b = call->in[1].data;
        product.b_transposed = true;
        product.c = (char *)call->workspace + s.losses;
        CM3_TRY(cm3__cuda_gemm_run(&product));
        CM3_BY_TYPE(type, run_row_losses<T>(call, &s, first, rows, gradient));
        if (gradient) CM3_TRY(chunk_gradients(call, &s, first, rows, size));
    }
    CM3_LAUNCH(total_loss, 1, THREADS, 0, (const float *)call->workspace, s.n, (const float *)call->in[3].data,
               (float *)call->out[0].data);
    return cm3__cuda_launched(gradient ? "linear cross entropy, backward" : "linear cross entropy, forward");
}

static cm3_status forward(const cm3_call *call) {
    return run(call, false);
}

static cm3_status backward(const cm3_call *call) {
    return run(call, true);
}

CM3__CUDA_KERNEL(linear_cross_entropy, forward, backward);
