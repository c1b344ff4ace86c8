/* Matrix products in the place of cuBLASLt: plain loops, sums in f32. */
#include "core/kernels/cuda/gemm.h"

#include "core/kernels/cuda/activation.h"

#include <vector>

static float at(const void *matrix, cm3_dtype type, int64_t i) {
    return type == CM3_BF16 ? to_float(((const bf16 *)matrix)[i]) : ((const float *)matrix)[i];
}

static void put(void *matrix, cm3_dtype type, int64_t i, float value) {
    if (type == CM3_BF16)
        ((bf16 *)matrix)[i] = from_float<bf16>(value);
    else
        ((float *)matrix)[i] = value;
}

static void multiply(const cm3__cuda_gemm *p) {
    std::vector<float> row((size_t)p->n);
    for (int64_t i = 0; i < p->m; i++) {
        for (int64_t j = 0; j < p->n; j++) row[(size_t)j] = p->bias ? at(p->bias, p->type, j) : 0.0f;
        for (int64_t q = 0; q < p->k; q++) {
            const float a = at(p->a, p->type, p->a_transposed ? q * p->m + i : i * p->k + q);
            for (int64_t j = 0; j < p->n; j++)
                row[(size_t)j] += a * at(p->b, p->type, p->b_transposed ? j * p->k + q : q * p->n + j);
        }
        for (int64_t j = 0; j < p->n; j++) {
            const int64_t to = i * p->n + j;
            float value = row[(size_t)j];
            if (p->pre) put(p->pre, p->type, to, value);
            value = activated(value, p->activation);
            if (p->residual) value += at(p->residual, p->type, to);
            if (p->accumulate) value += at(p->c, p->c_type, to);
            uint32_t *word = p->mask ? p->mask + i * CM3_MASK_WORDS(p->n) + j / 32 : nullptr, bit = 1u << j % 32;
            if (word && p->activation == CM3_ACT_RELU)
                *word = (j % 32 ? *word & ~bit : 0) | (value > 0 ? bit : 0);
            else if (word && !(*word & bit))
                value = 0;
            put(p->c, p->c_type, to, value);
        }
    }
}

extern "C" cm3_status cm3__cuda_gemm_run(const cm3__cuda_gemm *product) {
    const cm3__cuda_gemm p = *product;
    simt_queue([p] { multiply(&p); });
    return CM3_OK;
}
