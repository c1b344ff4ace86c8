/* EMBED. An id that is not in the table gives a row of NaN: the device cannot fail, and a loss that is not finite is
 * seen. */
#include "core/kernels/cuda/sorted_scatter_add.h"
#include "core/kernels/cuda/cuda.h"

constexpr int ROWS = 8; /* of a block: a warp each */

template <typename T, int N>
static __device__ __forceinline__ void load_row(float (&to)[N], const T *table, int64_t rows, int64_t d, int32_t id,
                                                int64_t column) {
    if (id >= 0 && id < rows)
        load<T, N>(to, table + id * d + column);
    else
        for (int i = 0; i < N; i++) to[i] = NAN;
}

template <typename T, int N>
static __global__ void embed_forward(const T *table, int64_t rows, const int32_t *ids, const T *position_table,
                                     int64_t position_rows, const int32_t *positions, int64_t n, int64_t d, T *y) {
    const int64_t i = (int64_t)blockIdx.x * ROWS + threadIdx.x / CM3_WARP;
    if (i >= n) return;
    const int32_t id = ids[i], position = position_table ? positions[i] : 0;
    for (int64_t c = (int64_t)(threadIdx.x % CM3_WARP) * N; c < d; c += CM3_WARP * N) {
        float x[N], p[N] = {};
        load_row<T, N>(x, table, rows, d, id, c);
        if (position_table) load_row<T, N>(p, position_table, position_rows, d, position, c);
        CM3_UNROLL for (int k = 0; k < N; k++) x[k] += p[k];
        store<T, N>(y + i * d + c, x);
    }
}

template <typename T, int N> static void run_forward(const cm3_call *call) {
    const int64_t n = call->out[0].shape.dim[0], d = call->out[0].shape.dim[1];
    if (n <= 0) return;
    CM3_LAUNCH((embed_forward<T, N>), cm3__blocks_for(n, ROWS), ROWS * CM3_WARP, 0, (const T *)call->in[0].data,
               call->in[0].shape.dim[0], (const int32_t *)call->in[1].data, (const T *)call->in[2].data,
               call->in[2].shape.dim[0], (const int32_t *)call->in[3].data, n, d, (T *)call->out[0].data);
}

static cm3_status forward(const cm3_call *call) {
    const int64_t d = call->out[0].shape.dim[1];
    CM3_BY_TYPE(call->in[0].type, if (can_use_vectors<T>(d, call->in[0].data, call->in[2].data, call->out[0].data))
                                      run_forward<T, CM3_VEC<T>>(call);
                else run_forward<T, 1>(call));
    return cm3__cuda_launched("embed, forward");
}

/* Table and positions one after the other: they share the workspace. */
template <typename T, int N> static cm3_status run_backward(const cm3_call *call, int input) {
    const int64_t n = call->grad_out.shape.dim[0], d = call->grad_out.shape.dim[1];
    const T *dy = (const T *)call->grad_out.data;
    return cm3__sums_by_id<N>(
        (const int32_t *)call->in[input + 1].data, n, call->in[input].shape.dim[0], d,
        [=] __device__(float(&x)[N], int64_t row, int64_t, int64_t column) { load<T, N>(x, dy + row * d + column); },
        (float *)call->grad_in[input].data, call->accumulate[input], call->workspace);
}

static cm3_status backward(const cm3_call *call) {
    const int64_t d = call->grad_out.shape.dim[1];
    for (int i = 0; i <= 2; i += 2) {
        if (!call->grad_in[i].data) continue;
        CM3_BY_TYPE(call->grad_out.type, if (can_use_vectors<T>(d, call->grad_out.data, call->grad_in[i].data))
                                             CM3_TRY((run_backward<T, CM3_VEC<T>>(call, i)));
                    else CM3_TRY((run_backward<T, 1>(call, i))));
    }
    return cm3__cuda_launched("embed, backward");
}

CM3__CUDA_KERNEL(embed, forward, backward);
