#include "tests/core/ops/reference.h"

#include <math.h>

static int64_t dim(const op_values *v, int input, int i) {
    return v->in_shape[input].dim[i];
}

/* One value of y: sums over the taps that lie inside the image. */
static double conv_at(const op_values *v, int64_t b, int64_t y, int64_t x, int64_t o) {
    const int64_t rows = dim(v, 0, 1), columns = dim(v, 0, 2), channels = dim(v, 0, 3), kernel = dim(v, 1, 1);
    double sum = v->in[2] ? v->in[2][o] : 0;
    for (int64_t i = 0; i < kernel; i++) {
        for (int64_t j = 0; j < kernel; j++) {
            const int64_t row = y * v->of->attr.stride - v->of->attr.pad + i,
                          column = x * v->of->attr.stride - v->of->attr.pad + j;
            if (row < 0 || row >= rows || column < 0 || column >= columns) continue;
            const double *pixel = v->in[0] + ((b * rows + row) * columns + column) * channels;
            const double *tap = v->in[1] + ((o * kernel + i) * kernel + j) * channels;
            for (int64_t c = 0; c < channels; c++) sum += pixel[c] * tap[c];
        }
    }
    return sum;
}

static void conv2d(const op_values *v) {
    const int64_t *d = v->out_shape[0].dim;
    for (int64_t i = 0; i < cm3_shape_count(v->out_shape[0]); i++)
        v->out[0][i] = conv_at(v, i / (d[1] * d[2] * d[3]), i / (d[2] * d[3]) % d[1], i / d[3] % d[2], i % d[3]);
}

static void group_norm(const op_values *v) {
    const int64_t pixels = dim(v, 0, 1) * dim(v, 0, 2), channels = dim(v, 0, 3), groups = v->of->attr.groups,
                  width = channels / groups;
    for (int64_t bg = 0; bg < dim(v, 0, 0) * groups; bg++) {
        const int64_t b = bg / groups, g = bg % groups;
        double sum = 0, square = 0;
        for (int64_t i = 0; i < pixels * width; i++)
            sum += v->in[0][(b * pixels + i / width) * channels + g * width + i % width];
        const double mean = sum / (double)(pixels * width);
        for (int64_t i = 0; i < pixels * width; i++) {
            const double d = v->in[0][(b * pixels + i / width) * channels + g * width + i % width] - mean;
            square += d * d;
        }
        const double rstd = 1 / sqrt(square / (double)(pixels * width) + v->of->attr.epsilon);
        v->out[1][bg] = mean;
        v->out[2][bg] = rstd;
        for (int64_t i = 0; i < pixels * width; i++) {
            const int64_t c = g * width + i % width, at = (b * pixels + i / width) * channels + c;
            const double u = (v->in[0][at] - mean) * rstd * v->in[1][c] + v->in[2][c];
            v->out[0][at] = v->of->attr.activation == CM3_ACT_SILU ? u / (1 + exp(-u)) : u;
        }
    }
}

static void upsample(const op_values *v) {
    const int64_t *d = v->out_shape[0].dim;
    for (int64_t i = 0; i < cm3_shape_count(v->out_shape[0]); i++) {
        const int64_t c = i % d[3], x = i / d[3] % d[2], y = i / (d[3] * d[2]) % d[1], b = i / (d[3] * d[2] * d[1]);
        v->out[0][i] = v->in[0][((b * d[1] / 2 + y / 2) * d[2] / 2 + x / 2) * d[3] + c];
    }
}

static void average_pool(const op_values *v) {
    const int64_t *d = v->out_shape[0].dim;
    for (int64_t i = 0; i < cm3_shape_count(v->out_shape[0]); i++) {
        const int64_t c = i % d[3], x = i / d[3] % d[2], row = i / (d[3] * d[2]); /* of all images */
        double sum = 0;
        for (int64_t j = 0; j < 4; j++) sum += v->in[0][((2 * row + j / 2) * 2 * d[2] + 2 * x + j % 2) * d[3] + c];
        v->out[0][i] = sum / 4;
    }
}

static double distance(const op_values *v, int64_t row, int64_t code) {
    const int64_t d = dim(v, 0, 1);
    double sum = 0;
    for (int64_t j = 0; j < d; j++)
        sum += (v->in[0][row * d + j] - v->in[1][code * d + j]) * (v->in[0][row * d + j] - v->in[1][code * d + j]);
    return sum;
}

static void nearest_code(const op_values *v) {
    for (int64_t i = 0; i < dim(v, 0, 0); i++) {
        int64_t best = 0;
        for (int64_t k = 1; k < dim(v, 1, 0); k++)
            if (distance(v, i, k) < distance(v, i, best)) best = k;
        v->out[0][i] = (double)best;
    }
}

static void code_lookup(const op_values *v) {
    const int64_t d = dim(v, 0, 1);
    for (int64_t i = 0; i < dim(v, 0, 0) * d; i++) v->out[0][i] = v->in[1][(int64_t)v->in[2][i / d] * d + i % d];
}

static void straight_through(const op_values *v) {
    for (int64_t i = 0; i < cm3_shape_count(v->in_shape[0]); i++) v->grad_in[0][i] = v->grad_out[i];
}

static void code_loss(const op_values *v) {
    double sum = 0;
    for (int64_t i = 0; i < dim(v, 0, 0); i++) sum += distance(v, i, (int64_t)v->in[2][i]);
    v->out[0][0] = v->in[3][0] * (1 + v->of->attr.commitment) * sum;
}

/* Each part of the loss moves one of the two vectors only. */
static void code_loss_gradient(const op_values *v) {
    const int64_t d = dim(v, 0, 1);
    for (int64_t i = 0; i < dim(v, 0, 0) * d; i++) {
        const int64_t at = (int64_t)v->in[2][i / d] * d + i % d;
        const double g = 2 * v->grad_out[0] * v->in[3][0] * (v->in[0][i] - v->in[1][at]);
        v->grad_in[0][i] = v->of->attr.commitment * g;
        v->grad_in[1][at] -= g;
    }
}

static void pixel_loss(const op_values *v) {
    double sum = 0;
    for (int64_t i = 0; i < cm3_shape_count(v->in_shape[0]); i++) {
        const double d = v->in[0][i] - v->in[1][i];
        sum += v->of->attr.l1 * fabs(d) + v->of->attr.l2 * d * d;
    }
    v->out[0][0] = v->in[2][0] * sum;
}

const op_reference op_references_convolution[CM3_OP_COUNT] = {
    [CM3_OP_CONV2D] = {.forward = conv2d},
    [CM3_OP_GROUP_NORM] = {.forward = group_norm},
    [CM3_OP_UPSAMPLE] = {.forward = upsample},
    [CM3_OP_AVERAGE_POOL] = {.forward = average_pool},
    [CM3_OP_NEAREST_CODE] = {.forward = nearest_code},
    [CM3_OP_CODE_LOOKUP] = {.forward = code_lookup, .gradient = straight_through},
    [CM3_OP_CODE_LOSS] = {.forward = code_loss, .gradient = code_loss_gradient},
    [CM3_OP_PIXEL_LOSS] = {.forward = pixel_loss},
};
