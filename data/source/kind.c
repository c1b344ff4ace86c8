#include "data/source/kind.h"

#include "core/hash.h"
#include "core/rng.h"
#include "core/utf8.h"

#include <stdlib.h>
#include <string.h>

void cm3_pair_free(cm3_pair *pair) {
    free(pair->text);
    free(pair->name);
    free(pair->origin);
    cm3_image_free(&pair->image);
    *pair = (cm3_pair){0};
}

bool cm3__list_keeps(const cm3_string_list *words, bool (*matches)(const void *what, const char *word),
                     const void *what) {
    bool wanted = false, any = false;
    for (int i = 0; i < words->count; i++) {
        const char *word = words->values[i];
        if (word[0] == '!') {
            if (matches(what, word + 1)) return false;
        } else {
            any = true;
            wanted = wanted || matches(what, word);
        }
    }
    return wanted || !any;
}

static bool contains(const void *text, const char *word) {
    return strcasestr(text, word) != NULL;
}

bool cm3__words_keep(const cm3_string_list *words, const char *text) {
    return cm3__list_keeps(words, contains, text);
}

cm3_status cm3__source_opened(cm3_status status, const cm3__source_kind *kind, void *state, int64_t count,
                              cm3_source *source) {
    if (status == CM3_OK) {
        source->kind = kind;
        source->state = state;
        source->count = count;
    } else {
        kind->close(state);
    }
    return status;
}

bool cm3__limit_allows(const cm3_source_config *config, int64_t count) {
    return config->limit <= 0 || count < config->limit;
}

cm3_split cm3__split_of(const cm3_source_config *config, const char *key) {
    if (config->validation <= 0) return CM3_SPLIT_TRAIN;
    const cm3_hash hash = cm3_hash_bytes(key, strlen(key));
    cm3_rng rng = cm3_rng_stream((uint64_t)config->seed, CM3_RNG_SPLIT, 0, hash.low);
    return cm3_rng_double(&rng) < config->validation ? CM3_SPLIT_VALIDATION : CM3_SPLIT_TRAIN;
}

cm3_status cm3__caption_check(const char *where, const char *text, size_t length) {
    size_t bad = 0;
    if (!length) return cm3_fail(CM3_ERR_FORMAT, "%s: the caption is empty", where);
    if (length > CM3_CAPTION_MAX)
        return cm3_fail(CM3_ERR_FORMAT, "%s: a caption of %zu bytes; at most %d are expected", where, length,
                        CM3_CAPTION_MAX);
    if (memchr(text, 0, length)) return cm3_fail(CM3_ERR_FORMAT, "%s: the caption holds a NUL character", where);
    if (!cm3_utf8_is_valid(text, length, &bad))
        return cm3_fail(CM3_ERR_FORMAT, "%s: the caption is not UTF-8: byte %zu is 0x%02x", where, bad + 1,
                        (unsigned char)text[bad]);
    return CM3_OK;
}

cm3_status cm3__text_copy(const char *from, size_t length, char **text) {
    char *copy = malloc(length + 1);
    if (!copy) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a text of %zu bytes", length);
    memcpy(copy, from, length);
    copy[length] = '\0';
    *text = copy;
    return CM3_OK;
}
