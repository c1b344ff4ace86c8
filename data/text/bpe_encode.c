/* Encoding: pieces looked up in a bounded table of pieces seen before. */
#include "data/text/bpe_internal.h"
#include "data/text/split.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* Pieces that became up to 4 ids are cached: nearly all of any text. A piece's hash names one cache line of two
 * slots. A new piece takes the second; one that is met again there changes places with the first, so that words that
 * come once do not drive out those that come often. */
#define SLOT_IDS 4
#define LINE_BITS 16
#define KEY_BYTES 15
#define LONG_KEY ((uint64_t)1 << 63)

/* What tells one piece from all others. Up to 15 bytes: the bytes, zeros, and the length as the last byte. Longer: a
 * hash, and the length with a mark; there a slot that seems right is only so if the bytes of its ids are the piece. */
typedef struct key {
    uint64_t low, high;
} key;

typedef struct slot {
    key key;               /* all zeros if empty */
    int32_t ids[SLOT_IDS]; /* the rest -1 */
} slot;

typedef struct line {
    slot first, second;
} line;

_Static_assert(sizeof(line) == 64, "two slots fill one cache line");

struct cm3_bpe_encoder {
    const cm3_bpe *bpe;
    line *lines; /* (1 << LINE_BITS) */
    cm3__merge_scratch scratch;
};

cm3_status cm3_bpe_encoder_create(const cm3_bpe *bpe, cm3_bpe_encoder **out) {
    *out = NULL;
    cm3_bpe_encoder *encoder = calloc(1, sizeof *encoder);
    const size_t bytes = sizeof(line) << LINE_BITS;
    if (encoder) encoder->lines = aligned_alloc(sizeof(line), bytes);
    if (!encoder || !encoder->lines) {
        cm3_bpe_encoder_free(encoder);
        return cm3_fail(CM3_ERR_MEMORY, "tokenizer: out of memory for an encoder (%zu bytes)", bytes);
    }
    memset(encoder->lines, 0, bytes);
    encoder->bpe = bpe;
    *out = encoder;
    return CM3_OK;
}

void cm3_bpe_encoder_free(cm3_bpe_encoder *encoder) {
    if (!encoder) return;
    free(encoder->lines);
    CM3_LIST_FREE(&encoder->scratch);
    free(encoder);
}

/* --- pieces and their slots -------------------------------------------------------------------------------------- */

/* One piece on its way. */
typedef struct piece {
    const char *text;
    size_t length;
    key key;
    line *home;
} piece;

/* `room`, the bytes that may be read, is at least `length`. */
static inline key key_of(const char *text, size_t length, size_t room) {
    if (length > KEY_BYTES) return (key){XXH3_64bits(text, length), length | LONG_KEY};
    uint64_t words[2] = {0, 0};
    if (room < sizeof words) {
        memcpy(words, text, length);
        return (key){le64toh(words[0]), le64toh(words[1]) | (uint64_t)length << 56};
    }
    memcpy(words, text, sizeof words); /* of fixed size, then cut: two instructions */
    const unsigned low = length < 8 ? (unsigned)length : 8, high = (unsigned)length - low;
    return (key){le64toh(words[0]) & UINT64_MAX >> (64 - 8 * low),
                 (le64toh(words[1]) & (((uint64_t)1 << 8 * high) - 1)) | (uint64_t)length << 56};
}

static inline size_t id_count(const slot *s) {
    return 1u + (s->ids[1] >= 0) + (s->ids[2] >= 0) + (s->ids[3] >= 0);
}

static bool ids_spell(const cm3_bpe *bpe, const slot *s, const piece *p) {
    size_t at = 0;
    for (size_t i = 0; i < SLOT_IDS && s->ids[i] >= 0; i++) {
        const cm3__token token = bpe->tokens[s->ids[i]];
        if (token.length > p->length - at || memcmp(p->text + at, bpe->bytes.items + token.offset, token.length) != 0)
            return false;
        at += token.length;
    }
    return at == p->length;
}

static inline bool holds(const cm3_bpe *bpe, const slot *s, const piece *p) {
    if (((s->key.low ^ p->key.low) | (s->key.high ^ p->key.high)) != 0) return false;
    return !(p->key.high & LONG_KEY) || ids_spell(bpe, s, p);
}

/* --- encoding ---------------------------------------------------------------------------------------------------- */

typedef struct sink {
    int32_t *ids;
    size_t count, capacity;
} sink;

static bool put(sink *out, const int32_t *ids, size_t count) {
    if (out->capacity - out->count < count) return false;
    memcpy(out->ids + out->count, ids, count * sizeof *ids);
    out->count += count;
    return true;
}

static inline bool put_slot(sink *out, const slot *s) {
    if (out->capacity - out->count < SLOT_IDS) return put(out, s->ids, id_count(s));
    memcpy(out->ids + out->count, s->ids, sizeof s->ids); /* of fixed size: one instruction */
    out->count += id_count(s);
    return true;
}

static __attribute__((noinline)) cm3_status encode_unknown(cm3_bpe_encoder *encoder, const piece *p, sink *out) {
    const int32_t whole = cm3__bpe_find_piece(encoder->bpe, p->text, p->length);
    const int32_t *ids = &whole;
    size_t count = 1;
    if (whole < 0) CM3_TRY(cm3__bpe_merge(encoder->bpe, &encoder->scratch, p->text, p->length, &ids, &count));
    if (count <= SLOT_IDS) {
        slot *s = &p->home->second;
        s->key = p->key;
        for (size_t i = 0; i < SLOT_IDS; i++) s->ids[i] = i < count ? ids[i] : -1;
    }
    return put(out, ids, count) ? CM3_OK : CM3_ERR_SHAPE;
}

static inline cm3_status encode_piece(cm3_bpe_encoder *encoder, const piece *p, sink *out) {
    line *home = p->home;
    if (!holds(encoder->bpe, &home->first, p)) {
        if (!holds(encoder->bpe, &home->second, p)) return encode_unknown(encoder, p, out);
        const slot again = home->second;
        home->second = home->first;
        home->first = again;
    }
    return put_slot(out, &home->first) ? CM3_OK : CM3_ERR_SHAPE;
}

cm3_status cm3_bpe_encode(cm3_bpe_encoder *encoder, const char *text, size_t length, int32_t *ids, size_t capacity,
                          size_t *count) {
    sink out = {ids, 0, capacity};
    cm3_status status = CM3_OK;
    size_t sizes[CM3_SPLIT_MAX];
    piece pieces[CM3_SPLIT_MAX];
    *count = 0;
    for (size_t found, at = 0; (found = cm3_split(text + at, length - at, sizes)) > 0 && status == CM3_OK;) {
        for (size_t i = 0; i < found; at += sizes[i++]) { /* all lines are on their way before the first is needed */
            const key k = key_of(text + at, sizes[i], length - at);
            line *home = &encoder->lines[cm3__mix(k.low ^ cm3__mix(k.high)) >> (64 - LINE_BITS)];
            __builtin_prefetch(home);
            pieces[i] = (piece){text + at, sizes[i], k, home};
        }
        for (size_t i = 0; i < found && status == CM3_OK; i++) status = encode_piece(encoder, &pieces[i], &out);
    }
    if (status == CM3_ERR_SHAPE)
        return cm3_fail(status, "a text of %zu bytes needs room for more than %zu ids", length, capacity);
    *count = out.count;
    return status;
}
