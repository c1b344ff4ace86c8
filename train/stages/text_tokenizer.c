/* Captions -> byte-level BPE. Only training captions: validation ones stay unseen in every respect. */
#include "train/stages/stage.h"

#include "core/file.h"
#include "core/log.h"
#include "data/text/bpe.h"

#include <stdlib.h>

static const char *const depends_on[] = {"source", "text_tokenizer"};
enum { DEPENDS = 2 };

typedef struct captions {
    const cm3_source *source;
    int64_t next;
    char *text; /* the last one given */
} captions;

static cm3_status next_caption(void *context, const char **text, size_t *length) {
    captions *c = context;
    free(c->text);
    c->text = NULL;
    *text = NULL;
    while (c->next < cm3_source_count(c->source) && cm3_source_split(c->source, c->next) != CM3_SPLIT_TRAIN) c->next++;
    if (c->next == cm3_source_count(c->source)) return CM3_OK;
    CM3_TRY(cm3_source_text(c->source, c->next++, &c->text, length));
    *text = c->text;
    return CM3_OK;
}

static cm3_status train(const cm3_recipe *recipe, const char *path) {
    cm3_source *source;
    CM3_TRY(cm3_source_open(&recipe->source, &source));
    captions c = {.source = source};
    cm3_bpe *bpe = NULL;
    cm3_status status = cm3_bpe_train(next_caption, &c, (size_t)recipe->text_tokenizer.vocabulary,
                                      (uint64_t)recipe->text_tokenizer.min_frequency, &bpe);
    if (status == CM3_OK) status = cm3_bpe_save(bpe, path);
    if (status == CM3_OK)
        cm3_log_info("text-tokenizer: %zu tokens of %lld wanted, from %lld pairs: %s", cm3_bpe_size(bpe),
                     (long long)recipe->text_tokenizer.vocabulary, (long long)cm3_source_count(source), path);
    cm3_bpe_free(bpe);
    free(c.text);
    cm3_source_close(source);
    return status;
}

cm3_status cm3_stage_text_tokenizer(const cm3_run *run) {
    const cm3_hash none = {0};
    cm3_stage_state state;
    CM3_TRY(cm3_stage_open(run, "text-tokenizer", depends_on, DEPENDS, none, &state));
    char *path = cm3_stage_path(run->recipe, "text-tokenizer", "tokenizer.json");
    if (!path) return cm3_fail(CM3_ERR_MEMORY, "no memory for a path");
    cm3_status status = CM3_OK;
    const bool known = state == CM3_STAGE_SAME && cm3_path_exists(path);
    if (known && cm3_run_is_first(run)) cm3_log_info("text-tokenizer: up to date");
    if (!known) {
        status = cm3_comm_agree_status(run->comm, cm3_run_is_first(run) ? train(run->recipe, path) : CM3_OK);
        if (status == CM3_OK) status = cm3_stage_note(run, "text-tokenizer", depends_on, DEPENDS, none);
    }
    free(path);
    return status;
}
