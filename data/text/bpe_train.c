/* Training: the most frequent pair becomes a token, again and again.
 *
 * Only distinct pieces are kept, each as its symbols and how often it occurs. Every pair knows its exact count and a
 * list of the pieces that may hold it, so a merge touches just those; a heap gives the most frequent pair. Counts in
 * the heap may be out of date: a merge lowers the counts of its neighbours without looking for their entries, and an
 * entry that is too high is put back with the right count when it comes up. A count that rises gets a new entry, so
 * none is too low. */
#include "data/text/bpe_internal.h"
#include "data/text/piece_counts.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

typedef struct word {
    size_t offset; /* into trainer.symbols */
    uint64_t count;
    uint32_t length;
} word;

/* A word of a pair's list. Freed nodes are used again. */
typedef struct node {
    uint32_t word, next;
} node;

typedef struct pair_info {
    uint64_t pair;  /* CM3__EMPTY: a free slot */
    uint64_t count; /* exact */
    uint32_t nodes; /* the first of the list, or NONE */
    uint32_t risen; /* the last merge that raised the count */
} pair_info;

typedef struct candidate {
    uint64_t count, pair;
} candidate;

typedef struct trainer {
    cm3_bpe *bpe;
    uint64_t min_frequency;
    int32_t *symbols;
    word *words;
    size_t word_count;

    CM3_LIST(node) nodes;
    uint32_t free_nodes;

    pair_info *pairs; /* (pair_mask + 1), open addressing */
    uint64_t pair_mask;
    size_t pair_count;

    CM3_LIST(candidate) heap;

    CM3_LIST(uint64_t) risen; /* pairs whose count the present merge raised */
    uint32_t merge;           /* number of the present merge; 0 while pairs are first counted */
} trainer;

/* --- the heap: most frequent first, then the smaller pair -------------------------------------------------------- */

static bool comes_first(candidate a, candidate b) {
    return a.count != b.count ? a.count > b.count : a.pair < b.pair;
}

static cm3_status heap_push(trainer *t, candidate entry) {
    if (entry.count < t->min_frequency) return CM3_OK;
    CM3_TRY(CM3_LIST_PUSH(&t->heap, entry));
    size_t i = t->heap.count - 1;
    for (; i > 0 && comes_first(entry, t->heap.items[(i - 1) / 2]); i = (i - 1) / 2)
        t->heap.items[i] = t->heap.items[(i - 1) / 2];
    t->heap.items[i] = entry;
    return CM3_OK;
}

static candidate heap_pop(trainer *t) {
    const candidate top = t->heap.items[0], last = t->heap.items[--t->heap.count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < t->heap.count; i = child) {
        if (child + 1 < t->heap.count && comes_first(t->heap.items[child + 1], t->heap.items[child])) child++;
        if (!comes_first(t->heap.items[child], last)) break;
        t->heap.items[i] = t->heap.items[child];
    }
    t->heap.items[i] = last;
    return top;
}

/* --- pairs ------------------------------------------------------------------------------------------------------- */

static pair_info *pair_slot(const trainer *t, uint64_t pair) {
    uint64_t i = cm3__mix(pair) & t->pair_mask;
    while (t->pairs[i].pair != pair && t->pairs[i].pair != CM3__EMPTY) i = (i + 1) & t->pair_mask;
    return &t->pairs[i];
}

static cm3_status grow_pairs(trainer *t) {
    pair_info *old = t->pairs;
    const uint64_t old_mask = t->pair_mask;
    t->pair_mask = old ? 2 * old_mask + 1 : 0xffff;
    t->pairs = malloc((t->pair_mask + 1) * sizeof *t->pairs);
    if (!t->pairs) {
        t->pairs = old;
        return cm3_fail(CM3_ERR_MEMORY, "tokenizer: out of memory to count %zu pairs", t->pair_count);
    }
    for (uint64_t i = 0; i <= t->pair_mask; i++) t->pairs[i] = (pair_info){CM3__EMPTY, 0, NONE, 0};
    for (uint64_t i = 0; old && i <= old_mask; i++)
        if (old[i].pair != CM3__EMPTY) *pair_slot(t, old[i].pair) = old[i];
    free(old);
    return CM3_OK;
}

static cm3_status append_word(trainer *t, pair_info *info, uint32_t word_index) {
    if (info->nodes != NONE && t->nodes.items[info->nodes].word == word_index) return CM3_OK;
    uint32_t n = t->free_nodes;
    if (n != NONE) {
        t->free_nodes = t->nodes.items[n].next;
    } else {
        if (t->nodes.count >= NONE) return cm3_fail(CM3_ERR_SHAPE, "tokenizer: the corpus has too many distinct words");
        CM3_TRY(CM3_LIST_PUSH(&t->nodes, (node){0}));
        n = (uint32_t)t->nodes.count - 1;
    }
    t->nodes.items[n] = (node){word_index, info->nodes};
    info->nodes = n;
    return CM3_OK;
}

/* One more occurrence of the pair in a word. */
static cm3_status add_pair(trainer *t, int32_t left, int32_t right, uint32_t word_index) {
    if (t->pair_count >= t->pair_mask / 2) CM3_TRY(grow_pairs(t));
    const uint64_t pair = cm3__pair_of(left, right);
    pair_info *info = pair_slot(t, pair);
    if (info->pair == CM3__EMPTY) {
        *info = (pair_info){pair, 0, NONE, NONE};
        t->pair_count++;
    }
    info->count += t->words[word_index].count;
    if (info->risen != t->merge) {
        info->risen = t->merge;
        CM3_TRY(CM3_LIST_PUSH(&t->risen, pair));
    }
    return append_word(t, info, word_index);
}

static void remove_pair(trainer *t, int32_t left, int32_t right, uint32_t word_index) {
    pair_slot(t, cm3__pair_of(left, right))->count -= t->words[word_index].count;
}

static cm3_status push_risen(trainer *t) {
    for (size_t i = 0; i < t->risen.count; i++)
        CM3_TRY(heap_push(t, (candidate){pair_slot(t, t->risen.items[i])->count, t->risen.items[i]}));
    t->risen.count = 0;
    return CM3_OK;
}

/* --- one merge --------------------------------------------------------------------------------------------------- */

/* Joins left, right to `joined` wherever they meet in a word, from the left, and keeps the neighbours' counts. */
static cm3_status merge_in_word(trainer *t, uint32_t index, int32_t left, int32_t right, int32_t joined) {
    word *w = &t->words[index];
    int32_t *symbols = t->symbols + w->offset;
    const uint32_t length = w->length;
    uint32_t kept = 0; /* symbols[kept - 1] is the new neighbour, symbols[i - 1] is still the old one */
    for (uint32_t i = 0; i < length; i++) {
        if (symbols[i] != left || i + 1 == length || symbols[i + 1] != right) {
            symbols[kept++] = symbols[i];
            continue;
        }
        if (i > 0) {
            remove_pair(t, symbols[i - 1], left, index);
            CM3_TRY(add_pair(t, symbols[kept - 1], joined, index));
        }
        const bool again = i + 3 < length && symbols[i + 2] == left && symbols[i + 3] == right;
        if (i + 2 < length && !again) { /* else the next one takes care of what is between them */
            remove_pair(t, right, symbols[i + 2], index);
            CM3_TRY(add_pair(t, joined, symbols[i + 2], index));
        }
        symbols[kept++] = joined;
        i++;
    }
    w->length = kept;
    return CM3_OK;
}

static cm3_status merge_pair(trainer *t, uint64_t pair, int32_t joined) {
    const int32_t left = cm3__pair_left(pair), right = cm3__pair_right(pair);
    uint32_t n = pair_slot(t, pair)->nodes;
    pair_slot(t, pair)->nodes = NONE;
    t->merge++;
    while (n != NONE) {
        const node here = t->nodes.items[n];
        t->nodes.items[n].next = t->free_nodes;
        t->free_nodes = n;
        n = here.next;
        CM3_TRY(merge_in_word(t, here.word, left, right, joined));
    }
    pair_slot(t, pair)->count = 0;
    return push_risen(t);
}

/* The token of the joined bytes: a new one, or the one that another pair has made already. */
static cm3_status joined_token(trainer *t, uint64_t pair, size_t *size, int32_t *joined) {
    const int32_t left = cm3__pair_left(pair), right = cm3__pair_right(pair);
    const int32_t id = (int32_t)*size;
    CM3_TRY(cm3__bpe_set_joined_token(t->bpe, id, left, right));
    const cm3__token token = t->bpe->tokens[id];
    *joined = cm3__bpe_find_piece(t->bpe, t->bpe->bytes.items + token.offset, token.length);
    if (*joined < 0) {
        cm3__bpe_add_piece(t->bpe, id);
        *joined = id;
        (*size)++;
    } else {
        t->bpe->bytes.count = token.offset;
        t->bpe->tokens[id] = (cm3__token){0};
    }
    return cm3__bpe_add_merge(t->bpe, left, right, *joined);
}

static cm3_status merge_all(trainer *t, size_t vocab_size) {
    size_t size = 256;
    while (size < vocab_size && t->heap.count > 0) {
        const candidate top = heap_pop(t);
        const uint64_t count = pair_slot(t, top.pair)->count;
        if (count != top.count) {
            CM3_TRY(heap_push(t, (candidate){count, top.pair}));
            continue;
        }
        int32_t joined;
        CM3_TRY(joined_token(t, top.pair, &size, &joined));
        CM3_TRY(merge_pair(t, top.pair, joined));
    }
    t->bpe->size = size;
    return CM3_OK;
}

/* --- before the first merge -------------------------------------------------------------------------------------- */

static cm3_status add_bytes(cm3_bpe *bpe) {
    uint16_t code_points[256];
    cm3__bpe_alphabet(code_points);
    int32_t id = 0;
    for (int pass = 0; pass < 2;
         pass++) /* in order of the characters that spell them: first those that spell themselves */
        for (int byte = 0; byte < 256; byte++)
            if ((code_points[byte] != byte) == pass) {
                CM3_TRY(cm3__bpe_set_token(bpe, id, &(char){(char)byte}, 1, CM3__TOKEN_MODEL));
                bpe->byte_ids[byte] = id++;
            }
    CM3_TRY(cm3__bpe_clear_pieces(bpe));
    for (id = 0; id < 256; id++) cm3__bpe_add_piece(bpe, id);
    return CM3_OK;
}

static cm3_status take_words(trainer *t, const cm3__piece_counts *counts) {
    t->words = malloc((counts->pieces.count + 1) * sizeof *t->words);
    t->symbols = malloc((counts->bytes.count + 1) * sizeof *t->symbols);
    if (!t->words || !t->symbols)
        return cm3_fail(CM3_ERR_MEMORY, "tokenizer: out of memory for %zu pieces", counts->pieces.count);
    for (size_t i = 0; i < counts->bytes.count; i++)
        t->symbols[i] = t->bpe->byte_ids[(unsigned char)counts->bytes.items[i]];
    t->word_count = counts->pieces.count;
    for (size_t i = 0; i < counts->pieces.count; i++) {
        const cm3__piece_count piece = counts->pieces.items[i];
        t->words[i] = (word){piece.offset, piece.count, piece.length};
        const int32_t *symbols = t->symbols + piece.offset;
        for (uint32_t k = 0; k + 1 < piece.length; k++) CM3_TRY(add_pair(t, symbols[k], symbols[k + 1], (uint32_t)i));
    }
    return push_risen(t);
}

static cm3_status count_corpus(cm3_text_next next, void *context, cm3__piece_counts *counts) {
    for (;;) {
        const char *text = NULL;
        size_t length = 0;
        CM3_TRY(next(context, &text, &length));
        if (!text) return CM3_OK;
        CM3_TRY(cm3__piece_counts_add(counts, text, length));
    }
}

static void trainer_free(trainer *t) {
    free(t->symbols);
    free(t->words);
    CM3_LIST_FREE(&t->nodes);
    free(t->pairs);
    CM3_LIST_FREE(&t->heap);
    CM3_LIST_FREE(&t->risen);
}

cm3_status cm3_bpe_train(cm3_text_next next, void *context, size_t vocab_size, uint64_t min_frequency, cm3_bpe **out) {
    *out = NULL;
    if (vocab_size < 256 || vocab_size > CM3_BPE_MAX_SIZE)
        return cm3_fail(CM3_ERR_USAGE, "tokenizer: vocab_size is %zu, expected 256 to %d", vocab_size,
                        CM3_BPE_MAX_SIZE);

    trainer t = {.min_frequency = min_frequency ? min_frequency : 1, .free_nodes = NONE};
    cm3__piece_counts counts = {0};
    cm3_status status;
    CM3_TRY_GOTO(status, done, count_corpus(next, context, &counts));
    CM3_TRY_GOTO(status, done, cm3__bpe_create(vocab_size, &t.bpe));
    CM3_TRY_GOTO(status, done, add_bytes(t.bpe));
    CM3_TRY_GOTO(status, done, take_words(&t, &counts));
    cm3__piece_counts_free(&counts);
    CM3_TRY_GOTO(status, done, merge_all(&t, vocab_size));
    CM3_TRY_GOTO(status, done, cm3__bpe_finish(t.bpe));
    *out = t.bpe;
    t.bpe = NULL;
done:
    cm3__piece_counts_free(&counts);
    cm3_bpe_free(t.bpe);
    trainer_free(&t);
    return status;
}
