#include "core/kernels/cpu/kernel.h"

#include <string.h>

static cm3_status check(const char *what, const int32_t *ids, int64_t n, int64_t rows) {
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= rows)
            return cm3_fail(CM3_ERR_SHAPE, "embed: %s %d at row %lld, expected 0 to %lld", what, ids[i], (long long)i,
                            (long long)rows - 1);
    return CM3_OK;
}

static cm3_status forward(const cm3_call *call) {
    const int64_t n = cm3__dim(&call->out[0], 0), d = cm3__dim(&call->out[0], 1);
    const float *table = call->in[0].data, *position_table = call->in[2].data;
    const int32_t *ids = call->in[1].data, *positions = call->in[3].data;
    float *y = call->out[0].data;
    CM3_TRY(check("id", ids, n, cm3__dim(&call->in[0], 0)));
    if (position_table) CM3_TRY(check("position", positions, n, cm3__dim(&call->in[2], 0)));
#pragma omp parallel for schedule(static) num_threads(cm3__threads(n, d))
    for (int64_t i = 0; i < n; i++) {
        const float *row = table + ids[i] * d;
        if (position_table) {
            const float *position = position_table + positions[i] * d;
            for (int64_t c = 0; c < d; c++) y[i * d + c] = row[c] + position[c];
        } else {
            memcpy(y + i * d, row, (size_t)d * sizeof *y);
        }
    }
    return CM3_OK;
}

/* Every thread adds all rows in order, for its own columns: no two write one value, and the order never changes. */
static void scatter(float *table, int64_t rows, const int32_t *ids, const float *grad, int64_t n, int64_t d,
                    bool accumulate) {
    enum { LINE = 16 };
#pragma omp parallel num_threads(cm3__threads((d + LINE - 1) / LINE, (n + rows) * LINE))
    {
        int64_t first, last;
        if (!accumulate) {
            cm3__my_share(rows, 1, &first, &last);
            memset(table + first * d, 0, (size_t)((last - first) * d) * sizeof *table);
#pragma omp barrier
        }
        cm3__my_share(d, LINE, &first, &last);
        for (int64_t i = 0; i < n; i++) {
            float *row = table + ids[i] * d;
            for (int64_t c = first; c < last; c++) row[c] += grad[i * d + c];
        }
    }
}

static cm3_status backward(const cm3_call *call) {
    const int64_t n = cm3__dim(&call->grad_out, 0), d = cm3__dim(&call->grad_out, 1);
    for (int i = 0; i <= 2; i += 2)
        if (call->grad_in[i].data)
            scatter(call->grad_in[i].data, cm3__dim(&call->in[i], 0), call->in[i + 1].data, call->grad_out.data, n, d,
                    call->accumulate[i]);
    return CM3_OK;
}

const cm3_kernel cm3__cpu_embed = {.forward = forward, .backward = backward};
