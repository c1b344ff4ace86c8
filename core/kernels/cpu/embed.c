#include "core/kernels/cpu/kernel.h"

#include <string.h>

static cm3_status check(const char *what, const int32_t *ids, int64_t n, int64_t rows) {
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= rows)
            return cm3_fail(CM3_ERR_SHAPE, "embed: %s %d at row %lld, expected 0 to %lld", what, ids[i], (long long)i,
                            (long long)rows - 1);
    return CM3_OK;
}

static void look_up(const void *context, int64_t first, int64_t last) {
    const cm3_call *call = context;
    const int64_t d = cm3__dim(&call->out[0], 1);
    const float *table = call->in[0].data, *position_table = call->in[2].data;
    const int32_t *ids = call->in[1].data, *positions = call->in[3].data;
    float *y = call->out[0].data;
    for (int64_t i = first; i < last; i++) {
        const float *row = table + ids[i] * d;
        if (position_table) {
            const float *position = position_table + positions[i] * d;
            for (int64_t c = 0; c < d; c++) y[i * d + c] = row[c] + position[c];
        } else {
            memcpy(y + i * d, row, (size_t)d * sizeof *y);
        }
    }
}

static cm3_status forward(const cm3_call *call) {
    const int64_t n = cm3__dim(&call->out[0], 0), d = cm3__dim(&call->out[0], 1);
    CM3_TRY(check("id", call->in[1].data, n, cm3__dim(&call->in[0], 0)));
    if (call->in[2].data) CM3_TRY(check("position", call->in[3].data, n, cm3__dim(&call->in[2], 0)));
    cm3_parallel_for(n, cm3__grain(d), look_up, call);
    return CM3_OK;
}

typedef struct scatter {
    float *table; /* (rows, d) */
    const int32_t *ids;
    const float *grad; /* (n, d) */
    int64_t rows, n, d;
    bool accumulate;
} scatter;

/* Columns [first, last): all rows are added in order, so no two pieces write one value, and the order never changes. */
static void scatter_columns(const void *context, int64_t first, int64_t last) {
    const scatter *s = context;
    const size_t bytes = (size_t)(last - first) * sizeof *s->table;
    for (int64_t r = 0; r < s->rows && !s->accumulate; r++) memset(s->table + r * s->d + first, 0, bytes);
    for (int64_t i = 0; i < s->n; i++) {
        float *row = s->table + s->ids[i] * s->d;
        for (int64_t c = first; c < last; c++) row[c] += s->grad[i * s->d + c];
    }
}

static cm3_status backward(const cm3_call *call) {
    enum { COLUMNS = 64 };
    for (int i = 0; i <= 2; i += 2) {
        const scatter s = {.table = call->grad_in[i].data,
                           .ids = call->in[i + 1].data,
                           .grad = call->grad_out.data,
                           .rows = cm3__dim(&call->in[i], 0),
                           .n = cm3__dim(&call->grad_out, 0),
                           .d = cm3__dim(&call->grad_out, 1),
                           .accumulate = call->accumulate[i]};
        if (s.table) cm3_parallel_for(s.d, COLUMNS, scatter_columns, &s);
    }
    return CM3_OK;
}

const cm3_kernel cm3__cpu_embed = {.forward = forward, .backward = backward};
