/* Any bytes as a tokenizer.json: refused with a message, or a tokenizer that gives every text back. */
#include "core/status.h"
#include "data/text/bpe.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition) {
    if (!condition) abort();
}

static void round_trip(const cm3_bpe *bpe, cm3_bpe_encoder *encoder, const char *text, size_t length) {
    int32_t *ids = malloc(length * sizeof *ids + 1);
    char *back = malloc(length + 1);
    size_t count = 0, back_length = 0;
    require(ids && back);
    require(cm3_bpe_encode(encoder, text, length, ids, length, &count) == CM3_OK);
    require(cm3_bpe_decode(bpe, ids, count, back, length, &back_length) == CM3_OK);
    require(back_length == length && memcmp(back, text, length) == 0);
    free(back);
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cm3_bpe *bpe;
    if (cm3_bpe_parse((const char *)data, size, "fuzz", &bpe) != CM3_OK) {
        require(bpe == NULL && strncmp(cm3_message(), "fuzz", 4) == 0);
        return 0;
    }
    cm3_bpe_encoder *encoder;
    require(cm3_bpe_encoder_create(bpe, &encoder) == CM3_OK);
    static const char text[] = "A cat, it's 12 \xc3\xa9t\xc3\xa9s\n\n  \xff\x80 low lower lowest";
    for (int pass = 0; pass < 2; pass++) {
        round_trip(bpe, encoder, text, sizeof text);
        round_trip(bpe, encoder, (const char *)data, size);
    }
    for (int32_t id = -1; id <= (int32_t)cm3_bpe_size(bpe); id++) {
        size_t length;
        require(cm3_bpe_decode(bpe, &id, 1, NULL, 0, &length) == CM3_OK || length == 0);
        if (id > 2000) break;
    }
    cm3_bpe_encoder_free(encoder);
    cm3_bpe_free(bpe);
    return 0;
}
