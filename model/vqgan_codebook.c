#include "model/vqgan_codebook.h"

#include "core/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct cm3_codebook {
    const cm3_vqgan *model;
    uint64_t seed;
    int64_t codes, width;
    int32_t *last_used;
    int32_t *restarted; /* list of codes */
    int64_t *counts;
    float *candidates; /* (codes, width) */
};

cm3_status cm3_codebook_create(const cm3_vqgan *model, uint64_t seed, cm3_codebook **out) {
    const cm3_vqgan_config *config = cm3_vqgan_get_config(model);
    cm3_codebook *book = calloc(1, sizeof *book);
    *out = NULL;
    if (book) {
        const size_t codes = (size_t)config->codes;
        *book = (cm3_codebook){.model = model,
                               .seed = seed,
                               .codes = config->codes,
                               .width = config->code_width,
                               .last_used = calloc(codes, sizeof *book->last_used),
                               .restarted = calloc(codes, sizeof *book->restarted),
                               .counts = calloc(codes, sizeof *book->counts),
                               .candidates = calloc(codes * (size_t)config->code_width, sizeof *book->candidates)};
    }
    if (!book || !book->last_used || !book->restarted || !book->counts || !book->candidates) {
        cm3_codebook_free(book);
        return cm3_fail(CM3_ERR_MEMORY, "out of memory to care for a codebook of %lld codes", (long long)config->codes);
    }
    *out = book;
    return CM3_OK;
}

void cm3_codebook_free(cm3_codebook *book) {
    if (!book) return;
    free(book->last_used);
    free(book->restarted);
    free(book->counts);
    free(book->candidates);
    free(book);
}

int32_t *cm3_codebook_last_used(cm3_codebook *book) {
    return book->last_used;
}

/* Which of all ranks' `total` vectors the i-th dead code takes: different ones, as long as there are enough. */
static int64_t choose(const cm3_codebook *book, int64_t step, int64_t i, int64_t total) {
    const uint64_t order =
        (uint64_t)step + ((uint64_t)(i / total) << 40); /* another order for every round over the vectors */
    return (int64_t)cm3_rng_permute(book->seed, CM3_RNG_RESTART, order, (uint64_t)(i % total), (uint64_t)total);
}

/* Gives the listed codes vectors of all ranks. The rank that has a vector brings it, the others bring zeros: the sum is
 * exact. */
static cm3_status restart(cm3_codebook *book, cm3_comm *comm, int64_t step, const float *z, int64_t rows,
                          int64_t dead) {
    const int64_t width = book->width, first = rows * cm3_comm_rank(comm), total = rows * cm3_comm_size(comm);
    const size_t bytes = (size_t)width * sizeof(float);
    const cm3_params *params = cm3_vqgan_params(book->model);
    const cm3_param *param = cm3_params_get(params, CM3_VQGAN_CODEBOOK);
    const cm3_memory *memory = cm3_params_tape_options(params).backend->memory;
    float *values = cm3_params_group(params, param->group)->there.values + param->offset;
    if (dead == 0) return CM3_OK;
    if (total == 0) return cm3_fail(CM3_ERR_INTERNAL, "codes are started again without a vector to take");
    memset(book->candidates, 0, (size_t)(dead * width) * sizeof *book->candidates);
    for (int64_t i = 0; i < dead; i++) {
        const int64_t row = choose(book, step, i, total) - first;
        if (row >= 0 && row < rows) CM3_TRY(memory->download(book->candidates + i * width, z + row * width, bytes));
    }
    CM3_TRY(cm3_comm_reduce_f32(comm, book->candidates, dead * width, CM3_REDUCE_SUM));
    for (int64_t i = 0; i < dead; i++) {
        CM3_TRY(memory->upload(values + book->restarted[i] * width, book->candidates + i * width, bytes));
        book->last_used[book->restarted[i]] = (int32_t)step;
    }
    return CM3_OK;
}

cm3_status cm3_codebook_start(cm3_codebook *book, cm3_comm *comm, const float *z, int64_t rows) {
    for (int64_t k = 0; k < book->codes; k++) book->restarted[k] = (int32_t)k;
    return restart(book, comm, 0, z, rows, book->codes);
}

static cm3_status count_codes(cm3_codebook *book, cm3_comm *comm, const int32_t *codes, int64_t rows) {
    memset(book->counts, 0, (size_t)book->codes * sizeof *book->counts);
    for (int64_t i = 0; i < rows; i++) book->counts[codes[i]]++;
    return cm3_comm_reduce_i64(comm, book->counts, book->codes, CM3_REDUCE_SUM);
}

static void describe_usage(const cm3_codebook *book, cm3_codebook_report *report) {
    double total = 0, entropy = 0;
    report->used = 0;
    for (int64_t k = 0; k < book->codes; k++) total += (double)book->counts[k];
    for (int64_t k = 0; k < book->codes; k++) {
        if (!book->counts[k]) continue;
        const double p = (double)book->counts[k] / total;
        report->used++;
        entropy -= p * log2(p);
    }
    report->perplexity = exp2(entropy);
}

cm3_status cm3_codebook_update(cm3_codebook *book, cm3_comm *comm, int64_t step, const float *z, const int32_t *codes,
                               int64_t rows, bool restart_dead, cm3_codebook_report *report) {
    const int64_t dead_steps = cm3_vqgan_get_config(book->model)->dead_steps;
    int64_t dead = 0;
    CM3_TRY(count_codes(book, comm, codes, rows));
    for (int64_t k = 0; k < book->codes; k++) {
        if (book->counts[k])
            book->last_used[k] = (int32_t)step;
        else if (restart_dead && step - book->last_used[k] > dead_steps)
            book->restarted[dead++] = (int32_t)k;
    }
    describe_usage(book, report);
    report->restarted = dead;
    report->restarted_codes = book->restarted;
    return restart(book, comm, step, z, rows, dead);
}
