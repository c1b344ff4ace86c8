/* What the files of the tokenizer share: how a cm3_bpe is laid out, and how training and loading build one. */
#ifndef CM3_DATA_TEXT_BPE_INTERNAL_H
#define CM3_DATA_TEXT_BPE_INTERNAL_H

#include "core/list.h"
#include "data/text/bpe.h"

/* What an id stands for, as bits. */
enum {
    CM3__TOKEN_GAP = 0,
    CM3__TOKEN_MODEL = 1,   /* a byte string that merges may make */
    CM3__TOKEN_SPECIAL = 2, /* an added token; may be of the model too, as GPT-2's <|endoftext|> is */
    CM3__TOKEN_LITERAL =
        4 /* a member of the file's vocabulary that is not spelt in the byte alphabet: no merge makes it */
};

typedef struct cm3__token {
    uint64_t offset; /* into cm3_bpe.bytes */
    uint32_t length;
    uint32_t kind;
} cm3__token;

/* The merge of rank r, merges[r]: `left` and `right` become `result`. */
typedef struct cm3__merge {
    int32_t left, right, result;
} cm3__merge;

/* Two ids as one number; numbers compare as (left, right). */
#define CM3__ID_BITS 20
#define CM3__RANK_BITS 24
#define CM3__NO_RANK ((1u << CM3__RANK_BITS) - 1)
#define CM3__EMPTY UINT64_MAX

_Static_assert(CM3_BPE_MAX_SIZE == 1 << CM3__ID_BITS, "an id fits its bits");

static inline uint64_t cm3__pair_of(int32_t left, int32_t right) {
    return (uint64_t)left << CM3__ID_BITS | (uint64_t)right;
}

static inline int32_t cm3__pair_left(uint64_t pair) {
    return (int32_t)(pair >> CM3__ID_BITS);
}

static inline int32_t cm3__pair_right(uint64_t pair) {
    return (int32_t)(pair & ((1u << CM3__ID_BITS) - 1));
}

typedef struct cm3__piece_slot {
    uint32_t tag; /* upper bits of the hash: other pieces are rarely compared in full */
    int32_t id;   /* -1 if empty */
} cm3__piece_slot;

struct cm3_bpe {
    cm3__token *tokens; /* (size) */
    size_t size;
    CM3_LIST(char) bytes; /* of all tokens */

    CM3_LIST(cm3__merge) merges; /* by rank */
    uint64_t *pairs; /* (pair_mask + 1): pair << RANK_BITS | rank, or CM3__EMPTY; half full at most, linear probing */
    uint64_t pair_mask;

    int32_t byte_ids[256];
    cm3__piece_slot *pieces; /* (piece_mask + 1): tokens that a piece of just their bytes becomes */
    uint64_t piece_mask;
    bool ignore_merges; /* a piece that is a token becomes that token, whatever the merges say */
};

/* Spreads every bit of a key over all bits: the two halves of a product by the golden ratio, folded. */
static inline uint64_t cm3__mix(uint64_t key) {
    __extension__ typedef unsigned __int128 wide;
    const wide product = (wide)key * 0x9e3779b97f4a7c15u;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* A power of two, minus one: the mask of a hash table that `count` entries fill at most by half. */
uint64_t cm3__table_mask(size_t count);

/* --- building ---------------------------------------------------------------------------------------------------- */

/* A tokenizer of `size` gaps, without merges. */
cm3_status cm3__bpe_create(size_t size, cm3_bpe **out);
/* Gives a gap its bytes; `bytes` must not point into the tokenizer. */
cm3_status cm3__bpe_set_token(cm3_bpe *bpe, int32_t id, const char *bytes, size_t length, uint32_t kind);
/* The bytes of `left`, then those of `right`. */
cm3_status cm3__bpe_set_joined_token(cm3_bpe *bpe, int32_t id, int32_t left, int32_t right);
/* The next rank. */
cm3_status cm3__bpe_add_merge(cm3_bpe *bpe, int32_t left, int32_t right, int32_t result);
/* The table of whole pieces: made empty, filled token by token. Training uses it to meet a token's bytes again. */
cm3_status cm3__bpe_clear_pieces(cm3_bpe *bpe);
void cm3__bpe_add_piece(cm3_bpe *bpe, int32_t id);
/* Builds the tables; after it the tokenizer never changes. CM3_ERR_FORMAT if one of the 256 bytes has no token. */
cm3_status cm3__bpe_finish(cm3_bpe *bpe);

/* --- encoding one piece ------------------------------------------------------------------------------------------ */

/* Working memory of merging, as large as the longest piece seen asked for. */
typedef CM3_LIST(char) cm3__merge_scratch;

/* Merges a piece by the ranks alone. *ids points into the scratch, which grows as needed, until the next call. */
cm3_status cm3__bpe_merge(const cm3_bpe *bpe, cm3__merge_scratch *scratch, const char *piece, size_t length,
                          const int32_t **ids, size_t *count);
/* The id of a piece that becomes a single token, or -1. */
int32_t cm3__bpe_find_piece(const cm3_bpe *bpe, const char *piece, size_t length);

/* --- the alphabet ------------------------------------------------------------------------------------------------ */

/* GPT-2's way to spell bytes as printable characters: code_points[b] stands for byte b. */
void cm3__bpe_alphabet(uint16_t code_points[256]);

#endif
