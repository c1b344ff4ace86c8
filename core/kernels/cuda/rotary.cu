/* ROTARY: a block has some rows; their angles are computed once for all heads. */
#include "core/kernels/cuda/cuda.h"
#include "core/kernels/cuda/rope.h"

constexpr int THREADS = 256, ROWS = 4;

/* to = [to +] from, q and k turned. The thread that writes a pair has read it: to may be from. */
template <typename T, int N>
static __global__ void rotary(const T *from, cm3__rope turn, cm3__heads s, T *to, bool accumulate) {
    CM3_SHARED(float, angles); /* (ROWS, 2, D / 2) */
    const int64_t half = s.d / 2, first = (int64_t)blockIdx.x * ROWS;
    const int rows = (int)min((int64_t)ROWS, s.rows - first);
    rope_rows(angles, turn, first, rows, half);
    __syncthreads();
    const int vectors = (int)half / N, turned = (int)(s.q + s.kv) * vectors;
    for (int i = (int)threadIdx.x; i < rows * turned; i += THREADS) {
        const int r = i / turned, head = i % turned / vectors, j = i % vectors * N;
        const int64_t low = (first + r) * s.width + head * s.d + j, high = low + half;
        float a[N], b[N], x[N] = {}, y[N] = {};
        load<T, N>(a, from + low);
        load<T, N>(b, from + high);
        if (accumulate) {
            load<T, N>(x, to + low);
            load<T, N>(y, to + high);
        }
        rope_pairs<N>(a, b, angles + r * s.d + j, half);
        CM3_UNROLL for (int k = 0; k < N; k++) {
            x[k] += a[k];
            y[k] += b[k];
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

template <typename T, int N>
static void run(const cm3_call *call, const cm3__rope &turn, const void *from, void *to, bool accumulate) {
    const cm3__heads s = cm3__heads_of(call);
    CM3_LAUNCH((rotary<T, N>), cm3__blocks_for(s.rows, ROWS), THREADS, cm3__rope_shared(call, ROWS), (const T *)from,
               turn, s, (T *)to, accumulate);
}

static cm3_status rotate(const cm3_call *call, const void *from, void *to, double direction, bool accumulate) {
    const int64_t half = cm3__heads_of(call).d / 2;
    cm3__rope turn = {};
    if (call->in[0].shape.dim[0] <= 0) return CM3_OK;
    CM3_TRY(cm3__rope_of(call, 1, direction, ROWS, &turn));
    CM3_BY_TYPE(call->in[0].type,
                if (can_use_vectors<T>(half, from, to)) run<T, CM3_VEC<T>>(call, turn, from, to, accumulate);
                else run<T, 1>(call, turn, from, to, accumulate));
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

CM3__CUDA_KERNEL(rotary, forward, backward);
