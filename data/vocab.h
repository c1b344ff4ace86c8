/* The vocabulary: which ids mean what.
 *
 * The model sees one range of ids. A vocabulary is a table that gives every role (a special, the sentinels, the image
 * codes, the text tokens) its own region of that range; an id in no region is reserved and never made. Two layouts are
 * known, and vocab.json beside a model may hold any other table:
 *
 *   cm3leon     <s> 0, <pad> 1, <eos> 2, <unk> 3, <break> 4, <eoss> 5, then sentinels, image codes, text tokens, and
 *               as many reserved ids as make the size a multiple. The paper's sizes (56,320 text + 8,192 image + 512
 *               sentinels, a multiple of 512) give 65,536.
 *   chameleon   the table of the Chameleon release: image code k at 4 + k, <eoss> 8196, <break> 8197, sentinels
 *               8198..8709, text from 16384, 65,536 in all. Its sizes are fixed.
 *
 * The numbers of the tokenizers (a BPE token, an image code) start at 0 and know nothing of ids. Token stores hold
 * those numbers; a document is mapped to ids when it is rendered. */
#ifndef CM3_DATA_VOCAB_H
#define CM3_DATA_VOCAB_H

#include "core/hash.h"
#include "core/status.h"

#include <stdbool.h>
#include <stdint.h>

/*   role      name in vocab.json  what it is */
#define CM3_REGION_LIST(X)                                                                                             \
    X(BOS, "<s>", "not used by CM3 models, kept for the lineage's sake")                                               \
    X(PAD, "<pad>", "filling after the end; never a target")                                                           \
    X(EOS, "<eos>", "begins and ends a sample (`</s>` of the lineage)")                                                \
    X(UNK, "<unk>", "never made: byte-level BPE knows every text")                                                     \
    X(BREAK, "<break>", "between the segments of a sample")                                                            \
    X(EOSS, "<eoss>", "ends the text of an infilled span")                                                             \
    X(SENTINEL, "sentinels", "<sentinel:i> stands for the masked span i")                                              \
    X(IMAGE, "image", "codes of the image tokenizer")                                                                  \
    X(TEXT, "text", "tokens of the text tokenizer")

typedef enum cm3_region_role {
#define X(role, name, text) CM3_REGION_##role,
    CM3_REGION_LIST(X)
#undef X
        CM3_REGION_COUNT
} cm3_region_role;

typedef struct cm3_region {
    int32_t first, count;
} cm3_region;

typedef struct cm3_vocab {
    cm3_region region[CM3_REGION_COUNT];      /* apart from each other, inside [0, size) */
    int32_t size;                             /* rows of the embedding table */
    cm3_hash text_tokenizer, image_tokenizer; /* what made the text tokens and the image codes */
    cm3_hash fingerprint;                     /* of all of the above: stores and checkpoints carry it */
} cm3_vocab;

typedef enum cm3_vocab_layout { CM3_LAYOUT_CM3LEON, CM3_LAYOUT_CHAMELEON } cm3_vocab_layout;
extern const char *const cm3_vocab_layouts[]; /* the words of a recipe, NULL at the end */

typedef struct cm3_vocab_sizes {
    int layout;          /* cm3_vocab_layout */
    int64_t text, image; /* sizes of the two tokenizers' vocabularies */
    int64_t sentinels;   /* at least 1; the most spans a block can have */
    int64_t multiple;    /* the whole is rounded up to it; 1: not at all */
    cm3_hash text_tokenizer, image_tokenizer;
} cm3_vocab_sizes;

/* CM3_ERR_RECIPE when the sizes do not fit the layout or 31 bits. */
cm3_status cm3_vocab_build(const cm3_vocab_sizes *sizes, cm3_vocab *vocab);

cm3_status cm3_vocab_save(const cm3_vocab *vocab, const char *path);
/* CM3_ERR_FORMAT when a region is missing, lies outside, overlaps another, or the fingerprint is not the table's. */
cm3_status cm3_vocab_load(const char *path, cm3_vocab *vocab);

/* What an id is. SPECIAL: a region of one id (<eos>, <break>, ...). RESERVED: no region, or outside the vocabulary. */
typedef enum cm3_token_class {
    CM3_TOKEN_TEXT,
    CM3_TOKEN_IMAGE,
    CM3_TOKEN_SPECIAL,
    CM3_TOKEN_SENTINEL,
    CM3_TOKEN_RESERVED
} cm3_token_class;

static inline bool cm3_vocab_is(const cm3_vocab *vocab, cm3_region_role role, int32_t id) {
    return (uint32_t)id - (uint32_t)vocab->region[role].first < (uint32_t)vocab->region[role].count;
}
/* The id of a number of a role: of image code k, of sentinel i; number 0 for roles of one id. Not checked. */
static inline int32_t cm3_vocab_id(const cm3_vocab *vocab, cm3_region_role role, int32_t number) {
    return vocab->region[role].first + number;
}
/* The number of an id within its role: the way back. Not checked. */
static inline int32_t cm3_vocab_token_id(const cm3_vocab *vocab, cm3_region_role role, int32_t id) {
    return id - vocab->region[role].first;
}
cm3_token_class cm3_vocab_class(const cm3_vocab *vocab, int32_t id);
/* "<break>", "<sentinel:3>", "<image:17>", "<text:5>", "<reserved:60000>". `text` holds 32 bytes. */
const char *cm3_vocab_name(const cm3_vocab *vocab, int32_t id, char text[32]);

#endif
