/* CONV2D by matrix products: windows of the images are laid out as rows (im2col), as many as a workspace of bounded
 * size holds, and multiplied with the weights. A 1 x 1 convolution needs no layout. In f32 and deterministic: the
 * reference beside cuDNN's convolutions, which are taken where they are right, repeatable and faster. */
#include "core/kernels/cuda/autotune.h"
#include "core/kernels/cuda/columns.h"
#include "core/kernels/cuda/conv2d_cudnn.h"
#include "core/kernels/cuda/cuda.h"
#include "core/kernels/cuda/gemm.h"

#include <stdio.h>

constexpr int THREADS = 256;
typedef cm3__conv conv;

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static cm3__cuda_gemm product_of(const float *a, const float *b, float *c, int64_t m, int64_t n, int64_t k) {
    cm3__cuda_gemm product = {};
    product.m = m;
    product.n = n;
    product.k = k;
    product.type = product.c_type = CM3_F32;
    product.a = a;
    product.b = b;
    product.c = c;
    return product;
}

/* --- windows ----------------------------------------------------------------------------------------------------- */

/* The windows of results first .. first + count: (count, k, k, C), zero outside of the image. 32 bits count what is
 * laid out at once; `first` is pixel `pixel` of image `image`. */
template <int N>
static __global__ void lay_out(const float *x, conv s, int64_t image, uint32_t pixel, uint32_t size, float *windows) {
    const uint32_t at = (blockIdx.x * THREADS + threadIdx.x) * N;
    if (at >= size) return;
    const uint32_t result = pixel + at / (uint32_t)s.window, of_image = (uint32_t)(s.out_rows * s.out_columns);
    const uint32_t rest = at % (uint32_t)s.window, tap = rest / (uint32_t)s.channels, k = (uint32_t)s.kernel;
    const uint32_t place = result % of_image, width = (uint32_t)s.out_columns;
    const int64_t y = place / width * s.stride - s.pad + tap / k;
    const int64_t column = place % width * s.stride - s.pad + tap % k;
    float v[N] = {};
    if (y >= 0 && y < s.rows && column >= 0 && column < s.columns)
        load<float, N>(v, x + (((image + result / of_image) * s.rows + y) * s.columns + column) * s.channels +
                              rest % (uint32_t)s.channels);
    store<float, N>(windows + at, v);
}

static const float *windows_of(const conv &s, const float *x, int64_t first, int64_t count, float *windows) {
    if (cm3__conv_is_plain(&s)) return x + first * s.window;
    const int64_t of_image = s.out_rows * s.out_columns, size = count * s.window, image = first / of_image;
    const uint32_t pixel = (uint32_t)(first % of_image);
    if (can_use_vectors<float>(s.channels, x))
        CM3_LAUNCH((lay_out<4>), cm3__blocks_for(size, 4 * THREADS), THREADS, 0, x, s, image, pixel, (uint32_t)size,
                   windows);
    else
        CM3_LAUNCH((lay_out<1>), cm3__blocks_for(size, THREADS), THREADS, 0, x, s, image, pixel, (uint32_t)size,
                   windows);
    return windows;
}

/* --- forward ----------------------------------------------------------------------------------------------------- */

/* Of one image, of a row of one, and of a window: what the kernels above count in 32 bits. */
static cm3_status expect_countable(const conv &s) {
    const int64_t limit = INT32_MAX / 2;
    if (s.rows * s.columns < limit && s.columns * s.channels < limit && s.out_rows * s.out_columns < limit &&
        s.window < limit && s.batch < limit)
        return CM3_OK;
    return cm3_fail(CM3_ERR_UNSUPPORTED, "conv2d: images of %lld x %lld x %lld are too large for a GPU",
                    (long long)s.rows, (long long)s.columns, (long long)s.channels);
}

static cm3_status own_forward(const cm3_call *call) {
    const conv s = cm3__conv_of(call, &call->out[0]);
    const int64_t results = s.batch * s.out_rows * s.out_columns, step = cm3__conv_results_at_once(&s);
    float *y = (float *)call->out[0].data;
    for (int64_t first = 0; first < results; first += step) {
        const int64_t count = least(step, results - first);
        const float *windows = windows_of(s, (const float *)call->in[0].data, first, count, (float *)call->workspace);
        cm3__cuda_gemm product =
            product_of(windows, (const float *)call->in[1].data, y + first * s.outputs, count, s.outputs, s.window);
        product.b_transposed = true;
        product.bias = call->in[2].data;
        CM3_TRY(cm3__cuda_gemm_run(&product));
    }
    return cm3__cuda_launched("conv2d, forward");
}

/* --- gradient of the weights ------------------------------------------------------------------------------------- */

static cm3_status weight_gradient(const cm3_call *call, const conv &s) {
    const int64_t results = s.batch * s.out_rows * s.out_columns, step = cm3__conv_results_at_once(&s);
    const float *dy = (const float *)call->grad_out.data;
    for (int64_t first = 0; first < results; first += step) {
        const int64_t count = least(step, results - first);
        const float *windows = windows_of(s, (const float *)call->in[0].data, first, count, (float *)call->workspace);
        cm3__cuda_gemm product =
            product_of(dy + first * s.outputs, windows, (float *)call->grad_in[1].data, s.outputs, s.window, count);
        product.a_transposed = true;
        product.accumulate = call->accumulate[1] || first > 0;
        CM3_TRY(cm3__cuda_gemm_run(&product));
    }
    return CM3_OK;
}

/* --- gradient of the images -------------------------------------------------------------------------------------- */

typedef cm3__conv_band band;

/* The gradient of a pixel: what all windows that hold it say of it, in the order of their taps. windows: gradients of
 * the windows of the band's results. */
template <int N> static __global__ void gather(const float *windows, conv s, band b, float *dx, bool accumulate) {
    const int64_t at = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * N, width = s.columns * s.channels;
    const int height = (int)(b.y_end - b.y), kernel = (int)s.kernel, stride = (int)s.stride;
    if (at >= b.images * height * width) return;
    const int row = (int)(at / width), place = (int)(at % width), image = row / height;
    const int y = (int)b.y + row % height, column = place / (int)s.channels, channel = place % (int)s.channels;
    float *to = dx + ((b.image + image) * s.rows + y) * width + place;
    float sum[N] = {}, v[N];
    for (int tap_y = 0; tap_y < kernel; tap_y++) {
        const int down = y + (int)s.pad - tap_y, out_row = down / stride;
        if (down < 0 || down % stride || out_row >= s.out_rows) continue;
        const int64_t results = (image * (b.out_end - b.out) + out_row - b.out) * s.out_columns;
        for (int tap_x = 0; tap_x < kernel; tap_x++) {
            const int right = column + (int)s.pad - tap_x, out_column = right / stride;
            if (right < 0 || right % stride || out_column >= s.out_columns) continue;
            const int tap = tap_y * kernel + tap_x;
            load<float, N>(v, windows + (results + out_column) * s.window + tap * s.channels + channel);
            CM3_UNROLL for (int k = 0; k < N; k++) sum[k] += v[k];
        }
    }
    if (accumulate) {
        load<float, N>(v, to);
        CM3_UNROLL for (int k = 0; k < N; k++) sum[k] += v[k];
    }
    store<float, N>(to, sum);
}

static cm3_status run_band(const cm3_call *call, const conv &s, const band &b) {
    float *windows = (float *)call->workspace, *dx = (float *)call->grad_in[0].data;
    const int64_t results = b.images * (b.out_end - b.out) * s.out_columns;
    const int64_t first = (b.image * s.out_rows + b.out) * s.out_columns;
    const int64_t count = b.images * (b.y_end - b.y) * s.columns * s.channels;
    if (results > 0) {
        const float *dy = (const float *)call->grad_out.data + first * s.outputs;
        const cm3__cuda_gemm product =
            product_of(dy, (const float *)call->in[1].data, windows, results, s.window, s.outputs);
        CM3_TRY(cm3__cuda_gemm_run(&product));
    }
    if (can_use_vectors<float>(s.channels, dx))
        CM3_LAUNCH((gather<4>), cm3__blocks_for(count, 4 * THREADS), THREADS, 0, windows, s, b, dx,
                   call->accumulate[0]);
    else
        CM3_LAUNCH((gather<1>), cm3__blocks_for(count, THREADS), THREADS, 0, windows, s, b, dx, call->accumulate[0]);
    return CM3_OK;
}

static cm3_status image_gradient(const cm3_call *call, const conv &s) {
    if (cm3__conv_is_plain(&s)) {
        cm3__cuda_gemm product =
            product_of((const float *)call->grad_out.data, (const float *)call->in[1].data,
                       (float *)call->grad_in[0].data, s.batch * s.rows * s.columns, s.channels, s.outputs);
        product.accumulate = call->accumulate[0];
        return cm3__cuda_gemm_run(&product);
    }
    const band step = cm3__conv_first_band(&s);
    for (int64_t image = 0; image < s.batch; image += step.images)
        for (int64_t y = 0; y < s.rows; y += step.y_end) {
            band b = {image, least(step.images, s.batch - image), y, least(y + step.y_end, s.rows), 0, s.out_rows};
            if (!step.out_end) {
                b.out = most(0, y + s.pad - s.kernel + 1 + s.stride - 1) / s.stride;
                b.out_end = most(b.out, least(s.out_rows, (b.y_end - 1 + s.pad) / s.stride + 1));
            }
            CM3_TRY(run_band(call, s, b));
        }
    return CM3_OK;
}

/* --- backward ---------------------------------------------------------------------------------------------------- */

static void bias_gradient(const cm3_call *call, const conv &s) {
    const float *dy = (const float *)call->grad_out.data;
    const int64_t outputs = s.outputs;
    column_sums(
        s.batch * s.out_rows * s.out_columns, outputs,
        [=] __device__(int64_t r, int64_t c) { return dy[r * outputs + c]; }, (float *)call->grad_in[2].data,
        call->accumulate[2], (float *)call->workspace);
}

static cm3_status own_backward(const cm3_call *call) {
    const conv s = cm3__conv_of(call, &call->grad_out);
    if (call->grad_in[2].data) bias_gradient(call, s);
    if (call->grad_in[1].data) CM3_TRY(weight_gradient(call, s));
    if (call->grad_in[0].data) CM3_TRY(image_gradient(call, s));
    return cm3__cuda_launched("conv2d, backward");
}

static const cm3_kernel own = {own_forward, own_backward, cm3__cuda_conv2d_forward_workspace,
                               cm3__cuda_conv2d_backward_workspace};

/* --- ours or cuDNN's: the workspace is enough for both ----------------------------------------------------------- */

/* For the forward pass, or for one gradient: of the images (0) or the weights (1). Compared are rows of images, at
 * whose edges padding shows, and the weights of one output. */
static const cm3_kernel *kernel_for(const cm3_call *call, const conv &s, bool backward, int gradient) {
    static const char *const gradients[] = {"images' gradient", "weights' gradient"};
    const bool adds = backward ? call->accumulate[gradient] : call->in[2].shape.rank > 0;
    char what[128];
    snprintf(what, sizeof what, "conv2d %s%s, %lld x %lld x %lld x %lld to %lld, kernel %lld, stride %d, pad %d and %d",
             backward ? gradients[gradient] : "forward", !adds ? "" : backward ? ", added" : ", bias",
             (long long)s.batch, (long long)s.rows, (long long)s.columns, (long long)s.channels, (long long)s.outputs,
             (long long)s.kernel, call->attr->stride, call->attr->pad, call->attr->pad_after);
    cm3__autotune of = {"cuDNN", &own, &cm3__cudnn_conv2d, {}, backward};
    of.results[0] = {1, 1, backward ? s.columns * s.channels : s.out_columns * s.outputs};
    of.results[1] = {1, 1, s.window};
    return cm3__autotune_pick(what, call, of);
}

static cm3_status forward(const cm3_call *call) {
    const conv s = cm3__conv_of(call, &call->out[0]);
    CM3_TRY(expect_countable(s));
    return kernel_for(call, s, false, 0)->forward(call);
}

/* Each gradient is chosen for itself; that of the bias is always ours. */
static cm3_status backward(const cm3_call *call) {
    const conv s = cm3__conv_of(call, &call->grad_out);
    CM3_TRY(expect_countable(s));
    for (int i = 2; i >= 0; i--) {
        if (!call->grad_in[i].data) continue;
        cm3_call one = *call;
        for (int other = 0; other < 3; other++)
            if (other != i) one.grad_in[other].data = nullptr;
        CM3_TRY((i == 2 ? &own : kernel_for(&one, s, true, i))->backward(&one));
    }
    return CM3_OK;
}

CM3__CUDA_KERNEL(conv2d, forward, backward);
