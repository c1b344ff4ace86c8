/* Matrix products by cuBLASLt. A product's plan (layouts, epilogue, algorithm) is made at its first run and kept. The
 * algorithm is the library's first proposal, never a race between several: the same product takes the same one in every
 * run, and gives the same bits. */
#include "core/kernels/cuda/gemm.h"

#include "core/kernels/cuda/cuda.h"
#include "core/kernels/cuda/device.h"
#include "core/kernels/cuda/stream.h"
#include "core/log.h"

#include <cublasLt.h>
#include <stdlib.h>
#include <string.h>

enum { WORKSPACE = 32 << 20, MOST_PLANS = 1024 };

/* What tells two plans apart. */
typedef struct plan_key {
    int64_t m, n, k;
    int type, c_type, a_transposed, b_transposed, reads_c, epilogue;
    uint32_t of_a, of_b, of_c, of_bias, of_aux; /* alignment, which decides what an algorithm may do */
    uint32_t nothing;                           /* where padding would be: keys are compared as bytes */
} plan_key;

typedef struct gemm_plan {
    plan_key key;
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t algorithm;
    bool exists; /* false: cuBLASLt has no algorithm for this epilogue */
} gemm_plan;

static cublasLtHandle_t handle;
static void *workspace;
static gemm_plan *plans[2 * MOST_PLANS]; /* open addressing */
static int plan_count;

static cm3_status failed(const char *what, cublasStatus_t status) {
    return cm3_fail(CM3_ERR_DEVICE, "cuBLASLt: %s: %s", what, cublasLtGetStatusString(status));
}

#define LT_TRY(what, call)                                                                                             \
    do {                                                                                                               \
        const cublasStatus_t status_ = (call);                                                                         \
        if (status_ != CUBLAS_STATUS_SUCCESS) return failed(what, status_);                                            \
    } while (0)

static cudaDataType_t type_of(cm3_dtype type) {
    return type == CM3_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

static cublasLtEpilogue_t epilogue_of(const cm3__cuda_gemm *p) {
    switch (p->activation) {
    case CM3_ACT_RELU:
        if (p->mask) return p->bias ? CUBLASLT_EPILOGUE_RELU_AUX_BIAS : CUBLASLT_EPILOGUE_RELU_AUX;
        return p->bias ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU;
    case CM3_ACT_GELU:
        if (p->pre) return p->bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
        return p->bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
    default:
        if (p->mask) return CUBLASLT_EPILOGUE_DRELU;
        return p->bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    }
}

static cm3_status open_library(void) {
    if (handle) return CM3_OK;
    LT_TRY("opening it", cublasLtCreate(&handle));
    workspace = cm3__device_memory.alloc(WORKSPACE);
    return workspace ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "no GPU memory for cuBLASLt's workspace");
}

/* --- plans ------------------------------------------------------------------------------------------------------- */

static const void *beside(const cm3__cuda_gemm *p) {
    return p->mask ? (const void *)p->mask : p->pre;
}

/* Where the epilogue's operands lie. The library also proposes by how they are aligned. */
static cm3_status point(const cm3__cuda_gemm *p, const gemm_plan *plan) {
    const void *aux = beside(p);
    if (p->bias)
        LT_TRY("its bias", cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p->bias,
                                                          sizeof p->bias));
    if (aux)
        LT_TRY(
            "its mask or second output",
            cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &aux, sizeof aux));
    return CM3_OK;
}

/* cuBLASLt's matrices are column-major. Read so, our row-major C (m,n) is an (n,m) matrix: op(B)^T op(A)^T, whose first
 * factor is what we call B. */
static cm3_status describe(const cm3__cuda_gemm *p, gemm_plan *made) {
    const cublasOperation_t first = p->b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N,
                            second = p->a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasLtEpilogue_t epilogue = (cublasLtEpilogue_t)made->key.epilogue;
    const int32_t aux_type = type_of(p->type);
    const int64_t mask_row = CM3_MASK_WORDS(p->n) * 32; /* in bits */
    LT_TRY("a product", cublasLtMatmulDescCreate(&made->product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    LT_TRY("its first factor",
           cublasLtMatmulDescSetAttribute(made->product, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first));
    LT_TRY("its second factor",
           cublasLtMatmulDescSetAttribute(made->product, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second));
    LT_TRY("its epilogue",
           cublasLtMatmulDescSetAttribute(made->product, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue));
    if (p->bias)
        LT_TRY("its bias", cublasLtMatmulDescSetAttribute(made->product, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &aux_type,
                                                          sizeof aux_type));
    if (p->pre) {
        LT_TRY("its second output",
               cublasLtMatmulDescSetAttribute(made->product, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &p->n, sizeof p->n));
        LT_TRY("its second output",
               cublasLtMatmulDescSetAttribute(made->product, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE, &aux_type,
                                              sizeof aux_type));
    }
    if (p->mask)
        LT_TRY("its mask", cublasLtMatmulDescSetAttribute(made->product, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD,
                                                          &mask_row, sizeof mask_row));
    const uint64_t b_rows = (uint64_t)(p->b_transposed ? p->k : p->n),
                   b_columns = (uint64_t)(p->b_transposed ? p->n : p->k);
    const uint64_t a_rows = (uint64_t)(p->a_transposed ? p->m : p->k),
                   a_columns = (uint64_t)(p->a_transposed ? p->k : p->m);
    LT_TRY("a layout", cublasLtMatrixLayoutCreate(&made->b, type_of(p->type), b_rows, b_columns, (int64_t)b_rows));
    LT_TRY("a layout", cublasLtMatrixLayoutCreate(&made->a, type_of(p->type), a_rows, a_columns, (int64_t)a_rows));
    LT_TRY("a layout", cublasLtMatrixLayoutCreate(&made->c, type_of(p->c_type), (uint64_t)p->n, (uint64_t)p->m, p->n));
    return point(p, made);
}

/* The largest power of two up to 16 that divides the address and the length of a row: what an algorithm may assume. */
static uint32_t alignment(const void *address, int64_t row_bytes) {
    const uintptr_t bits = (uintptr_t)address | (uintptr_t)row_bytes | 16;
    return (uint32_t)(bits & (~bits + 1));
}

static cm3_status choose(gemm_plan *made) {
    const size_t most = WORKSPACE;
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t found;
    int count = 0;
    LT_TRY("a preference", cublasLtMatmulPreferenceCreate(&preference));
    const struct {
        cublasLtMatmulPreferenceAttributes_t what;
        const void *value;
        size_t bytes;
    } wishes[] = {{CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most, sizeof most},
                  {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &made->key.of_b, sizeof made->key.of_b},
                  {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &made->key.of_a, sizeof made->key.of_a},
                  {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &made->key.of_c, sizeof made->key.of_c},
                  {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &made->key.of_c, sizeof made->key.of_c}};
    for (size_t i = 0; i < sizeof wishes / sizeof *wishes; i++)
        LT_TRY("a preference",
               cublasLtMatmulPreferenceSetAttribute(preference, wishes[i].what, wishes[i].value, wishes[i].bytes));
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle, made->product, made->b, made->a, made->c,
                                                                 made->c, preference, 1, &found, &count);
    cublasLtMatmulPreferenceDestroy(preference);
    made->exists = status == CUBLAS_STATUS_SUCCESS && count > 0;
    if (made->exists) made->algorithm = found.algo;
    if (!made->exists && made->key.epilogue != CUBLASLT_EPILOGUE_DEFAULT)
        cm3_log_info("cuBLASLt has no algorithm for a product of (%lld, %lld, %lld) with epilogue %d: it is a pass of "
                     "its own",
                     (long long)made->key.m, (long long)made->key.n, (long long)made->key.k, made->key.epilogue);
    return CM3_OK;
}

static void free_plan(gemm_plan *plan) {
    if (!plan) return;
    if (plan->product) cublasLtMatmulDescDestroy(plan->product);
    if (plan->a) cublasLtMatrixLayoutDestroy(plan->a);
    if (plan->b) cublasLtMatrixLayoutDestroy(plan->b);
    if (plan->c) cublasLtMatrixLayoutDestroy(plan->c);
    free(plan);
}

static size_t hash(const plan_key *key) {
    const int64_t parts[] = {key->m,
                             key->n,
                             key->k,
                             key->type,
                             key->c_type,
                             key->reads_c,
                             key->of_a,
                             key->a_transposed,
                             key->b_transposed,
                             key->epilogue,
                             key->of_b,
                             key->of_c,
                             key->of_bias,
                             key->of_aux};
    uint64_t h = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        h = (h ^ (uint64_t)parts[i]) * 0x9E3779B97F4A7C15u, h ^= h >> 29;
    return (size_t)h;
}

/* The plan of a product, made if it is new. */
static cm3_status find(const cm3__cuda_gemm *p, gemm_plan **found) {
    const int64_t size = (int64_t)cm3_dtype_size(p->type), c_size = (int64_t)cm3_dtype_size(p->c_type);
    const plan_key key = {.m = p->m,
                          .n = p->n,
                          .k = p->k,
                          .type = p->type,
                          .c_type = p->c_type,
                          .a_transposed = p->a_transposed,
                          .b_transposed = p->b_transposed,
                          .reads_c = p->accumulate || p->residual,
                          .epilogue = epilogue_of(p),
                          .of_a = alignment(p->a, (p->a_transposed ? p->m : p->k) * size),
                          .of_b = alignment(p->b, (p->b_transposed ? p->k : p->n) * size),
                          .of_c = alignment((const void *)((uintptr_t)p->residual | (uintptr_t)p->c), p->n * c_size),
                          .of_bias = alignment(p->bias, 0),
                          .of_aux = alignment(beside(p), 0)};
    _Static_assert(sizeof key == 3 * sizeof(int64_t) + 6 * sizeof(int) + 6 * sizeof(uint32_t), "without padding");
    size_t slot = hash(&key) % (2 * MOST_PLANS);
    for (; plans[slot]; slot = (slot + 1) % (2 * MOST_PLANS))
        if (!memcmp(&plans[slot]->key, &key, sizeof key)) {
            *found = plans[slot];
            return CM3_OK;
        }
    if (plan_count == MOST_PLANS) { /* of products that will hardly come again: the lengths of prompts, say */
        for (int i = 0; i < 2 * MOST_PLANS; i++) free_plan(plans[i]), plans[i] = NULL;
        plan_count = 0;
        slot = hash(&key) % (2 * MOST_PLANS);
    }
    gemm_plan *made = calloc(1, sizeof *made);
    if (!made) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a matrix product's plan");
    made->key = key;
    cm3_status status = describe(p, made);
    if (status == CM3_OK) status = choose(made);
    if (status != CM3_OK) {
        free_plan(made);
        return status;
    }
    plans[slot] = *found = made;
    plan_count++;
    return CM3_OK;
}

/* --- running ----------------------------------------------------------------------------------------------------- */

cm3_status cm3__cuda_gemm_run(const cm3__cuda_gemm *p) {
    if (p->m <= 0 || p->n <= 0) return CM3_OK;
    CM3_TRY(open_library());
    gemm_plan *plan = NULL;
    CM3_TRY(find(p, &plan));
    if (!plan->exists) {
        if (!p->bias && !p->mask && p->activation == CM3_ACT_NONE)
            return cm3_fail(CM3_ERR_DEVICE, "cuBLASLt has no algorithm for a product of (%lld, %lld, %lld)",
                            (long long)p->m, (long long)p->n, (long long)p->k);
        cm3__cuda_gemm plain = *p; /* its epilogue as a pass of its own */
        plain.bias = NULL;
        plain.pre = NULL;
        plain.mask = NULL;
        plain.activation = CM3_ACT_NONE;
        CM3_TRY(cm3__cuda_gemm_run(&plain));
        return cm3__cuda_epilogue(p);
    }
    CM3_TRY(point(p, plan));
    const float one = 1, beta = plan->key.reads_c ? 1 : 0;
    const void *c = p->residual ? p->residual : p->c;
    LT_TRY("a product", cublasLtMatmul(handle, plan->product, &one, p->b, plan->b, p->a, plan->a, &beta, c, plan->c,
                                       p->c, plan->c, &plan->algorithm, workspace, WORKSPACE, cm3__cuda_stream()));
    return CM3_OK;
}
