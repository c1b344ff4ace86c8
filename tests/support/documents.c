#include "tests/support/documents.h"

#include <string.h>

bool documents_equal(const cm3_document *a, const cm3_document *b) {
    if (a->segments.count != b->segments.count) return false;
    for (size_t i = 0; i < a->segments.count; i++) {
        const cm3_segment *x = &a->segments.items[i], *y = &b->segments.items[i];
        if (x->modality != y->modality || x->count != y->count) return false;
        if (x->count && memcmp(cm3_segment_ids(a, x), cm3_segment_ids(b, y), x->count * sizeof(int32_t)) != 0)
            return false;
    }
    return true;
}

cm3_status document_of_ids(const cm3_vocab *vocab, const int32_t *ids, size_t count, cm3_document *document) {
    cm3_tokens source = {0};
    size_t at = 0;
    cm3_status status = cm3_tokens_unmask(vocab, ids, count, &source);
    if (status == CM3_OK) status = cm3_document_next(vocab, source.items, source.count, &at, document);
    CM3_LIST_FREE(&source);
    return status;
}

cm3_status random_document(cm3_rng *rng, const cm3_vocab *vocab, cm3_document *document) {
    int32_t ids[64];
    cm3_document_clear(document);
    const uint64_t segments = 1 + cm3_rng_below(rng, 6);
    for (uint64_t s = 0; s < segments; s++) {
        const bool image = cm3_rng_below(rng, 2);
        const int32_t rows = 1 + (int32_t)cm3_rng_below(rng, 8), columns = 1 + (int32_t)cm3_rng_below(rng, 8),
                      limit = vocab->region[image ? CM3_REGION_IMAGE : CM3_REGION_TEXT].count;
        for (int32_t k = 0; k < rows * columns; k++) ids[k] = (int32_t)cm3_rng_below(rng, (uint64_t)limit);
        CM3_TRY(image ? cm3_document_add_image(document, ids, rows, columns)
                      : cm3_document_add_text(document, ids, (size_t)(rows * columns)));
    }
    return CM3_OK;
}
