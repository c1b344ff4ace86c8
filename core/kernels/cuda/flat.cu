#include "core/kernels/cuda/flat.h"

#include "core/kernels/cuda/device.h"
#include "core/kernels/cuda/sums.h"

constexpr int THREADS = 256, VECTOR = 4;

/* --- the norm ---------------------------------------------------------------------------------------------------- */

template <int N>
static void run_squares(const float *values, int64_t count, bool accumulate, double *work, double *sum) {
    run_sum(
        count, N,
        [=] __device__(int64_t i) {
            float x[N] = {};
            double squares = 0;
            if (i + N <= count)
                load<float, N>(x, values + i);
            else
                for (int k = 0; i + k < count; k++) x[k] = values[i + k];
            CM3_UNROLL for (int k = 0; k < N; k++) squares += (double)x[k] * (double)x[k];
            return squares;
        },
        [=] __device__(double total) { *sum = accumulate ? *sum + total : total; }, work);
}

extern "C" cm3_status cm3__flat_squares(const float *values, int64_t count, bool accumulate, double *work,
                                        double *sum) {
    static_assert((int)CM3__FLAT_WORK >= CM3_SUM_BLOCKS, "work holds a sum of every block");
    if ((uintptr_t)values % 16 == 0)
        run_squares<VECTOR>(values, count, accumulate, work, sum);
    else
        run_squares<1>(values, count, accumulate, work, sum);
    return cm3__cuda_launched("sum of squares");
}

static __global__ void flat_judge(const double *sum, double limit, const float *loss, cm3_flat_verdict *verdict) {
    const double norm = sqrt(*sum);
    const float told = loss ? *loss : 0;
    verdict->norm = norm;
    verdict->loss = told;
    verdict->finite = norm < (double)INFINITY && fabsf(told) < INFINITY; /* nor NaN */
    verdict->factor = (float)(limit > 0 && norm > limit ? limit / norm : 1.0);
}

extern "C" cm3_status cm3__flat_judge(const double *sum, double limit, const float *loss, cm3_flat_verdict *verdict) {
    CM3_LAUNCH(flat_judge, 1, 1, 0, sum, limit, loss, verdict);
    return cm3__cuda_launched("clip factor");
}

/* What the passes below add up in: taken once, and kept. */
typedef struct sums {
    double work[CM3__FLAT_WORK], sum;
    cm3_flat_verdict verdict;
} sums;

static cm3_status take_sums(sums **kept) {
    static sums *taken;
    if (!taken) taken = (sums *)cm3__device_memory.alloc(sizeof *taken);
    *kept = taken;
    return taken ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "no memory for a sum of squares");
}

/* --- AdamW ------------------------------------------------------------------------------------------------------- */

/* Spans travel with the launch. */
constexpr int SPANS = 128;

typedef struct update_of {
    float clip, beta1, beta2, gain1, gain2, rate, epsilon, decay;
    float *value, *m, *v;
    const float *grad;
    bf16 *copy;
    const cm3_flat_verdict *verdict;
    int64_t first; /* element of the first block */
    int spans;
    cm3_flat_span span[SPANS];
} update_of;

/* Elements of a block, wherever spans begin and end. */
constexpr int64_t STRETCH = 8 * THREADS * VECTOR;

/* a x + b y with every product and sum rounded, as on the host: the compiler must not fuse them. */
static __device__ __forceinline__ float mixed(float a, float x, float b, float y) {
    return __fadd_rn(__fmul_rn(a, x), __fmul_rn(b, y));
}

template <int N>
static __device__ __forceinline__ void update_elements(const update_of &u, float clip, float decay, int64_t i) {
    float g[N], m[N], v[N], w[N];
    load<float, N>(g, u.grad + i);
    load<float, N>(m, u.m + i);
    load<float, N>(v, u.v + i);
    load<float, N>(w, u.value + i);
    CM3_UNROLL for (int k = 0; k < N; k++) {
        g[k] = __fmul_rn(clip, g[k]);
        m[k] = mixed(u.beta1, m[k], u.gain1, g[k]);
        v[k] = mixed(u.beta2, v[k], u.gain2, __fmul_rn(g[k], g[k]));
        w[k] -= mixed(u.rate, m[k] / __fadd_rn(sqrtf(v[k]), u.epsilon), decay, w[k]);
    }
    store<float, N>(u.m + i, m);
    store<float, N>(u.v + i, v);
    store<float, N>(u.value + i, w);
    if (u.copy) store<bf16, N>(u.copy + i, w);
}

/* The first span that ends after element i. */
static __device__ __forceinline__ int span_after(const update_of &u, int64_t i) {
    int low = 0, high = u.spans;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (u.span[middle].offset + u.span[middle].count <= i)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

template <int N> static __global__ void flat_adamw(const __grid_constant__ update_of u) {
    if (u.verdict && !u.verdict->finite) return;
    const float clip = u.verdict ? __fmul_rn(u.clip, u.verdict->factor) : u.clip;
    const int64_t begin = u.first + blockIdx.x * STRETCH, end = begin + STRETCH;
    for (int s = span_after(u, begin); s < u.spans && u.span[s].offset < end; s++) {
        const int64_t from = max(u.span[s].offset, begin), to = min(u.span[s].offset + u.span[s].count, end);
        const float decay = u.span[s].decay ? u.decay : 0.0f;
        for (int64_t i = from / N * N + threadIdx.x * N; i < to; i += THREADS * N) {
            if (i >= from && i + N <= to)
                update_elements<N>(u, clip, decay, i);
            else
                for (int64_t k = max(i, from); k < min(i + N, to); k++) update_elements<1>(u, clip, decay, k);
        }
    }
}

extern "C" cm3_status cm3__flat_adamw(const cm3_flat_adamw *a, const cm3_flat_verdict *verdict) {
    const bool vectors = can_use_vectors<float>(0, a->value, a->m, a->v) &&
                         can_use_vectors<float>(0, a->grad, a->bf16_weights);
    update_of u = {a->clip, a->beta1, a->beta2, a->gain1,        a->gain2, a->rate, a->epsilon, a->decay, a->value,
                   a->m,    a->v,     a->grad,  (bf16 *)a->bf16_weights, verdict, 0,       0,          {}};
    for (int64_t s = 0; s < a->span_count; s += u.spans) {
        u.spans = a->span_count - s < SPANS ? (int)(a->span_count - s) : SPANS;
        for (int i = 0; i < u.spans; i++) u.span[i] = a->spans[s + i];
        const cm3_flat_span *last = &u.span[u.spans - 1];
        u.first = u.span[0].offset / VECTOR * VECTOR;
        const unsigned blocks = cm3__blocks_for(last->offset + last->count - u.first, STRETCH);
        if (blocks == 0) continue;
        if (vectors)
            CM3_LAUNCH((flat_adamw<VECTOR>), blocks, THREADS, 0, u);
        else
            CM3_LAUNCH((flat_adamw<1>), blocks, THREADS, 0, u);
    }
    return cm3__cuda_launched("AdamW");
}

static cm3_status clipped_adamw(const cm3_flat_adamw *update, double limit, const float *loss,
                                cm3_flat_verdict *verdict) {
    sums *s;
    CM3_TRY(take_sums(&s));
    CM3_TRY(cm3__flat_squares(update->grad, update->size, false, s->work, &s->sum));
    CM3_TRY(cm3__flat_judge(&s->sum, limit, loss, &s->verdict));
    CM3_TRY(cm3__flat_adamw(update, &s->verdict));
    return cm3__device_memory.download_async(verdict, &s->verdict, sizeof *verdict);
}

extern "C" const cm3_flat cm3__cuda_flat = {clipped_adamw};
