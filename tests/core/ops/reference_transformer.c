#include "tests/core/ops/reference.h"

#include <math.h>
#include <string.h>

static int64_t dim(const op_values *v, int input, int i) {
    return v->in_shape[input].dim[i];
}

static double act(cm3_activation activation, double x) {
    switch (activation) {
    case CM3_ACT_RELU:
        return x > 0 ? x : 0;
    case CM3_ACT_GELU:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case CM3_ACT_SILU:
        return x / (1 + exp(-x));
    default:
        return x;
    }
}

static void embed(const op_values *v) {
    const int64_t d = dim(v, 0, 1);
    for (int64_t i = 0; i < dim(v, 1, 0); i++)
        for (int64_t c = 0; c < d; c++)
            v->out[0][i * d + c] =
                v->in[0][(int64_t)v->in[1][i] * d + c] + (v->in[2] ? v->in[2][(int64_t)v->in[3][i] * d + c] : 0);
}

static void normalise(double *y, const double *x, int64_t d, bool centered, double epsilon, double *mean,
                      double *rstd) {
    double sum = 0, square = 0;
    for (int64_t c = 0; c < d && centered; c++) sum += x[c];
    *mean = sum / (double)d;
    for (int64_t c = 0; c < d; c++) square += (x[c] - *mean) * (x[c] - *mean);
    *rstd = 1 / sqrt(square / (double)d + epsilon);
    for (int64_t c = 0; c < d; c++) y[c] = (x[c] - *mean) * *rstd;
}

static void norm(const op_values *v, bool centered) {
    const int64_t d = dim(v, 0, 1);
    for (int64_t i = 0; i < dim(v, 0, 0); i++) {
        double mean, *y = v->out[0] + i * d;
        normalise(y, v->in[0] + i * d, d, centered, v->of->attr.epsilon, &mean, &v->out[1][i]);
        if (centered) v->out[2][i] = mean;
        for (int64_t c = 0; c < d; c++) y[c] = y[c] * (v->in[1] ? v->in[1][c] : 1) + (v->in[2] ? v->in[2][c] : 0);
    }
}

static void layer_norm(const op_values *v) {
    norm(v, true);
}

static void rms_norm(const op_values *v) {
    norm(v, false);
}

/* x where its mask lets the gradient through; the cases that have a mask are all zeros elsewhere. */
static double masked(const op_values *v, int64_t i, int64_t c) {
    const int64_t k = dim(v, 0, 1);
    const double x = v->in[0][i * k + c];
    if (!v->in[4]) return x;
    return (uint32_t)(int64_t)v->in[4][i * CM3_MASK_WORDS(k) + c / 32] >> c % 32 & 1 ? x : 0;
}

static void linear(const op_values *v) {
    const int64_t n = dim(v, 0, 0), k = dim(v, 0, 1), m = dim(v, 1, 0);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++) {
            double sum = v->in[2] ? v->in[2][j] : 0;
            for (int64_t c = 0; c < k; c++) sum += masked(v, i, c) * v->in[1][j * k + c];
            if (v->out[1] && v->of->attr.activation != CM3_ACT_RELU) v->out[1][i * m + j] = sum;
            v->out[0][i * m + j] = act(v->of->attr.activation, sum) + (v->in[3] ? v->in[3][i * m + j] : 0);
        }
}

/* One query against `keys` rows; the log-sum-exp is returned. */
static double attend(double *y, const double *q, const double *k, const double *v, int64_t row, int64_t keys, int64_t d,
                     double scale) {
    double most = -INFINITY, sum = 0;
    for (int64_t c = 0; c < d; c++) y[c] = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t r = 0; r < keys; r++) {
            double s = 0;
            for (int64_t c = 0; c < d; c++) s += q[c] * k[r * row + c];
            s *= scale;
            if (pass == 0) {
                most = s > most ? s : most;
                continue;
            }
            sum += exp(s - most);
            for (int64_t c = 0; c < d; c++) y[c] += exp(s - most) * v[r * row + c];
        }
    for (int64_t c = 0; c < d; c++) y[c] /= sum;
    return most + log(sum);
}

static void attention(const op_values *v) {
    const cm3_op_attr *a = &v->of->attr;
    const int64_t s = a->sequence, h = a->heads, g = a->kv_heads, width = dim(v, 0, 1), d = width / (h + 2 * g);
    for (int64_t b = 0; b < dim(v, 0, 0) / s; b++)
        for (int64_t i = 0; i < h * s; i++) {
            const int64_t head = i / s, row = i % s, shared = head * g / h;
            const double *x = v->in[0] + b * s * width;
            v->out[1][(b * h + head) * s + row] =
                attend(v->out[0] + ((b * s + row) * h + head) * d, x + row * width + head * d, x + (h + shared) * d,
                       x + (h + g + shared) * d, width, a->causal ? row + 1 : s, d, a->scale);
        }
}

static void attention_cached(const op_values *v) {
    const cm3_op_attr *a = &v->of->attr;
    const int64_t fresh = a->sequence, h = a->heads, g = a->kv_heads, width = dim(v, 0, 1), d = width / (h + 2 * g),
                  p = dim(v, 1, 1);
    for (int64_t i = 0; i < dim(v, 0, 0); i++) {
        const int64_t b = i / fresh, position = (int64_t)v->in[3][b] + i % fresh;
        const double *x = v->in[0] + i * width;
        double *keys = v->in[1] + b * p * g * d, *values = v->in[2] + b * p * g * d;
        memcpy(keys + position * g * d, x + h * d, (size_t)(g * d) * sizeof *keys);
        memcpy(values + position * g * d, x + (h + g) * d, (size_t)(g * d) * sizeof *values);
        for (int64_t head = 0; head < h; head++)
            attend(v->out[0] + (i * h + head) * d, x + head * d, keys + head * g / h * d, values + head * g / h * d,
                   g * d, position + 1, d, a->scale);
    }
}

/* q and k of all rows in place, each row by its own position. */
static void rotate(const op_values *v, const double *positions) {
    const int64_t h = v->of->attr.heads, g = v->of->attr.kv_heads, width = dim(v, 0, 1), d = width / (h + 2 * g);
    for (int64_t i = 0; i < dim(v, 0, 0); i++)
        for (int64_t head = 0; head < h + g; head++)
            for (int64_t j = 0; j < d / 2; j++) {
                const double angle = positions[i] * pow(v->of->attr.theta, -2.0 * (double)j / (double)d);
                double *y = v->out[0] + i * width + head * d;
                const double low = y[j], high = y[j + d / 2];
                y[j] = low * cos(angle) - high * sin(angle);
                y[j + d / 2] = low * sin(angle) + high * cos(angle);
            }
}

static void qk_norm(const op_values *v) {
    const int64_t h = v->of->attr.heads, g = v->of->attr.kv_heads, width = dim(v, 0, 1), d = width / (h + 2 * g);
    for (int64_t i = 0; i < dim(v, 0, 0); i++) {
        memcpy(v->out[0] + i * width, v->in[0] + i * width, (size_t)width * sizeof(double));
        for (int64_t head = 0; head < h + g; head++) {
            double *y = v->out[0] + i * width + head * d, *stat = v->out[1] + (i * (h + g) + head) * 2;
            const double *gain = head < h ? v->in[1] + head * d : v->in[3] + (head - h) * d;
            const double *bias = head < h ? v->in[2] + head * d : v->in[4] + (head - h) * d;
            normalise(y, v->in[0] + i * width + head * d, d, true, v->of->attr.epsilon, &stat[0], &stat[1]);
            for (int64_t c = 0; c < d; c++) y[c] = y[c] * gain[c] + bias[c];
        }
    }
    if (v->in[5]) rotate(v, v->in[5]);
}

static void rotary(const op_values *v) {
    memcpy(v->out[0], v->in[0], (size_t)(dim(v, 0, 0) * dim(v, 0, 1)) * sizeof(double));
    rotate(v, v->in[1]);
}

static void swiglu(const op_values *v) {
    const int64_t f = dim(v, 0, 1) / 2;
    for (int64_t i = 0; i < dim(v, 0, 0); i++)
        for (int64_t c = 0; c < f; c++)
            v->out[0][i * f + c] = act(CM3_ACT_SILU, v->in[0][i * 2 * f + c]) * v->in[0][i * 2 * f + f + c];
}

static void activate(const op_values *v) {
    for (int64_t i = 0; i < cm3_shape_count(v->in_shape[0]); i++)
        v->out[0][i] = act(v->of->attr.activation, v->in[0][i]);
}

static void add(const op_values *v) {
    for (int64_t i = 0; i < cm3_shape_count(v->in_shape[0]); i++) v->out[0][i] = v->in[0][i] + v->in[1][i];
}

static void linear_cross_entropy(const op_values *v) {
    const int64_t n = dim(v, 0, 0), d = dim(v, 0, 1), vocabulary = dim(v, 1, 0);
    v->out[0][0] = 0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t target = (int64_t)v->in[2][i];
        double sum = 0, wanted = 0;
        for (int64_t t = 0; t < vocabulary; t++) {
            double logit = 0;
            for (int64_t c = 0; c < d; c++) logit += v->in[0][i * d + c] * v->in[1][t * d + c];
            sum += exp(logit);
            if (t == target) wanted = logit;
        }
        v->out[1][i] = target < 0 ? 0 : log(sum) - wanted;
        const double weight = v->in[4] ? v->in[4][i] : 1;
        if (target >= 0)
            v->out[0][0] += v->in[3][0] * weight * (v->out[1][i] + v->of->attr.z_loss * log(sum) * log(sum));
    }
}

const op_reference op_references_transformer[CM3_OP_COUNT] = {
    [CM3_OP_EMBED] = {.forward = embed},
    [CM3_OP_LAYER_NORM] = {.forward = layer_norm},
    [CM3_OP_RMS_NORM] = {.forward = rms_norm},
    [CM3_OP_LINEAR] = {.forward = linear},
    [CM3_OP_ATTENTION] = {.forward = attention},
    [CM3_OP_ATTENTION_CACHED] = {.forward = attention_cached, .changes = 1 << 1 | 1 << 2},
    [CM3_OP_QK_NORM] = {.forward = qk_norm},
    [CM3_OP_ROTARY] = {.forward = rotary},
    [CM3_OP_SWIGLU] = {.forward = swiglu},
    [CM3_OP_ACTIVATE] = {.forward = activate},
    [CM3_OP_ADD] = {.forward = add},
    [CM3_OP_LINEAR_CROSS_ENTROPY] = {.forward = linear_cross_entropy},
};
