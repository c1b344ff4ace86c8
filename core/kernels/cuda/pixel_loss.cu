/* PIXEL_LOSS. */
#include "core/kernels/cuda/cuda.h"
#include "core/kernels/cuda/elementwise.h"
#include "core/kernels/cuda/sums.h"

template <int N> static void run_forward(const cm3_call *call) {
    const float *x = (const float *)call->in[0].data, *y = (const float *)call->in[1].data;
    const float *scale = (const float *)call->in[2].data;
    const float l1 = call->attr->l1, l2 = call->attr->l2;
    float *loss = (float *)call->out[0].data;
    run_sum(
        cm3_shape_count(call->in[0].shape), N,
        [=] __device__(int64_t i) {
            float a[N], b[N], sum = 0;
            load<float, N>(a, x + i);
            load<float, N>(b, y + i);
            CM3_UNROLL for (int k = 0; k < N; k++) {
                const float difference = a[k] - b[k];
                sum += l1 * fabsf(difference) + l2 * difference * difference;
            }
            return (double)sum;
        },
        [=] __device__(double total) { *loss = (float)(total * *scale); }, (double *)call->workspace);
}

static cm3_status forward(const cm3_call *call) {
    if (can_use_vectors<float>(cm3_shape_count(call->in[0].shape), call->in[0].data, call->in[1].data))
        run_forward<CM3_VEC<float>>(call);
    else
        run_forward<1>(call);
    return cm3__cuda_launched("pixel_loss, forward");
}

static cm3_status backward(const cm3_call *call) {
    const float *scale = (const float *)call->in[2].data, *g = (const float *)call->grad_out.data;
    const float l1 = call->attr->l1, l2 = call->attr->l2;
    if (!call->grad_in[0].data) return CM3_OK;
    run_elementwise(cm3_shape_count(call->in[0].shape), (const float *)call->in[0].data,
                    (const float *)call->in[1].data, (float *)call->grad_in[0].data, call->accumulate[0],
                    [=] __device__(float x, float y) {
                        const float factor = *scale * *g, difference = x - y;
                        const float sign = (float)((difference > 0) - (difference < 0));
                        return factor * l1 * sign + 2 * factor * l2 * difference;
                    });
    return cm3__cuda_launched("pixel_loss, backward");
}

CM3__CUDA_KERNEL(pixel_loss, forward, backward);
