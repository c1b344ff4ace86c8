#include "train/stages/token_pages.h"

#include "train/state.h"

#include <stdlib.h>
#include <string.h>

enum { PARTS = 3 }; /* ids, targets, positions */

/* Of what a page sends: with weights and scale. */
static size_t sent_words(const cm3_token_pages *p) {
    return (size_t)((PARTS + 1) * p->tokens + 1);
}

static size_t page_words(const cm3_token_pages *p) {
    return sent_words(p) + (size_t)(p->tokens + 1);
}

static size_t page_count(const cm3_token_pages *p) {
    return (size_t)(CM3_STEPS_QUEUED * p->micro_batches);
}

cm3_status cm3_token_pages_open(const cm3_memory *memory, int64_t tokens, int64_t micro_batches, cm3_token_pages *p) {
    *p = (cm3_token_pages){.memory = memory, .tokens = tokens, .micro_batches = micro_batches};
    const size_t count = page_count(p), words = page_words(p);
    p->ids = memory->alloc(sent_words(p) * sizeof *p->ids);
    p->pinned = memory->alloc_pinned(count * words * sizeof(int32_t));
    p->classes = calloc(count, (size_t)tokens);
    p->pages = calloc(count, sizeof *p->pages);
    if (!p->ids || !p->pinned || !p->classes || !p->pages)
        return cm3_fail(CM3_ERR_MEMORY, "out of memory for a batch of tokens");
    p->targets = p->ids + tokens;
    p->positions = p->targets + tokens;
    p->weights = (float *)(p->positions + tokens);
    p->scale = p->weights + tokens;
    for (size_t i = 0; i < count; i++) {
        int32_t *page = (int32_t *)p->pinned + i * words;
        float *weights = (float *)(page + PARTS * tokens);
        p->pages[i] = (cm3_token_page){.tokens = page,
                                       .weights = weights,
                                       .losses = weights + tokens + 1,
                                       .classes = p->classes + i * (size_t)tokens};
    }
    return CM3_OK;
}

void cm3_token_pages_close(cm3_token_pages *p) {
    if (!p->memory) return;
    p->memory->free(p->ids, sent_words(p) * sizeof *p->ids);
    p->memory->free_pinned(p->pinned, page_count(p) * page_words(p) * sizeof(int32_t));
    free(p->classes);
    free(p->pages);
    *p = (cm3_token_pages){0};
}

cm3_token_page *cm3_token_pages_get(const cm3_token_pages *p, int64_t step, int64_t micro) {
    return &p->pages[step % CM3_STEPS_QUEUED * p->micro_batches + micro];
}

void cm3_token_pages_fill(const cm3_token_pages *p, cm3_token_page *page, const cm3_batch *batch) {
    const size_t bytes = (size_t)p->tokens * sizeof *page->tokens;
    memcpy(page->tokens, batch->inputs, bytes);
    memcpy(page->tokens + p->tokens, batch->targets, bytes);
    memcpy(page->tokens + 2 * p->tokens, batch->positions, bytes);
    memcpy(page->classes, batch->classes, (size_t)p->tokens);
    memcpy(page->counts, batch->counts, sizeof page->counts);
    memcpy(page->weights, batch->weights, bytes);
    page->weight = batch->weight;
}

cm3_status cm3_token_pages_send(const cm3_token_pages *p, cm3_token_page *page, float scale) {
    page->weights[p->tokens] = scale;
    return p->memory->upload_async(p->ids, page->tokens, sent_words(p) * sizeof *page->tokens);
}

cm3_status cm3_token_pages_fetch(const cm3_token_pages *p, cm3_token_page *page, const cm3_var *loss,
                                 const cm3_var *per_token) {
    if (loss) CM3_TRY(p->memory->download_async(page->losses, cm3_var_tensor(loss)->data, sizeof *page->losses));
    const cm3_tensor *losses = cm3_var_tensor(per_token);
    return p->memory->download_async(page->losses + 1, losses->data, cm3_tensor_bytes(losses));
}
