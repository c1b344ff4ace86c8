#include "train/token_store.h"

#include "data/image/image.h"
#include "train/run_folder.h"

#include <stdlib.h>
#include <string.h>

cm3_store_inputs cm3_token_store_inputs(const cm3_recipe *recipe, const cm3_vocab *vocab) {
    const cm3_source_config *source = &recipe->source;
    cm3_colour colour = {255, 255, 255};
    if (source->background && *source->background) cm3_colour_parse(source->background, &colour);
    cm3_store_inputs inputs = {.text_tokenizer = vocab->text_tokenizer,
                               .image_tokenizer = vocab->image_tokenizer,
                               .image_size = source->image_size,
                               .resize = CM3_IMAGE_RESIZE};
    snprintf(inputs.fit, sizeof inputs.fit, "%s", cm3_fit_names[source->fit]);
    snprintf(inputs.background, sizeof inputs.background, "#%02x%02x%02x", colour.red, colour.green, colour.blue);
    return inputs;
}

cm3_status cm3_token_store_open(const cm3_recipe *recipe, const cm3_vocab *vocab, cm3_store **store) {
    const cm3_path path = cm3_stage_path(recipe, "tokenize", "store.h5");
    CM3_TRY(cm3_store_open(path.text, recipe->pretrain.data.memory << 20, store));
    const cm3_store_inputs inputs = cm3_token_store_inputs(recipe, vocab);
    const cm3_status status = cm3_store_check_inputs(*store, &inputs);
    if (status == CM3_OK) return CM3_OK;
    cm3_store_close(*store);
    *store = NULL;
    return status;
}

cm3_status cm3_token_store_pair_codes(cm3_store *store, int64_t index, int64_t count, int32_t *codes) {
    cm3_document document = {0};
    cm3_status status = cm3_store_read(store, index, (cm3_range){1, 2}, &document);
    const cm3_segment *segments = document.segments.items;
    if (status == CM3_OK && (document.segments.count != 2 || segments[0].modality != CM3_MODALITY_TEXT ||
                             segments[1].modality != CM3_MODALITY_IMAGE || (int64_t)segments[1].count != count))
        status = cm3_fail(CM3_ERR_FORMAT, "%s: sample %lld is not a text and an image of %lld codes",
                          cm3_store_path(store), (long long)index, (long long)count);
    if (status == CM3_OK) memcpy(codes, cm3_segment_ids(&document, &segments[1]), (size_t)count * sizeof *codes);
    cm3_document_free(&document);
    return status;
}
