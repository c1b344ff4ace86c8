/* Hugging Face's tokenizer.json. Its vocabulary spells every byte of a token as a printable character. */
#include "core/file.h"
#include "core/json.h"
#include "data/text/bpe_internal.h"
#include "core/utf8.h"

#include <stdlib.h>
#include <string.h>

#define MAX_FILE ((size_t)256 << 20)
#define ALPHABET_END 512 /* all characters that spell a byte are below */

/* --- messages ---------------------------------------------------------------------------------------------------- */

static cm3_status unsupported(const char *name, const char *field, const json_t *found, const char *expected) {
    char *text = found ? json_dumps(found, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    const cm3_status status = cm3_fail(CM3_ERR_UNSUPPORTED, "%s: %s: found %.60s, expected %s", name, field,
                                       text ? text : "nothing", expected);
    free(text);
    return status;
}

/* Members that must be absent, null or empty for the tokenizer to be of our kind. */
static bool is_nothing(const json_t *value) {
    return !value || json_is_null(value) || (json_is_string(value) && json_string_length(value) == 0) ||
           (json_is_number(value) && json_number_value(value) == 0);
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

typedef struct reader {
    const char *name; /* of the file, for messages */
    cm3_bpe *bpe;
    const json_t *vocab;
    int16_t byte_of[ALPHABET_END]; /* the byte that a character spells, or -1 */
    CM3_LIST(char) buffer;
} reader;

static cm3_status check_kind(const char *name, const json_t *root, const json_t *model) {
    const json_t *type = json_object_get(model, "type");
    if (type && (!json_is_string(type) || strcmp(json_string_value(type), "BPE") != 0))
        return unsupported(name, "model.type", type, "\"BPE\"");
    static const char *const empty[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        const json_t *value = json_object_get(model, empty[i]);
        char field[64];
        snprintf(field, sizeof field, "model.%s", empty[i]);
        if (!is_nothing(value)) return unsupported(name, field, value, "null");
    }
    const json_t *normalizer = json_object_get(root, "normalizer");
    if (!is_nothing(normalizer)) return unsupported(name, "normalizer", normalizer, "null");

    const json_t *splitter = json_object_get(root, "pre_tokenizer");
    const json_t *kind = json_object_get(splitter, "type");
    if (!json_is_string(kind) || strcmp(json_string_value(kind), "ByteLevel") != 0)
        return unsupported(name, "pre_tokenizer.type", kind, "\"ByteLevel\"");
    const json_t *space = json_object_get(splitter, "add_prefix_space");
    if (!json_is_false(space)) return unsupported(name, "pre_tokenizer.add_prefix_space", space, "false");
    const json_t *pattern = json_object_get(splitter, "use_regex");
    if (pattern && !json_is_true(pattern)) return unsupported(name, "pre_tokenizer.use_regex", pattern, "true");
    return CM3_OK;
}

static cm3_status read_id(const reader *r, const char *field, const json_t *value, int32_t *id) {
    const json_int_t number = json_is_integer(value) ? json_integer_value(value) : -1;
    if (number < 0 || number >= CM3_BPE_MAX_SIZE)
        return cm3_fail(CM3_ERR_FORMAT, "%s: %s: not an id, expected 0 to %d", r->name, field, CM3_BPE_MAX_SIZE - 1);
    *id = (int32_t)number;
    return CM3_OK;
}

/* Bytes of a spelt token into r->buffer. False if a character spells no byte. */
static cm3_status unspell(reader *r, const char *text, size_t length, size_t *bytes, bool *spelt) {
    CM3_TRY(CM3_LIST_RESERVE(&r->buffer, length));
    *bytes = 0;
    *spelt = true;
    for (size_t i = 0; i < length && *spelt;) {
        uint32_t code_point;
        i += cm3_utf8_next(text + i, length - i, &code_point);
        *spelt = code_point < ALPHABET_END && r->byte_of[code_point] >= 0;
        if (*spelt) r->buffer.items[(*bytes)++] = (char)r->byte_of[code_point];
    }
    return CM3_OK;
}

static cm3_status highest_id(const reader *r, const json_t *added, size_t *size) {
    int32_t id = 0;
    const char *token;
    json_t *value;
    *size = 0;
    json_object_foreach((json_t *)r->vocab, token, value) {
        char field[128];
        snprintf(field, sizeof field, "model.vocab \"%.80s\"", token);
        CM3_TRY(read_id(r, field, value, &id));
        if ((size_t)id >= *size) *size = (size_t)id + 1;
    }
    size_t i;
    json_array_foreach(added, i, value) {
        char field[64];
        snprintf(field, sizeof field, "added_tokens[%zu].id", i);
        CM3_TRY(read_id(r, field, json_object_get(value, "id"), &id));
        if ((size_t)id >= *size) *size = (size_t)id + 1;
    }
    return CM3_OK;
}

static cm3_status read_vocab(reader *r) {
    const char *token;
    json_t *value;
    json_object_foreach((json_t *)r->vocab, token, value) {
        const int32_t id = (int32_t)json_integer_value(value);
        if (r->bpe->tokens[id].kind != CM3__TOKEN_GAP)
            return cm3_fail(CM3_ERR_FORMAT, "%s: model.vocab \"%.80s\": its id %d is that of another token", r->name,
                            token, id);
        const size_t length = strlen(token);
        size_t bytes;
        bool spelt;
        CM3_TRY(unspell(r, token, length, &bytes, &spelt));
        if (spelt)
            CM3_TRY(cm3__bpe_set_token(r->bpe, id, r->buffer.items, bytes, CM3__TOKEN_MODEL));
        else
            CM3_TRY(cm3__bpe_set_token(r->bpe, id, token, length, CM3__TOKEN_LITERAL));
    }
    return CM3_OK;
}

static bool is_ascii(const char *text) {
    for (; *text; text++)
        if ((unsigned char)*text >= 0x80) return false;
    return true;
}

static cm3_status read_special(reader *r, size_t i, const json_t *value) {
    const json_t *special = json_object_get(value, "special");
    const char *content = json_string_value(json_object_get(value, "content"));
    const int32_t id = (int32_t)json_integer_value(json_object_get(value, "id"));
    char field[64];
    snprintf(field, sizeof field, "added_tokens[%zu].special", i);
    if (!json_is_true(special)) return unsupported(r->name, field, special, "true");
    if (!content) return cm3_fail(CM3_ERR_FORMAT, "%s: added_tokens[%zu].content: not a string", r->name, i);

    cm3__token *token = &r->bpe->tokens[id];
    const json_t *in_vocab = json_object_get(r->vocab, content);
    if (in_vocab ? json_integer_value(in_vocab) != id : token->kind != CM3__TOKEN_GAP)
        return cm3_fail(CM3_ERR_FORMAT, "%s: added_tokens[%zu]: \"%.80s\" with id %d does not agree with model.vocab",
                        r->name, i, content, id);
    if (!in_vocab) return cm3__bpe_set_token(r->bpe, id, content, strlen(content), CM3__TOKEN_SPECIAL);
    if ((token->kind & CM3__TOKEN_MODEL) && is_ascii(content)) {
        token->kind |= CM3__TOKEN_SPECIAL;
        return CM3_OK;
    }
    return cm3__bpe_set_token(r->bpe, id, content, strlen(content), CM3__TOKEN_LITERAL | CM3__TOKEN_SPECIAL);
}

/* The id of a token that merges may use, or -1. */
static int32_t model_id(const reader *r, const char *token, size_t length) {
    const json_t *value = json_object_getn(r->vocab, token, length);
    const int32_t id = value ? (int32_t)json_integer_value(value) : -1;
    return id >= 0 && (r->bpe->tokens[id].kind & CM3__TOKEN_MODEL) ? id : -1;
}

/* A merge is "left right" or ["left", "right"]. */
static cm3_status read_merge(reader *r, size_t i, const json_t *merge) {
    const char *left = json_string_value(merge), *right = NULL;
    size_t left_length = 0, right_length = 0;
    if (left) {
        if (strncmp(left, "#version", 8) == 0) return CM3_OK; /* the header line of a merges.txt */
        left_length = strcspn(left, " ");
        if (left[left_length] == ' ') right = left + left_length + 1;
        if (right && strchr(right, ' ')) right = NULL;
    } else if (json_array_size(merge) == 2) {
        left = json_string_value(json_array_get(merge, 0));
        right = json_string_value(json_array_get(merge, 1));
        left_length = left ? strlen(left) : 0;
    }
    if (!left || !right)
        return cm3_fail(CM3_ERR_FORMAT, "%s: model.merges[%zu]: expected \"left right\" or [\"left\", \"right\"]",
                        r->name, i);
    right_length = strlen(right);

    const size_t length = left_length + right_length;
    CM3_TRY(CM3_LIST_RESERVE(&r->buffer, length));
    memcpy(r->buffer.items, left, left_length);
    memcpy(r->buffer.items + left_length, right, right_length);
    const int32_t a = model_id(r, left, left_length), b = model_id(r, right, right_length);
    const int32_t joined = model_id(r, r->buffer.items, length);
    if (a < 0 || b < 0 || joined < 0 || left_length == 0 || right_length == 0) {
        const size_t shown = a < 0 ? left_length : b < 0 ? right_length : length;
        return cm3_fail(CM3_ERR_FORMAT, "%s: model.merges[%zu]: \"%.*s\" is no token of model.vocab", r->name, i,
                        shown < 80 ? (int)shown : 80,
                        a < 0   ? left
                        : b < 0 ? right
                                : r->buffer.items);
    }
    return cm3__bpe_add_merge(r->bpe, a, b, joined);
}

static cm3_status read_model(reader *r, const json_t *root, const json_t *model) {
    const json_t *merges, *added = json_object_get(root, "added_tokens"),
                          *ignore = json_object_get(model, "ignore_merges");
    CM3_TRY(cm3_json_need_object(model, r->name, "vocab", &r->vocab));
    CM3_TRY(cm3_json_need_array(model, r->name, "merges", &merges));
    size_t size;
    CM3_TRY(highest_id(r, added, &size));
    CM3_TRY(cm3__bpe_create(size, &r->bpe));
    r->bpe->ignore_merges = json_is_true(ignore);
    CM3_TRY(read_vocab(r));
    size_t i;
    json_t *value;
    json_array_foreach(added, i, value) CM3_TRY(read_special(r, i, value));
    json_array_foreach(merges, i, value) CM3_TRY(read_merge(r, i, value));
    const cm3_status status = cm3__bpe_finish(r->bpe);
    return status == CM3_OK ? CM3_OK : cm3_fail_context(status, "%s: model.vocab", r->name);
}

static cm3_status from_json(const json_t *root, const char *name, cm3_bpe **out) {
    reader r = {.name = name};
    uint16_t code_points[256];
    cm3__bpe_alphabet(code_points);
    memset(r.byte_of, -1, sizeof r.byte_of);
    for (int byte = 0; byte < 256; byte++) r.byte_of[code_points[byte]] = (int16_t)byte;

    const json_t *model;
    cm3_status status = cm3_json_need_object(root, name, "model", &model);
    if (status == CM3_OK) status = check_kind(name, root, model);
    if (status == CM3_OK) status = read_model(&r, root, model);
    CM3_LIST_FREE(&r.buffer);
    if (status != CM3_OK) {
        cm3_bpe_free(r.bpe);
        r.bpe = NULL;
    }
    *out = r.bpe;
    return status;
}

cm3_status cm3_bpe_parse(const char *json, size_t length, const char *name, cm3_bpe **out) {
    *out = NULL;
    json_t *root;
    CM3_TRY(cm3_json_parse(name, json, length, &root));
    const cm3_status status = from_json(root, name, out);
    json_decref(root);
    return status;
}

cm3_status cm3_bpe_load(const char *path, cm3_bpe **out) {
    *out = NULL;
    json_t *root;
    CM3_TRY(cm3_json_load(path, MAX_FILE, &root));
    const cm3_status status = from_json(root, path, out);
    json_decref(root);
    return status;
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

typedef struct writer {
    const cm3_bpe *bpe;
    cm3_json_writer json;
    uint16_t code_points[256];
    char *buffer; /* room for the longest token, spelt */
} writer;

/* A token as the file spells it, in w->buffer. */
static const char *spell(writer *w, int32_t id) {
    const cm3__token token = w->bpe->tokens[id];
    char *end = w->buffer;
    for (uint32_t i = 0; i < token.length; i++) {
        const char byte = w->bpe->bytes.items[token.offset + i];
        if (token.kind & CM3__TOKEN_MODEL)
            end += cm3_utf8_write(w->code_points[(unsigned char)byte], end);
        else
            *end++ = byte;
    }
    *end = 0;
    return w->buffer;
}

static void write_special(writer *w) {
    cm3_json_begin_array(&w->json, "added_tokens");
    for (size_t id = 0; id < w->bpe->size; id++) {
        if (!(w->bpe->tokens[id].kind & CM3__TOKEN_SPECIAL)) continue;
        cm3_json_begin_object(&w->json, NULL);
        cm3_json_put_int(&w->json, "id", (int64_t)id);
        cm3_json_put_string(&w->json, "content", spell(w, (int32_t)id));
        static const char *const options[] = {"single_word", "lstrip", "rstrip", "normalized"};
        for (size_t i = 0; i < sizeof options / sizeof *options; i++) cm3_json_put_bool(&w->json, options[i], false);
        cm3_json_put_bool(&w->json, "special", true);
        cm3_json_end_object(&w->json);
    }
    cm3_json_end_array(&w->json);
}

static void write_byte_level(writer *w, const char *key) {
    cm3_json_begin_object(&w->json, key);
    cm3_json_put_string(&w->json, "type", "ByteLevel");
    cm3_json_put_bool(&w->json, "add_prefix_space", false);
    cm3_json_put_bool(&w->json, "trim_offsets", true);
    cm3_json_put_bool(&w->json, "use_regex", true);
    cm3_json_end_object(&w->json);
}

static void write_model(writer *w) {
    cm3_json_begin_object(&w->json, "model");
    cm3_json_put_string(&w->json, "type", "BPE");
    static const char *const absent[] = {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) cm3_json_put_null(&w->json, absent[i]);
    cm3_json_put_bool(&w->json, "fuse_unk", false);
    cm3_json_put_bool(&w->json, "byte_fallback", false);
    cm3_json_put_bool(&w->json, "ignore_merges", w->bpe->ignore_merges);
    cm3_json_begin_object(&w->json, "vocab");
    for (size_t id = 0; id < w->bpe->size; id++)
        if (w->bpe->tokens[id].kind & (CM3__TOKEN_MODEL | CM3__TOKEN_LITERAL))
            cm3_json_put_int(&w->json, spell(w, (int32_t)id), (int64_t)id);
    cm3_json_end_object(&w->json);
    cm3_json_begin_array(&w->json, "merges"); /* as pairs: the other form cannot spell all of them */
    for (size_t rank = 0; rank < w->bpe->merges.count; rank++) {
        cm3_json_begin_array(&w->json, NULL);
        cm3_json_put_string(&w->json, NULL, spell(w, w->bpe->merges.items[rank].left));
        cm3_json_put_string(&w->json, NULL, spell(w, w->bpe->merges.items[rank].right));
        cm3_json_end_array(&w->json);
    }
    cm3_json_end_array(&w->json);
    cm3_json_end_object(&w->json);
}

static void write_tokenizer(writer *w) {
    cm3_json_begin_object(&w->json, NULL);
    cm3_json_put_string(&w->json, "version", "1.0");
    cm3_json_put_null(&w->json, "truncation");
    cm3_json_put_null(&w->json, "padding");
    write_special(w);
    cm3_json_put_null(&w->json, "normalizer");
    write_byte_level(w, "pre_tokenizer");
    cm3_json_put_null(&w->json, "post_processor");
    write_byte_level(w, "decoder");
    write_model(w);
    cm3_json_end_object(&w->json);
    cm3_json_end_line(&w->json);
}

cm3_status cm3_bpe_save(const cm3_bpe *bpe, const char *path) {
    size_t longest = 0;
    for (size_t id = 0; id < bpe->size; id++)
        if (bpe->tokens[id].length > longest) longest = bpe->tokens[id].length;
    writer w = {.bpe = bpe, .buffer = malloc(2 * longest + 4)};
    if (!w.buffer) return cm3_fail(CM3_ERR_MEMORY, "%s: out of memory to write a token of %zu bytes", path, longest);
    cm3__bpe_alphabet(w.code_points);
    cm3_output *output;
    cm3_status status = cm3_output_open(path, &output);
    if (status == CM3_OK) {
        w.json = cm3_json_writer_on(cm3_output_stream(output));
        write_tokenizer(&w);
        status = cm3_output_commit(output);
    }
    free(w.buffer);
    return status;
}
