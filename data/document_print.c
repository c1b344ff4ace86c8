#include "data/document.h"

#include <stdlib.h>

void cm3_text_print(FILE *file, const char *text, size_t length) {
    fputc('"', file);
    for (size_t i = 0; i < length; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\')
            fprintf(file, "\\%c", c);
        else if (c == '\n')
            fputs("\\n", file);
        else if (c < 0x20 || c == 0x7f)
            fprintf(file, "\\x%02x", c);
        else
            fputc(c, file);
    }
    fputc('"', file);
}

static cm3_status print_text(FILE *file, const cm3_vocab *vocab, const int32_t *ids, size_t count,
                             const cm3_text_decoder *decoder) {
    if (!decoder) {
        fprintf(file, "[text %zu token%s]", count, count == 1 ? "" : "s");
        return CM3_OK;
    }
    int32_t *token_ids = malloc(count * sizeof *token_ids);
    if (!token_ids) return cm3_fail(CM3_ERR_MEMORY, "out of memory for %zu tokens", count);
    for (size_t i = 0; i < count; i++) token_ids[i] = cm3_vocab_token_id(vocab, CM3_REGION_TEXT, ids[i]);
    char *text;
    size_t length;
    const cm3_status status = decoder->decode(decoder->context, token_ids, count, &text, &length);
    free(token_ids);
    if (status != CM3_OK) return status;
    cm3_text_print(file, text, length);
    free(text);
    return CM3_OK;
}

cm3_status cm3_tokens_print(FILE *file, const cm3_vocab *vocab, const int32_t *ids, size_t count,
                            const cm3_text_decoder *decoder) {
    const int32_t eos = cm3_vocab_id(vocab, CM3_REGION_EOS, 0), eoss = cm3_vocab_id(vocab, CM3_REGION_EOSS, 0);
    size_t on_line = 0;
    for (size_t at = 0; at < count;) {
        const cm3_token_class class = cm3_vocab_class(vocab, ids[at]);
        size_t end = at + 1;
        if (class == CM3_TOKEN_TEXT || class == CM3_TOKEN_IMAGE)
            while (end < count && cm3_vocab_class(vocab, ids[end]) == class) end++;
        if (on_line++) fputc(' ', file);
        char name[32];
        if (class == CM3_TOKEN_TEXT)
            CM3_TRY(print_text(file, vocab, ids + at, end - at, decoder));
        else if (class == CM3_TOKEN_IMAGE)
            fprintf(file, "[image %zu code%s]", end - at, end - at == 1 ? "" : "s");
        else
            fputs(cm3_vocab_name(vocab, ids[at], name), file);
        if (ids[at] == eoss || (ids[at] == eos && on_line > 1)) {
            fputc('\n', file);
            on_line = 0;
        }
        at = end;
    }
    if (on_line) fputc('\n', file);
    return CM3_OK;
}
