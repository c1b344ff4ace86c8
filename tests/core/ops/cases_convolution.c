#include "tests/core/ops/case.h"

#include <math.h>

/* --- references ------------------------------------------------------------------------------------------------------------ */

static int64_t dim(const op_values *v, int input, int i) {
    return v->in_shape[input].dim[i];
}

/* One value of y: sums over the taps that lie inside the picture. */
static double conv_at(const op_values *v, int64_t b, int64_t y, int64_t x, int64_t o) {
    const int64_t rows = dim(v, 0, 1), columns = dim(v, 0, 2), channels = dim(v, 0, 3), kernel = dim(v, 1, 1);
    double sum = v->in[2] ? v->in[2][o] : 0;
    for (int64_t i = 0; i < kernel; i++) {
        for (int64_t j = 0; j < kernel; j++) {
            const int64_t row = y * v->of->attr.stride - v->of->attr.pad + i, column = x * v->of->attr.stride - v->of->attr.pad + j;
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
    const int64_t pixels = dim(v, 0, 1) * dim(v, 0, 2), channels = dim(v, 0, 3), groups = v->of->attr.groups, width = channels / groups;
    for (int64_t bg = 0; bg < dim(v, 0, 0) * groups; bg++) {
        const int64_t b = bg / groups, g = bg % groups;
        double sum = 0, square = 0;
        for (int64_t i = 0; i < pixels * width; i++) sum += v->in[0][(b * pixels + i / width) * channels + g * width + i % width];
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
        const int64_t c = i % d[3], x = i / d[3] % d[2], row = i / (d[3] * d[2]); /* of all pictures */
        double sum = 0;
        for (int64_t j = 0; j < 4; j++) sum += v->in[0][((2 * row + j / 2) * 2 * d[2] + 2 * x + j % 2) * d[3] + c];
        v->out[0][i] = sum / 4;
    }
}

static double distance(const op_values *v, int64_t row, int64_t code) {
    const int64_t d = dim(v, 0, 1);
    double sum = 0;
    for (int64_t j = 0; j < d; j++) sum += (v->in[0][row * d + j] - v->in[1][code * d + j]) * (v->in[0][row * d + j] - v->in[1][code * d + j]);
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

static const op_reference references[CM3_OP_COUNT] = {
    [CM3_OP_CONV2D] = {.forward = conv2d},
    [CM3_OP_GROUP_NORM] = {.forward = group_norm},
    [CM3_OP_UPSAMPLE] = {.forward = upsample},
    [CM3_OP_AVERAGE_POOL] = {.forward = average_pool},
    [CM3_OP_NEAREST_CODE] = {.forward = nearest_code},
    [CM3_OP_CODE_LOOKUP] = {.forward = code_lookup, .gradient = straight_through},
    [CM3_OP_CODE_LOSS] = {.forward = code_loss, .gradient = code_loss_gradient},
    [CM3_OP_PIXEL_LOSS] = {.forward = pixel_loss},
};

/* --- cases ------------------------------------------------------------------------------------------------------------------ */

#define SAME(kernel) .stride = 1, .pad = kernel / 2, .pad_after = kernel / 2
#define NORM(count, act) .groups = count, .epsilon = 1e-6f, .activation = act

static const op_case cases[] = {
    {"conv 3x3", CM3_OP_CONV2D, {SAME(3)}, {NORMAL(2, 9, 7, 5), NORMAL(6, 3, 3, 5), NORMAL(6)}, 126, 0},
    {"conv 3x3, whole vectors", CM3_OP_CONV2D, {SAME(3)}, {NORMAL(1, 8, 8, 16), NORMAL(32, 3, 3, 16), NORMAL(32)}, 288, 0},
    {"conv 3x3, several panels and blocks", CM3_OP_CONV2D, {SAME(3)}, {NORMAL(1, 5, 6, 70), NORMAL(50, 3, 3, 70)}, 630, 0},
    {"conv 3x3, several strips", CM3_OP_CONV2D, {SAME(3)}, {NORMAL(1, 70, 90, 4), NORMAL(3, 3, 3, 4), NORMAL(3)}, 6300, 0},
    {"conv 3x3, more pictures than threads", CM3_OP_CONV2D, {SAME(3)}, {NORMAL(13, 8, 8, 8), NORMAL(9, 3, 3, 8), NORMAL(9)}, 832, 0},
    {"conv 3x3, stride 2, padding behind", CM3_OP_CONV2D, {.stride = 2, .pad_after = 1}, {NORMAL(2, 8, 8, 20), NORMAL(33, 3, 3, 20), NORMAL(33)}, 300, 0},
    {"conv 3x3, stride 2, odd sides", CM3_OP_CONV2D, {.stride = 2, .pad = 1, .pad_after = 1}, {NORMAL(2, 7, 9, 3), NORMAL(3, 3, 3, 3)}, 40, 0},
    {"conv 4x4, stride 2", CM3_OP_CONV2D, {.stride = 2, .pad = 1, .pad_after = 1}, {NORMAL(1, 8, 6, 4), NORMAL(4, 4, 4, 4), NORMAL(4)}, 64, 0},
    {"conv 5x5, stride 3", CM3_OP_CONV2D, {.stride = 3, .pad = 2, .pad_after = 2}, {NORMAL(1, 12, 11, 8), NORMAL(8, 5, 5, 8)}, 200, 0},
    {"conv 1x1", CM3_OP_CONV2D, {.stride = 1}, {NORMAL(2, 6, 6, 17), NORMAL(40, 1, 1, 17), NORMAL(40)}, 72, 0},
    {"conv 1x1, whole vectors", CM3_OP_CONV2D, {.stride = 1}, {NORMAL(2, 6, 6, 32), NORMAL(16, 1, 1, 32), NORMAL(16)}, 72, 0},
    {"conv 1x1, stride 2: pixels without a window", CM3_OP_CONV2D, {.stride = 2}, {NORMAL(1, 6, 5, 6), NORMAL(4, 1, 1, 6), NORMAL(4)}, 18, 0},
    {"conv 2x2, more padding than kernel", CM3_OP_CONV2D, {.stride = 1, .pad = 3, .pad_after = 2}, {NORMAL(1, 4, 4, 3), NORMAL(5, 2, 2, 3), NORMAL(5)}, 90, 0},
    {"conv 3x3 of one pixel", CM3_OP_CONV2D, {SAME(3)}, {NORMAL(1, 1, 1, 4), NORMAL(4, 3, 3, 4), NORMAL(4)}, 36, 0},

    {"group norm", CM3_OP_GROUP_NORM, {NORM(2, CM3_ACT_NONE)}, {NORMAL(2, 5, 3, 6), GAIN(6), NORMAL(6)}, 45, 2},
    {"group norm, silu", CM3_OP_GROUP_NORM, {NORM(4, CM3_ACT_SILU)}, {NORMAL(5, 14, 16, 16), GAIN(16), NORMAL(16)}, 1120, 2},
    {"group norm, one group, several chunks", CM3_OP_GROUP_NORM, {NORM(1, CM3_ACT_SILU)}, {NORMAL(1, 24, 25, 37), GAIN(37), NORMAL(37)}, 22200, 2},
    {"group norm, a group a channel", CM3_OP_GROUP_NORM, {NORM(7, CM3_ACT_NONE)}, {NORMAL(2, 6, 6, 7), GAIN(7), NORMAL(7)}, 72, 2},

    {"upsample", CM3_OP_UPSAMPLE, {0}, {NORMAL(3, 5, 4, 7)}, 4, 0},
    {"average pool", CM3_OP_AVERAGE_POOL, {0}, {NORMAL(3, 6, 4, 5)}, 4, 0},

    {"nearest code", CM3_OP_NEAREST_CODE, {0}, {NORMAL(150, 9), NORMAL(300, 9)}, 1, 0},
    {"nearest code, one vector, one code", CM3_OP_NEAREST_CODE, {0}, {NORMAL(1, 3), NORMAL(1, 3)}, 1, 0},
    {"nearest code, all alike: the first", CM3_OP_NEAREST_CODE, {0}, {NORMAL(70, 4), VALUE(0.5, 290, 4)}, 1, 0},
    {"code lookup", CM3_OP_CODE_LOOKUP, {0}, {NORMAL(90, 30), NORMAL(20, 30), INDEX(20, 90)}, 1, 0},
    {"code loss", CM3_OP_CODE_LOSS, {.commitment = 0.25f}, {NORMAL(130, 12), NORMAL(9, 12), INDEX(9, 130), VALUE(0.75, 1)}, 1560, 0},
    {"pixel loss, absolute", CM3_OP_PIXEL_LOSS, {.l1 = 1}, {NORMAL(2, 7, 5, 3), NORMAL(2, 7, 5, 3), VALUE(0.75, 1)}, 210, 0},
    {"pixel loss, both, several blocks", CM3_OP_PIXEL_LOSS, {.l1 = 0.5f, .l2 = 2}, {NORMAL(2, 41, 60, 3), NORMAL(2, 41, 60, 3), VALUE(0.75, 1)}, 14760, 0},
};

const op_family op_family_convolution = {"convolution", cases, sizeof cases / sizeof *cases, references};
