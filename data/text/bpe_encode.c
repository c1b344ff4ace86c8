/* Encoding: pieces looked up in a bounded table of pieces seen before. */
#include "data/text/bpe_internal.h"
#include "data/text/split.h"

#include <stdlib.h>
#include <string.h>

/* Pieces of up to 40 bytes and 5 ids are remembered, each in the one slot that its hash names; the latest stays. */
#define KEY_WORDS 5
#define SLOT_IDS 5
#define SLOT_BITS 16

typedef struct slot {
    uint64_t key[KEY_WORDS]; /* the piece's bytes, then zeros */
    int32_t ids[SLOT_IDS];
    uint8_t length; /* 0: empty */
    uint8_t count;
    uint8_t unused[2];
} slot;

_Static_assert(sizeof(slot) == 64, "one cache line holds all that is known of a piece");

struct cm3_bpe_encoder {
    const cm3_bpe *bpe;
    slot *slots; /* (1 << SLOT_BITS) */
    cm3__merge_scratch scratch;
};

cm3_status cm3_bpe_encoder_create(const cm3_bpe *bpe, cm3_bpe_encoder **out) {
    *out = NULL;
    cm3_bpe_encoder *encoder = calloc(1, sizeof *encoder);
    const size_t bytes = sizeof(slot) << SLOT_BITS;
    if (encoder) encoder->slots = aligned_alloc(sizeof(slot), bytes);
    if (!encoder || !encoder->slots) {
        cm3_bpe_encoder_free(encoder);
        return cm3_fail(CM3_ERR_MEMORY, "tokenizer: no memory for an encoder (%zu bytes)", bytes);
    }
    memset(encoder->slots, 0, bytes);
    encoder->bpe = bpe;
    *out = encoder;
    return CM3_OK;
}

void cm3_bpe_encoder_free(cm3_bpe_encoder *encoder) {
    if (!encoder) return;
    free(encoder->slots);
    free(encoder->scratch.memory);
    free(encoder);
}

/* The ids being written. */
typedef struct sink {
    int32_t *ids;
    size_t count, capacity;
} sink;

static bool put(sink *s, const int32_t *ids, size_t count) {
    if (s->capacity - s->count < count) return false;
    memcpy(s->ids + s->count, ids, count * sizeof *ids);
    s->count += count;
    return true;
}

static cm3_status no_room(const sink *s, size_t length) {
    return cm3_fail(CM3_ERR_SHAPE, "a text of %zu bytes needs room for more than %zu ids", length, s->capacity);
}

/* A piece that no slot holds. `home` is the slot that shall hold it, or NULL. */
static __attribute__((noinline)) cm3_status encode_piece(cm3_bpe_encoder *encoder, const char *piece, size_t length,
                                                         const uint64_t *key, slot *home, sink *out) {
    const int32_t whole = cm3__bpe_find_piece(encoder->bpe, piece, length);
    const int32_t *ids = &whole;
    size_t count = 1;
    if (whole < 0) CM3_TRY(cm3__bpe_merge(encoder->bpe, &encoder->scratch, piece, length, &ids, &count));
    if (home && count <= SLOT_IDS) {
        memcpy(home->key, key, sizeof home->key);
        memcpy(home->ids, ids, count * sizeof *ids);
        home->length = (uint8_t)length;
        home->count = (uint8_t)count;
    }
    return put(out, ids, count) ? CM3_OK : no_room(out, length);
}

/* Loads a piece into words, its end padded with zeros. `room` is how many bytes may be read. */
static inline size_t load_key(uint64_t key[KEY_WORDS], const char *piece, size_t length, size_t room) {
    const size_t words = (length + 7) / 8;
    if (room < 8 * words) {
        key[words - 1] = 0;
        memcpy(key, piece, length);
        return words;
    }
    for (size_t i = 0; i < words; i++) memcpy(key + i, piece + 8 * i, 8);
    const unsigned spare = (unsigned)(8 * words - length) * 8;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    key[words - 1] &= UINT64_MAX >> spare;
#else
    key[words - 1] &= UINT64_MAX << spare;
#endif
    return words;
}

cm3_status cm3_bpe_encode(cm3_bpe_encoder *encoder, const char *text, size_t length, int32_t *ids, size_t capacity,
                          size_t *count) {
    sink out = {ids, 0, capacity};
    *count = 0;
    for (size_t at = 0, size; at < length; at += size) {
        const char *piece = text + at;
        size = cm3_split_next(piece, length - at);
        if (size > sizeof(uint64_t[KEY_WORDS])) {
            CM3_TRY(encode_piece(encoder, piece, size, NULL, NULL, &out));
            continue;
        }
        uint64_t key[KEY_WORDS] = {0};
        const size_t words = load_key(key, piece, size, length - at);
        uint64_t hash = key[0];
        for (size_t i = 1; i < words; i++) hash = cm3__mix(hash) ^ key[i];
        slot *home = &encoder->slots[cm3__mix(hash) >> (64 - SLOT_BITS)];

        bool hit = home->length == size;
        for (size_t i = 0; i < words; i++) hit &= home->key[i] == key[i];
        if (!hit) {
            CM3_TRY(encode_piece(encoder, piece, size, key, home, &out));
        } else if (out.capacity - out.count >= SLOT_IDS) { /* a copy of fixed size is two instructions */
            memcpy(out.ids + out.count, home->ids, sizeof home->ids);
            out.count += home->count;
        } else if (!put(&out, home->ids, home->count)) {
            return no_room(&out, length);
        }
    }
    *count = out.count;
    return CM3_OK;
}
