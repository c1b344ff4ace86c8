/* ROTARY: a block has some rows; their angles are computed once for all heads. */
#include "core/kernels/cuda/packed.h"
#include "core/kernels/cuda/cuda.h"

constexpr int THREADS = 256, ROWS = 4;

/* direction theta^(-2j/d), in double: a position times this must stay exact to f32 for any position. */
static __global__ void rotary_frequencies(int64_t half, double theta, double direction, double *frequency) {
    const int64_t j = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (j < half) frequency[j] = direction * pow(theta, -(double)j / (double)half);
}

/* Whole turns are taken off in double; what is left is small enough for f32. */
static __device__ __forceinline__ void turn(double angle, float *cosine, float *sine) {
    constexpr double WHOLE = 6.283185307179586;
    const float rest = (float)(angle - WHOLE * rint(angle / WHOLE));
    sincosf(rest, sine, cosine);
}

/* to = [to +] from, q and k turned. The thread that writes a pair has read it: to may be from. */
template <typename T, int N>
static __global__ void rotary(const T *from, const int32_t *positions, const double *frequency, cm3__heads s, T *to,
                              bool accumulate) {
    CM3_SHARED(float, angles); /* (ROWS, 2, D / 2): cosines, sines */
    const int64_t half = s.d / 2, first = (int64_t)blockIdx.x * ROWS;
    const int rows = (int)min((int64_t)ROWS, s.rows - first);
    for (int64_t i = threadIdx.x; i < rows * half; i += THREADS) {
        const int64_t r = i / half, j = i % half;
        float *at = angles + r * s.d + j;
        turn(positions[first + r] * frequency[j], at, at + half);
    }
    __syncthreads();
    const int vectors = (int)half / N, turned = (int)(s.q + s.kv) * vectors;
    for (int i = (int)threadIdx.x; i < rows * turned; i += THREADS) {
        const int r = i / turned, head = i % turned / vectors, j = i % vectors * N;
        const int64_t low = (first + r) * s.width + head * s.d + j, high = low + half;
        const float *cosines = angles + r * s.d + j, *sines = cosines + half;
        float a[N], b[N], x[N] = {}, y[N] = {};
        load<T, N>(a, from + low);
        load<T, N>(b, from + high);
        if (accumulate) {
            load<T, N>(x, to + low);
            load<T, N>(y, to + high);
        }
        CM3_UNROLL for (int k = 0; k < N; k++) {
            x[k] += a[k] * cosines[k] - b[k] * sines[k];
            y[k] += b[k] * cosines[k] + a[k] * sines[k];
        }
        store<T, N>(to + low, x);
        store<T, N>(to + high, y);
    }
    if (to == from) return;
    const int values = (int)(s.kv * s.d) / N; /* v as it is */
    for (int i = (int)threadIdx.x; i < rows * values; i += THREADS) {
        const int64_t at = (first + i / values + 1) * s.width - (int64_t)(values - i % values) * N;
        float a[N], x[N] = {};
        load<T, N>(a, from + at);
        if (accumulate) load<T, N>(x, to + at);
        CM3_UNROLL for (int k = 0; k < N; k++) x[k] += a[k];
        store<T, N>(to + at, x);
    }
}

template <typename T, int N> static void run(const cm3_call *call, const void *from, void *to, bool accumulate) {
    const cm3__heads s = cm3__heads_of(call);
    CM3_LAUNCH((rotary<T, N>), cm3__blocks_for(s.rows, ROWS), THREADS, (size_t)(ROWS * s.d) * sizeof(float),
               (const T *)from, (const int32_t *)call->in[1].data, (const double *)call->workspace, s, (T *)to,
               accumulate);
}

static cm3_status rotate(const cm3_call *call, const void *from, void *to, double direction, bool accumulate) {
    const int64_t half = cm3__heads_of(call).d / 2;
    if (call->in[0].shape.dim[0] <= 0) return CM3_OK;
    if ((size_t)(ROWS * 2 * half) * sizeof(float) > 48 << 10)
        return cm3_fail(CM3_ERR_UNSUPPORTED, "rotary: heads of %lld are too large for a GPU", (long long)half * 2);
    CM3_LAUNCH(rotary_frequencies, cm3__blocks_for(half, 64), 64, 0, half, (double)call->attr->theta, direction,
               (double *)call->workspace);
    CM3_BY_TYPE(call->in[0].type,
                if (can_use_vectors<T>(half, from, to)) run<T, CM3_VEC<T>>(call, from, to, accumulate);
                else run<T, 1>(call, from, to, accumulate));
    return cm3__cuda_launched("rotary");
}

static cm3_status forward(const cm3_call *call) {
    return rotate(call, call->in[0].data, call->out[0].data, 1, false);
}

/* Turning back is the transpose. */
static cm3_status backward(const cm3_call *call) {
    if (!call->grad_in[0].data) return CM3_OK;
    return rotate(call, call->grad_out.data, call->grad_in[0].data, -1, call->accumulate[0]);
}

static size_t workspace(const cm3_call *call) {
    return (size_t)(cm3__heads_of(call).d / 2) * sizeof(double);
}

extern "C" const cm3_kernel cm3__cuda_rotary = {forward, backward, workspace, workspace};
