/* Any ids: they can be unmasked, parsed and printed; what is parsed renders to tokens that parse to the same document;
 * and masking a source that holds no masks can be undone exactly. */
#include "data/mask.h"
#include "tests/support/documents.h"

#include <stdlib.h>
#include <string.h>

enum { LENGTH_MAX = 4096 };

static void need(bool truth) {
    if (!truth) abort();
}

static bool equal(const cm3_document *a, const cm3_document *b) {
    bool same = a->segments.count == b->segments.count && a->token_ids.count == b->token_ids.count;
    for (size_t i = 0; same && i < a->segments.count; i++)
        same = a->segments.items[i].modality == b->segments.items[i].modality &&
               a->segments.items[i].count == b->segments.items[i].count;
    return same && (a->token_ids.count == 0 ||
                    memcmp(a->token_ids.items, b->token_ids.items, a->token_ids.count * sizeof(int32_t)) == 0);
}

static void check_documents(const cm3_vocab *vocab, const int32_t *ids, size_t count) {
    for (size_t at = 0; at < count;) {
        cm3_document document, again;
        cm3_tokens rendered = {0};
        const size_t before = at;
        need(cm3_document_next(vocab, ids, count, &at, &document) == CM3_OK && at > before);
        if (cm3_document_render(&document, vocab, &rendered) ==
            CM3_OK) { /* unless it has more blanks than there are sentinels */
            size_t from = 0;
            need(cm3_document_next(vocab, rendered.items, rendered.count, &from, &again) == CM3_OK);
            need(equal(&document, &again));
            cm3_document_free(&again);
        }
        CM3_LIST_FREE(&rendered);
        cm3_document_free(&document);
    }
}

static void check_masking(const cm3_vocab *vocab, const int32_t *ids, size_t count, uint64_t seed) {
    static int32_t source[LENGTH_MAX], out[LENGTH_MAX];
    static cm3_mask_spans masks;
    int64_t available = 0;
    for (size_t i = 0; i < count; i++)
        if (cm3_vocab_class(vocab, ids[i]) != CM3_TOKEN_SENTINEL && !cm3_vocab_is(vocab, CM3_REGION_EOSS, ids[i]))
            source[available++] = ids[i];
    const cm3_mask_config config = {.mean = (double)(seed % 7), .min = (int64_t)(seed % 5), .max = 512, .whole = 0.5};
    cm3_rng rng = cm3_rng_stream(seed, CM3_RNG_TEST, 0, 0);
    cm3_mask_block block = {(int64_t)count, source, available, out, 0};
    need(cm3_mask_tokens(&config, vocab, &rng, &block, &masks) == CM3_OK);
    need(block.count <= block.length && masks.source <= available);
    cm3_tokens back = {0};
    need(cm3_tokens_unmask(vocab, out, (size_t)block.count, &back) == CM3_OK);
    need(back.count == (size_t)masks.source &&
         (back.count == 0 || memcmp(back.items, source, back.count * sizeof *source) == 0));
    CM3_LIST_FREE(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cm3_vocab vocab;
    const cm3_vocab_sizes sizes = {.text = 100, .image = 64, .sentinels = 8, .multiple = 32};
    if (size == 0 || size > LENGTH_MAX || cm3_vocab_build(&sizes, &vocab) != CM3_OK) return 0;
    static int32_t ids[LENGTH_MAX];
    for (size_t i = 0; i < size; i++)
        ids[i] = data[i] == 0xff ? INT32_MIN : (int32_t)data[i] - 4; /* some lie outside */
    cm3_tokens source = {0};
    need(cm3_tokens_unmask(&vocab, ids, size, &source) == CM3_OK);
    check_documents(&vocab, ids, size);
    check_documents(&vocab, source.items, source.count);
    check_masking(&vocab, ids, size, data[0]);
    char *text;
    size_t length;
    FILE *file = open_memstream(&text, &length);
    if (!file) return 0;
    need(cm3_tokens_print(file, &vocab, ids, size, NULL) == CM3_OK);
    fclose(file);
    free(text);
    CM3_LIST_FREE(&source);
    return 0;
}
