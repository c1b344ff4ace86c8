/* Captions -> byte-level BPE. Only training captions: the validation split stays unseen in every respect. */
#include "train/stages/stage.h"

#include "core/log.h"
#include "data/text/bpe.h"

#include <stdlib.h>

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

static cm3_status train(const cm3_recipe *recipe, const cm3_source *source, cm3_bpe **bpe) {
    captions c = {.source = source};
    const cm3_status status = cm3_bpe_train(next_caption, &c, (size_t)recipe->text_tokenizer.vocabulary,
                                            (uint64_t)recipe->text_tokenizer.min_frequency, bpe);
    free(c.text);
    return status;
}

static cm3_status save(const cm3_recipe *recipe, const cm3_source *source, const cm3_bpe *bpe) {
    const cm3_path path = cm3_stage_path(recipe, "text-tokenizer", "tokenizer.json");
    const cm3_status status = cm3_bpe_save(bpe, path.text);
    if (status == CM3_OK)
        cm3_log_info("text-tokenizer: %zu tokens (at most %lld), from %lld pairs: %s", cm3_bpe_size(bpe),
                     (long long)recipe->text_tokenizer.vocabulary, (long long)cm3_source_count(source), path.text);
    return status;
}

cm3_status cm3_stage_text_tokenizer(const cm3_stage_context *stage) {
    const bool first = cm3_stage_is_first(stage); /* the others wait */
    cm3_source *source = NULL;
    cm3_bpe *bpe = NULL;
    cm3_status status = first ? cm3_source_open(&stage->recipe->source, &source) : CM3_OK;
    if (first && status == CM3_OK) status = train(stage->recipe, source, &bpe);
    status = cm3_comm_agree_status(stage->comm, status);
    if (status == CM3_OK) status = cm3_stage_begin(stage);
    if (status == CM3_OK)
        status = cm3_comm_agree_status(stage->comm, first ? save(stage->recipe, source, bpe) : CM3_OK);
    cm3_bpe_free(bpe);
    cm3_source_close(source);
    return status;
}
