#include "tests/support/small_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

void small_vocab(cm3_vocab *vocab) {
    const cm3_vocab_sizes sizes = {.text = SMALL_TEXT, .image = SMALL_IMAGE, .sentinels = 16, .multiple = 64};
    assert_int_equal(cm3_vocab_build(&sizes, vocab), CM3_OK);
}

cm3_store_info small_info(const cm3_vocab *vocab) {
    return (cm3_store_info){.inputs = {.text_tokenizer = vocab->text_tokenizer,
                                       .image_tokenizer = vocab->image_tokenizer,
                                       .image_size = 32,
                                       .fit = "crop",
                                       .background = "white",
                                       .resize = "bicubic"},
                            .image_codebook = SMALL_IMAGE,
                            .text_vocabulary = SMALL_TEXT};
}

int64_t small_sample(int64_t i, int32_t text[12], int32_t codes[SMALL_CODES]) {
    cm3_rng rng = cm3_rng_stream(11, CM3_RNG_TEST, 0, (uint64_t)i);
    const int64_t count = 1 + (int64_t)cm3_rng_below(&rng, 11);
    for (int64_t j = 0; j < count; j++) text[j] = (int32_t)cm3_rng_below(&rng, SMALL_TEXT);
    for (int64_t j = 0; j < SMALL_CODES; j++) codes[j] = (int32_t)cm3_rng_below(&rng, SMALL_IMAGE);
    return count;
}

void small_document(int64_t i, cm3_document *document) {
    int32_t text[12], codes[SMALL_CODES];
    const int64_t count = small_sample(i, text, codes);
    cm3_document_clear(document);
    assert_int_equal(cm3_document_add_text(document, text, (size_t)count), CM3_OK);
    assert_int_equal(cm3_document_add_image(document, codes, SMALL_ROWS, SMALL_COLUMNS), CM3_OK);
}

bool small_validation(int64_t i) {
    return i % 5 == 3;
}

void small_store_write(const char *name, int64_t samples, const cm3_vocab *vocab, char path[512]) {
    snprintf(path, 512, "%s/%s-%ld.h5", CM3_BINARY_DIR, name, (long)getpid());
    const cm3_store_info info = small_info(vocab);
    cm3_store_writer *writer;
    cm3_document document = {0};
    assert_int_equal(cm3_store_create(path, &info, &writer), CM3_OK);
    for (int64_t i = 0; i < samples; i++) {
        char label[32];
        small_document(i, &document);
        snprintf(label, sizeof label, "sample-%ld", (long)i);
        const cm3_store_sample sample = {
            .document = &document, .strings = {label, "a caption"}, .validation = small_validation(i)};
        assert_int_equal(cm3_store_add(writer, &sample), CM3_OK);
    }
    cm3_document_free(&document);
    assert_int_equal(cm3_store_commit(writer), CM3_OK);
}

cm3_data_config small_config(void) {
    return (cm3_data_config){
        .context = 100, .batch = 6, .seed = 5, .mask_mean = 1, .mask_max = 511, .mask_whole = 0.5, .prefetch = 3};
}
