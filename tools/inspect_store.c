#include "tools/inspect_store.h"

#include "core/auto.h"
#include "core/json.h"
#include "data/store.h"

#include <stdlib.h>
#include <string.h>

/* --- the header -------------------------------------------------------------------------------------------------- */

static void put_hash(cm3_json_writer *w, const char *key, cm3_hash hash) {
    char hex[CM3_HASH_HEX];
    cm3_hash_to_hex(hash, hex);
    cm3_json_put_string(w, key, hex);
}

static void put_header(const cm3_store_info *i) {
    cm3_json_writer w = cm3_json_writer_on(stdout);
    cm3_json_begin_object(&w, NULL);
    cm3_json_put_int(&w, "samples", i->samples);
    cm3_json_put_int(&w, "heldout", i->validation);
    cm3_json_put_int(&w, "segments", i->segments);
    cm3_json_put_int(&w, "images", i->images);
    cm3_json_put_int(&w, "text_tokens", i->text_tokens);
    cm3_json_put_int(&w, "codes", i->codes);
    cm3_json_put_int(&w, "codes_per_image", i->images ? i->codes / i->images : 0);
    put_hash(&w, "content", i->content);
    put_hash(&w, "vocabulary", i->vocabulary);
    put_hash(&w, "text_tokenizer", i->inputs.text_tokenizer);
    put_hash(&w, "image_tokenizer", i->inputs.image_tokenizer);
    cm3_json_put_int(&w, "image_size", i->inputs.image_size);
    cm3_json_put_string(&w, "fit", i->inputs.fit);
    cm3_json_put_string(&w, "background", i->inputs.background);
    cm3_json_put_string(&w, "resize", i->inputs.resize);
    cm3_json_end_object(&w);
    cm3_json_end_line(&w);
}

static void print_header(const char *path, const cm3_store_info *i) {
    char text[CM3_HASH_HEX], image[CM3_HASH_HEX], vocabulary[CM3_HASH_HEX];
    cm3_hash_to_hex(i->inputs.text_tokenizer, text);
    cm3_hash_to_hex(i->inputs.image_tokenizer, image);
    cm3_hash_to_hex(i->vocabulary, vocabulary);
    printf("%s\n  %lld samples, %lld validation; %lld segments, %lld of them images\n"
           "  %lld text tokens of %lld, %lld image codes of %lld\n",
           path, (long long)i->samples, (long long)i->validation, (long long)i->segments, (long long)i->images,
           (long long)i->text_tokens, (long long)i->text_vocabulary, (long long)i->codes, (long long)i->image_codebook);
    printf("  text tokenizer   %s\n  image tokenizer  %s\n  vocabulary       %s\n"
           "  images           %lld pixels, fit %s on %s, resized %s\n",
           text, image, vocabulary, (long long)i->inputs.image_size, i->inputs.fit, i->inputs.background,
           i->inputs.resize);
}

/* --- a sample ---------------------------------------------------------------------------------------------------- */

static const char *const string_names[CM3_STORE_STRINGS] = {"name", "caption", "origin"};

static void put_sample(int64_t index, const cm3_document *document, char *const strings[CM3_STORE_STRINGS]) {
    cm3_json_writer w = cm3_json_writer_on(stdout);
    cm3_json_begin_object(&w, NULL);
    cm3_json_put_int(&w, "sample", index);
    for (int s = 0; s < CM3_STORE_STRINGS; s++) cm3_json_put_string(&w, string_names[s], strings[s]);
    cm3_json_begin_array(&w, "segments");
    for (size_t i = 0; i < document->segments.count; i++) {
        const cm3_segment *segment = &document->segments.items[i];
        const bool image = segment->modality == CM3_MODALITY_IMAGE;
        cm3_json_begin_object(&w, NULL);
        cm3_json_put_string(&w, "modality", image ? "image" : "text");
        if (image) cm3_json_put_int(&w, "rows", segment->rows);
        if (image) cm3_json_put_int(&w, "columns", segment->columns);
        cm3_json_begin_array(&w, "token_ids");
        for (size_t k = 0; k < segment->count; k++) cm3_json_put_int(&w, NULL, cm3_segment_ids(document, segment)[k]);
        cm3_json_end_array(&w);
        cm3_json_end_object(&w);
    }
    cm3_json_end_array(&w);
    cm3_json_end_object(&w);
    cm3_json_end_line(&w);
}

static void print_ids(const int32_t *ids, size_t count, size_t per_line) {
    for (size_t k = 0; k < count; k++) printf("%s%d", k % per_line ? " " : "\n    ", ids[k]);
    putchar('\n');
}

static void print_sample(int64_t index, const cm3_document *document, char *const strings[CM3_STORE_STRINGS]) {
    printf("sample %lld: %lld tokens with boundaries\n", (long long)index, (long long)cm3_document_size(document));
    for (int s = 0; s < CM3_STORE_STRINGS; s++) {
        printf("  %-8s ", string_names[s]);
        cm3_text_print(stdout, strings[s], strlen(strings[s]));
        putchar('\n');
    }
    for (size_t i = 0; i < document->segments.count; i++) {
        const cm3_segment *segment = &document->segments.items[i];
        if (segment->modality == CM3_MODALITY_IMAGE)
            printf("  segment %zu: image, %d x %d codes", i, segment->rows, segment->columns);
        else
            printf("  segment %zu: text, %zu token%s", i, segment->count, segment->count == 1 ? "" : "s");
        print_ids(cm3_segment_ids(document, segment), segment->count, segment->columns ? (size_t)segment->columns : 16);
    }
}

static void strings_free(char *(*strings)[CM3_STORE_STRINGS]) {
    for (int s = 0; s < CM3_STORE_STRINGS; s++) free((*strings)[s]);
}

static cm3_status inspect_sample(const cm3_command_line *line, cm3_store *store) {
    int64_t index = 0;
    CM3_TRY(cm3_option_int(line, "sample", 0, cm3_store_get_info(store)->samples - 1, &index));
    CM3_AUTO(cm3_document_free) cm3_document document = {0};
    CM3_AUTO(strings_free) char *strings[CM3_STORE_STRINGS] = {0};
    CM3_TRY(cm3_store_read(store, index, (cm3_range){0, INT64_MAX}, &document));
    for (int s = 0; s < CM3_STORE_STRINGS; s++)
        CM3_TRY(cm3_store_read_string(store, index, (cm3_store_string)s, &strings[s]));
    (cm3_option_given(line, "json") ? put_sample : print_sample)(index, &document, strings);
    return CM3_OK;
}

cm3_status cm3_inspect_store(const cm3_command_line *line, const char *path) {
    cm3_store *store;
    cm3_status status = CM3_OK;
    CM3_TRY(cm3_store_open(path, 0, &store));
    if (cm3_option_given(line, "sample"))
        status = inspect_sample(line, store);
    else if (cm3_option_given(line, "json"))
        put_header(cm3_store_get_info(store));
    else
        print_header(path, cm3_store_get_info(store));
    cm3_store_close(store);
    return status;
}
