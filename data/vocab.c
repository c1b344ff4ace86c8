#include "data/vocab.h"

#include "core/file.h"
#include "core/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *const cm3_vocab_layouts[] = {"cm3leon", "chameleon", NULL};

static const char *const role_names[CM3_REGION_COUNT] = {
#define X(role, name, text) name,
    CM3_REGION_LIST(X)
#undef X
};

/* The fingerprint is taken from text, so that it does not depend on how a machine stores numbers. */
static cm3_hash fingerprint_of(const cm3_vocab *vocab) {
    char text[CM3_REGION_COUNT * 64 + 2 * CM3_HASH_HEX + 32], hex[CM3_HASH_HEX];
    int at = snprintf(text, sizeof text, "%" PRId32 "\n", vocab->size);
    for (int role = 0; role < CM3_REGION_COUNT; role++)
        at += snprintf(text + at, sizeof text - (size_t)at, "%s %" PRId32 " %" PRId32 "\n", role_names[role],
                       vocab->region[role].first, vocab->region[role].count);
    cm3_hash_to_hex(vocab->text_tokenizer, hex);
    at += snprintf(text + at, sizeof text - (size_t)at, "%s\n", hex);
    cm3_hash_to_hex(vocab->image_tokenizer, hex);
    at += snprintf(text + at, sizeof text - (size_t)at, "%s\n", hex);
    return cm3_hash_bytes(text, (size_t)at);
}

static cm3_status check_sizes(const cm3_vocab_sizes *sizes) {
    if (sizes->text < 1 || sizes->image < 1 || sizes->sentinels < 1 || sizes->multiple < 1)
        return cm3_fail(CM3_ERR_RECIPE,
                        "vocabulary: text %" PRId64 ", image %" PRId64 ", sentinels %" PRId64 ", multiple %" PRId64
                        ": each must be at least 1",
                        sizes->text, sizes->image, sizes->sentinels, sizes->multiple);
    const int64_t most = INT32_MAX / 8;
    if (sizes->text > most || sizes->image > most || sizes->sentinels > most || sizes->multiple > most)
        return cm3_fail(CM3_ERR_RECIPE, "vocabulary: a size is above %" PRId64, most);
    return CM3_OK;
}

static void build_cm3leon(const cm3_vocab_sizes *sizes, cm3_vocab *vocab) {
    int64_t next = 0;
    for (int role = 0; role < CM3_REGION_COUNT; role++) {
        const int64_t count = role == CM3_REGION_SENTINEL ? sizes->sentinels
                              : role == CM3_REGION_IMAGE  ? sizes->image
                              : role == CM3_REGION_TEXT   ? sizes->text
                                                          : 1;
        vocab->region[role] = (cm3_region){(int32_t)next, (int32_t)count};
        next += count;
    }
    vocab->size = (int32_t)((next + sizes->multiple - 1) / sizes->multiple * sizes->multiple);
}

static cm3_status build_chameleon(const cm3_vocab_sizes *sizes, cm3_vocab *vocab) {
    enum { SIZE = 65536, TEXT = 16384 };
    static const cm3_region table[CM3_REGION_COUNT] = {
        [CM3_REGION_BOS] = {0, 1},      [CM3_REGION_PAD] = {1, 1},           [CM3_REGION_EOS] = {2, 1},
        [CM3_REGION_UNK] = {3, 1},      [CM3_REGION_IMAGE] = {4, 8192},      [CM3_REGION_EOSS] = {8196, 1},
        [CM3_REGION_BREAK] = {8197, 1}, [CM3_REGION_SENTINEL] = {8198, 512}, [CM3_REGION_TEXT] = {TEXT, SIZE - TEXT}};
    if (sizes->image != 8192 || sizes->sentinels != 512 || sizes->text > SIZE - TEXT || SIZE % sizes->multiple)
        return cm3_fail(
            CM3_ERR_RECIPE,
            "vocabulary: layout chameleon has 8192 image codes, 512 sentinels, at most %d text tokens and %d ids "
            "in all; found %" PRId64 " image codes, %" PRId64 " sentinels, %" PRId64
            " text tokens and a multiple of %" PRId64,
            SIZE - TEXT, SIZE, sizes->image, sizes->sentinels, sizes->text, sizes->multiple);
    memcpy(vocab->region, table, sizeof table);
    vocab->region[CM3_REGION_TEXT].count = (int32_t)sizes->text;
    vocab->size = SIZE;
    return CM3_OK;
}

cm3_status cm3_vocab_build(const cm3_vocab_sizes *sizes, cm3_vocab *vocab) {
    *vocab = (cm3_vocab){.text_tokenizer = sizes->text_tokenizer, .image_tokenizer = sizes->image_tokenizer};
    CM3_TRY(check_sizes(sizes));
    if (sizes->layout == CM3_LAYOUT_CHAMELEON)
        CM3_TRY(build_chameleon(sizes, vocab));
    else
        build_cm3leon(sizes, vocab);
    vocab->fingerprint = fingerprint_of(vocab);
    return CM3_OK;
}

cm3_status cm3_vocab_save(const cm3_vocab *vocab, const char *path) {
    cm3_output *output;
    CM3_TRY(cm3_output_open(path, &output));
    cm3_json_writer w = cm3_json_writer_on(cm3_output_stream(output));
    cm3_json_begin_object(&w, NULL);
    cm3_json_put_string(&w, "format", "cm3leon vocabulary");
    cm3_json_put_int(&w, "version", 1);
    cm3_json_put_int(&w, "size", vocab->size);
    cm3_json_begin_object(&w, "regions");
    for (int role = 0; role < CM3_REGION_COUNT; role++) {
        cm3_json_begin_object(&w, role_names[role]);
        cm3_json_put_int(&w, "first", vocab->region[role].first);
        cm3_json_put_int(&w, "count", vocab->region[role].count);
        cm3_json_end_object(&w);
    }
    cm3_json_end_object(&w);
    cm3_json_put_hash(&w, "text_tokenizer", vocab->text_tokenizer);
    cm3_json_put_hash(&w, "image_tokenizer", vocab->image_tokenizer);
    cm3_json_put_hash(&w, "fingerprint", vocab->fingerprint);
    cm3_json_end_object(&w);
    cm3_json_end_line(&w);
    return cm3_output_commit(output);
}

static cm3_status need_region(const json_t *regions, const char *path, int role, cm3_vocab *vocab) {
    const json_t *region;
    int64_t first, count;
    CM3_TRY(cm3_json_need_object(regions, path, role_names[role], &region));
    CM3_TRY(cm3_json_need_int(region, path, "first", 0, vocab->size - 1, &first));
    const bool single = role < CM3_REGION_SENTINEL;
    CM3_TRY(cm3_json_need_int(region, path, "count", 1, single ? 1 : vocab->size - first, &count));
    vocab->region[role] = (cm3_region){(int32_t)first, (int32_t)count};
    for (int other = 0; other < role; other++) {
        const cm3_region a = vocab->region[role], b = vocab->region[other];
        if (a.first < b.first + b.count && b.first < a.first + a.count)
            return cm3_fail(CM3_ERR_FORMAT, "%s: regions: \"%s\" and \"%s\" overlap", path, role_names[other],
                            role_names[role]);
    }
    return CM3_OK;
}

static cm3_status read_vocab(const json_t *root, const char *path, cm3_vocab *vocab) {
    const json_t *regions;
    int64_t size;
    CM3_TRY(cm3_json_need_format(root, path, "cm3leon vocabulary", 1));
    CM3_TRY(cm3_json_need_int(root, path, "size", CM3_REGION_COUNT, INT32_MAX, &size));
    vocab->size = (int32_t)size;
    CM3_TRY(cm3_json_need_object(root, path, "regions", &regions));
    for (int role = 0; role < CM3_REGION_COUNT; role++) CM3_TRY(need_region(regions, path, role, vocab));
    CM3_TRY(cm3_json_need_hash(root, path, "text_tokenizer", &vocab->text_tokenizer));
    CM3_TRY(cm3_json_need_hash(root, path, "image_tokenizer", &vocab->image_tokenizer));
    CM3_TRY(cm3_json_need_hash(root, path, "fingerprint", &vocab->fingerprint));
    if (!cm3_hash_equal(vocab->fingerprint, fingerprint_of(vocab)))
        return cm3_fail(CM3_ERR_FORMAT, "%s: fingerprint: is not that of the table beside it; the file was changed",
                        path);
    return CM3_OK;
}

cm3_status cm3_vocab_load(const char *path, cm3_vocab *vocab) {
    *vocab = (cm3_vocab){0};
    json_t *root;
    CM3_TRY(cm3_json_load(path, 1 << 20, &root));
    const cm3_status status = read_vocab(root, path, vocab);
    json_decref(root);
    if (status != CM3_OK) *vocab = (cm3_vocab){0};
    return status;
}

cm3_token_class cm3_vocab_class(const cm3_vocab *vocab, int32_t id) {
    if (cm3_vocab_is(vocab, CM3_REGION_IMAGE, id)) return CM3_TOKEN_IMAGE; /* most frequent first */
    if (cm3_vocab_is(vocab, CM3_REGION_TEXT, id)) return CM3_TOKEN_TEXT;
    if (cm3_vocab_is(vocab, CM3_REGION_SENTINEL, id)) return CM3_TOKEN_SENTINEL;
    for (int role = 0; role < CM3_REGION_SENTINEL; role++)
        if (vocab->region[role].first == id) return CM3_TOKEN_SPECIAL;
    return CM3_TOKEN_RESERVED;
}

const char *cm3_vocab_name(const cm3_vocab *vocab, int32_t id, char text[32]) {
    static const char *const many[CM3_REGION_COUNT] = {
        [CM3_REGION_SENTINEL] = "sentinel", [CM3_REGION_IMAGE] = "image", [CM3_REGION_TEXT] = "text"};
    for (int role = 0; role < CM3_REGION_COUNT; role++) {
        if (!cm3_vocab_is(vocab, (cm3_region_role)role, id)) continue;
        if (many[role])
            snprintf(text, 32, "<%s:%" PRId32 ">", many[role], id - vocab->region[role].first);
        else
            snprintf(text, 32, "%s", role_names[role]);
        return text;
    }
    snprintf(text, 32, "<reserved:%" PRId32 ">", id);
    return text;
}
