#include "data/document.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Room for `more` elements after `count`; grows by halves so that appending stays linear. */
static cm3_status reserve(void **items, size_t *capacity, size_t count, size_t more, size_t size) {
    if (more <= *capacity - count) return CM3_OK;
    size_t wanted = *capacity + *capacity / 2;
    if (wanted < count + more) wanted = count + more;
    if (count + more < count || wanted > SIZE_MAX / size)
        return cm3_fail(CM3_ERR_MEMORY, "a list of %zu elements is too large", count);
    void *grown = realloc(*items, wanted * size);
    if (!grown) return cm3_fail(CM3_ERR_MEMORY, "no memory for a list of %zu elements", wanted);
    *items = grown;
    *capacity = wanted;
    return CM3_OK;
}

cm3_status cm3_tokens_add(cm3_tokens *tokens, const int32_t *ids, size_t count) {
    if (count == 0) return CM3_OK;
    CM3_TRY(reserve((void **)&tokens->ids, &tokens->capacity, tokens->count, count, sizeof *tokens->ids));
    memcpy(tokens->ids + tokens->count, ids, count * sizeof *ids);
    tokens->count += count;
    return CM3_OK;
}

void cm3_tokens_free(cm3_tokens *tokens) {
    free(tokens->ids);
    *tokens = (cm3_tokens){0};
}

static cm3_status add_id(cm3_tokens *tokens, int32_t id) {
    return cm3_tokens_add(tokens, &id, 1);
}

cm3_status cm3_document_add(cm3_document *document, cm3_modality modality, const int32_t *numbers, size_t count) {
    CM3_TRY(reserve((void **)&document->segments, &document->capacity, document->count, 1, sizeof *document->segments));
    cm3_segment segment = {.modality = modality, .count = count};
    if (count) {
        segment.numbers = malloc(count * sizeof *numbers);
        if (!segment.numbers) return cm3_fail(CM3_ERR_MEMORY, "no memory for a segment of %zu tokens", count);
        memcpy(segment.numbers, numbers, count * sizeof *numbers);
    }
    document->segments[document->count++] = segment;
    return CM3_OK;
}

bool cm3_document_equal(const cm3_document *a, const cm3_document *b) {
    if (a->count != b->count) return false;
    for (size_t i = 0; i < a->count; i++) {
        const cm3_segment *x = &a->segments[i], *y = &b->segments[i];
        if (x->modality != y->modality || x->count != y->count) return false;
        if (x->count && memcmp(x->numbers, y->numbers, x->count * sizeof *x->numbers) != 0) return false;
    }
    return true;
}

void cm3_document_free(cm3_document *document) {
    for (size_t i = 0; i < document->count; i++) free(document->segments[i].numbers);
    free(document->segments);
    *document = (cm3_document){0};
}

/* --- rendering --------------------------------------------------------------------------------------------------- */

static cm3_status render_segment(const cm3_segment *segment, const cm3_vocab *vocab, cm3_tokens *tokens) {
    const bool image = segment->modality == CM3_MODALITY_IMAGE;
    const cm3_region region = vocab->region[image ? CM3_REGION_IMAGE : CM3_REGION_TEXT];
    CM3_TRY(reserve((void **)&tokens->ids, &tokens->capacity, tokens->count, segment->count, sizeof *tokens->ids));
    int32_t *ids = tokens->ids + tokens->count;
    for (size_t i = 0; i < segment->count; i++) {
        const int32_t number = segment->numbers[i];
        if (number < 0 || number >= region.count)
            return cm3_fail(CM3_ERR_FORMAT, "%s %" PRId32 " is outside the vocabulary's 0..%" PRId32,
                            image ? "image code" : "text token", number, region.count - 1);
        ids[i] = region.first + number;
    }
    tokens->count += segment->count;
    return CM3_OK;
}

/* <eos> and the first `count` segments with <break> between them. `*first_blank` is the first blank's index, or
 * `count`. */
static cm3_status render_segments(const cm3_document *document, size_t count, const cm3_vocab *vocab,
                                  cm3_tokens *tokens, size_t *first_blank) {
    int32_t blanks = 0;
    *first_blank = count;
    CM3_TRY(add_id(tokens, cm3_vocab_id(vocab, CM3_REGION_EOS, 0)));
    for (size_t i = 0; i < count; i++) {
        const cm3_segment *segment = &document->segments[i];
        if (i) CM3_TRY(add_id(tokens, cm3_vocab_id(vocab, CM3_REGION_BREAK, 0)));
        if (segment->count) {
            CM3_TRY(render_segment(segment, vocab, tokens));
            continue;
        }
        if (blanks == vocab->region[CM3_REGION_SENTINEL].count)
            return cm3_fail(CM3_ERR_FORMAT, "a document has more blanks than the vocabulary's %" PRId32 " sentinels",
                            blanks);
        if (blanks == 0) *first_blank = i;
        CM3_TRY(add_id(tokens, cm3_vocab_id(vocab, CM3_REGION_SENTINEL, blanks++)));
    }
    return CM3_OK;
}

cm3_status cm3_document_render(const cm3_document *document, const cm3_vocab *vocab, cm3_tokens *tokens) {
    size_t blank;
    const size_t start = tokens->count;
    cm3_status status = render_segments(document, document->count, vocab, tokens, &blank);
    if (status == CM3_OK) status = add_id(tokens, cm3_vocab_id(vocab, CM3_REGION_EOS, 0));
    if (status != CM3_OK) tokens->count = start;
    return status;
}

static cm3_status render_prompt(const cm3_document *document, const cm3_vocab *vocab, cm3_tokens *tokens) {
    size_t blank, count = document->count;
    const bool goes_on = count && document->segments[count - 1].count == 0;
    if (goes_on) count--;
    CM3_TRY(render_segments(document, count, vocab, tokens, &blank));
    if (goes_on) return count ? add_id(tokens, cm3_vocab_id(vocab, CM3_REGION_BREAK, 0)) : CM3_OK;
    if (blank == count) return cm3_fail(CM3_ERR_USAGE, "a prompt has no blank: there is nothing to fill in");
    CM3_TRY(add_id(tokens, cm3_vocab_id(vocab, CM3_REGION_EOS, 0)));
    return add_id(tokens, cm3_vocab_id(vocab, CM3_REGION_SENTINEL, 0));
}

cm3_status cm3_document_prompt(const cm3_document *document, const cm3_vocab *vocab, cm3_tokens *tokens) {
    const size_t start = tokens->count;
    const cm3_status status = render_prompt(document, vocab, tokens);
    if (status != CM3_OK) tokens->count = start;
    return status;
}

/* --- parsing ----------------------------------------------------------------------------------------------------- */

static bool is_sentinel(const cm3_vocab *vocab, int32_t id) {
    return cm3_vocab_is(vocab, CM3_REGION_SENTINEL, id);
}

/* Where the infills begin: at the first sentinel that is named a second time. */
static size_t find_infills(const cm3_vocab *vocab, const int32_t *ids, size_t count) {
    for (size_t p = 0; p < count; p++) {
        if (!is_sentinel(vocab, ids[p])) continue;
        for (size_t q = 0; q < p; q++)
            if (ids[q] == ids[p]) return p;
    }
    return count;
}

/* The end of the infill whose sentinel stands at `p`: its <eoss>, the next sentinel, or the end. */
static size_t infill_end(const cm3_vocab *vocab, const int32_t *ids, size_t count, size_t p) {
    const int32_t eoss = cm3_vocab_id(vocab, CM3_REGION_EOSS, 0);
    for (p++; p < count && ids[p] != eoss && !is_sentinel(vocab, ids[p]);) p++;
    return p;
}

static cm3_status put_back(const cm3_vocab *vocab, const int32_t *ids, size_t count, size_t infills, int32_t sentinel,
                           cm3_tokens *source) {
    for (size_t p = infills; p < count; p++) {
        if (ids[p] != sentinel) continue;
        return cm3_tokens_add(source, ids + p + 1, infill_end(vocab, ids, count, p) - p - 1);
    }
    return add_id(source, sentinel);
}

cm3_status cm3_tokens_unmask(const cm3_vocab *vocab, const int32_t *ids, size_t count, cm3_tokens *source) {
    const size_t infills = find_infills(vocab, ids, count);
    for (size_t p = 0; p < infills; p++) {
        if (is_sentinel(vocab, ids[p]))
            CM3_TRY(put_back(vocab, ids, count, infills, ids[p], source));
        else
            CM3_TRY(add_id(source, ids[p]));
    }
    /* What follows an infill without being one goes on after the source. */
    for (size_t p = infills; p < count;) {
        if (is_sentinel(vocab, ids[p])) {
            p = infill_end(vocab, ids, count, p);
            if (p < count && !is_sentinel(vocab, ids[p])) p++;
        } else {
            CM3_TRY(add_id(source, ids[p++]));
        }
    }
    return CM3_OK;
}

/* Appends ids of one modality to the last segment if it is still open, else to a new one. */
static cm3_status read_run(const cm3_vocab *vocab, cm3_modality modality, const int32_t *ids, size_t count, bool open,
                           cm3_document *document) {
    cm3_segment *last = document->count ? &document->segments[document->count - 1] : NULL;
    if (!open || !last || last->modality != modality) {
        CM3_TRY(cm3_document_add(document, modality, NULL, 0));
        last = &document->segments[document->count - 1];
    }
    int32_t *numbers = realloc(last->numbers, (last->count + count) * sizeof *numbers);
    if (!numbers) return cm3_fail(CM3_ERR_MEMORY, "no memory for a segment of %zu tokens", last->count + count);
    const int32_t first = vocab->region[modality == CM3_MODALITY_IMAGE ? CM3_REGION_IMAGE : CM3_REGION_TEXT].first;
    for (size_t i = 0; i < count; i++) numbers[last->count + i] = ids[i] - first;
    last->numbers = numbers;
    last->count += count;
    return CM3_OK;
}

static size_t run_end(const cm3_vocab *vocab, const int32_t *ids, size_t count, size_t at) {
    const cm3_token_class class = cm3_vocab_class(vocab, ids[at]);
    while (at < count && cm3_vocab_class(vocab, ids[at]) == class) at++;
    return at;
}

static cm3_status read_document(const cm3_vocab *vocab, const int32_t *ids, size_t count, size_t *at,
                                cm3_document *document) {
    const int32_t eos = cm3_vocab_id(vocab, CM3_REGION_EOS, 0), brk = cm3_vocab_id(vocab, CM3_REGION_BREAK, 0);
    bool open = false;
    while (*at < count) {
        const cm3_token_class class = cm3_vocab_class(vocab, ids[*at]);
        if (class == CM3_TOKEN_TEXT || class == CM3_TOKEN_IMAGE) {
            const size_t end = run_end(vocab, ids, count, *at);
            const cm3_modality modality = class == CM3_TOKEN_IMAGE ? CM3_MODALITY_IMAGE : CM3_MODALITY_TEXT;
            CM3_TRY(read_run(vocab, modality, ids + *at, end - *at, open, document));
            open = true;
            *at = end;
            continue;
        }
        const int32_t id = ids[(*at)++];
        if (class == CM3_TOKEN_SENTINEL) {
            CM3_TRY(cm3_document_add(document, CM3_MODALITY_TEXT, NULL, 0));
            open = false;
        } else if (id == brk) {
            open = false;
        } else if (id == eos && document->count) {
            return CM3_OK;
        }
    }
    return CM3_OK;
}

cm3_status cm3_document_next(const cm3_vocab *vocab, const int32_t *ids, size_t count, size_t *at,
                             cm3_document *document) {
    *document = (cm3_document){0};
    const cm3_status status = read_document(vocab, ids, count, at, document);
    if (status != CM3_OK) cm3_document_free(document);
    return status;
}

cm3_status cm3_document_parse(const cm3_vocab *vocab, const int32_t *ids, size_t count, cm3_document *document) {
    *document = (cm3_document){0};
    cm3_tokens source = {0};
    size_t at = 0;
    cm3_status status = cm3_tokens_unmask(vocab, ids, count, &source);
    if (status == CM3_OK) status = cm3_document_next(vocab, source.ids, source.count, &at, document);
    cm3_tokens_free(&source);
    return status;
}
