#include "data/store.h"
#include "core/file.h"
#include "tests/support/documents.h"
#include "tests/support/small_store.h"

#include <hdf5.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <signal.h>
#include <unistd.h>
#include <cmocka.h>

/* HDF5 itself loses memory when it meets damaged headers. Ours is watched all the same. */
const char *__lsan_default_suppressions(void) {
    return "leak:libhdf5";
}

enum { SAMPLES = 300 };
static cm3_vocab vocab;
static char path[512];

static int setup(void **state) {
    (void)state;
    small_vocab(&vocab);
    small_store_write("store", SAMPLES, &vocab, path);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    unlink(path);
    return 0;
}

static const cm3_range all_segments = {0, INT64_MAX};

static void expect_document(const cm3_document *found, const cm3_document *expected) {
    assert_int_equal(found->segments.count, expected->segments.count);
    for (size_t i = 0; i < found->segments.count; i++) {
        const cm3_segment *f = &found->segments.items[i], *e = &expected->segments.items[i];
        assert_int_equal(f->modality, e->modality);
        assert_int_equal(f->count, e->count);
        assert_int_equal(f->rows, e->rows);
        assert_int_equal(f->columns, e->columns);
        if (f->begin != CM3_SEGMENT_ABSENT)
            assert_memory_equal(cm3_segment_ids(found, f), cm3_segment_ids(expected, e), f->count * sizeof(int32_t));
    }
}

static void check_string(cm3_store *store, int64_t i, cm3_store_string which, const char *expected) {
    char *text;
    assert_int_equal(cm3_store_read_string(store, i, which, &text), CM3_OK);
    assert_string_equal(text, expected);
    free(text);
}

static void check_sample(cm3_store *store, int64_t i) {
    static cm3_document found, expected;
    char label[32];
    small_document(i, &expected);
    assert_int_equal(cm3_store_read(store, i, all_segments, &found), CM3_OK);
    expect_document(&found, &expected);
    assert_int_equal(found.token_ids.count, expected.token_ids.count);
    assert_int_equal(cm3_store_lengths(store, i, &found), CM3_OK);
    expect_document(&found, &expected);
    assert_int_equal(found.token_ids.count, 0);
    snprintf(label, sizeof label, "sample-%ld", (long)i);
    check_string(store, i, CM3_STORE_NAME, label);
    check_string(store, i, CM3_STORE_CAPTION, "a caption");
    check_string(store, i, CM3_STORE_ORIGIN, "");
    cm3_document_free(&found);
    cm3_document_free(&expected);
}

static void samples_read_back_in_any_order_from_file_and_memory(void **state) {
    (void)state;
    /* In memory: nothing, where samples begin, segments too, texts too, everything. */
    const int64_t limits[] = {0, (SAMPLES + 1) * 24, (SAMPLES + 1) * 24 + SAMPLES * 16, (SAMPLES + 1) * 72, 1 << 30};
    for (size_t l = 0; l < 5; l++) {
        cm3_store *store;
        assert_int_equal(cm3_store_open(path, limits[l], &store), CM3_OK);
        for (int64_t i = 0; i < 2 * SAMPLES; i++) check_sample(store, i * 7919 % SAMPLES);
        cm3_store_close(store);
    }
}

static void what_the_header_says_is_true(void **state) {
    (void)state;
    cm3_store *store;
    assert_int_equal(cm3_store_open(path, 0, &store), CM3_OK);
    const cm3_store_info *info = cm3_store_get_info(store);
    int64_t tokens = 0;
    for (int64_t i = 0; i < SAMPLES; i++) {
        int32_t text[12], codes[SMALL_CODES];
        tokens += small_sample(i, text, codes);
    }
    assert_int_equal(info->samples, SAMPLES);
    assert_int_equal(info->validation, SAMPLES / 5);
    assert_int_equal(info->segments, 2 * SAMPLES);
    assert_int_equal(info->images, SAMPLES);
    assert_int_equal(info->text_tokens, tokens);
    assert_int_equal(info->codes, SAMPLES * SMALL_CODES);
    const cm3_store_info given = small_info(&vocab);
    assert_int_equal(cm3_store_check_inputs(store, &given.inputs), CM3_OK);
    cm3_store_close(store);
}

static cm3_hash content_of(int64_t samples, int64_t validation) {
    char other[600];
    snprintf(other, sizeof other, "%s.content", path);
    const cm3_store_info info = small_info(&vocab);
    cm3_store_writer *writer;
    cm3_document document = {0};
    cm3_store *store;
    assert_int_equal(cm3_store_create(other, &info, &writer), CM3_OK);
    for (int64_t i = 0; i < samples; i++) {
        small_document(i, &document);
        const cm3_store_sample sample = {.document = &document, .validation = i == validation};
        assert_int_equal(cm3_store_add(writer, &sample), CM3_OK);
    }
    assert_int_equal(cm3_store_commit(writer), CM3_OK);
    assert_int_equal(cm3_store_open(other, 0, &store), CM3_OK);
    const cm3_hash content = cm3_store_get_info(store)->content;
    cm3_store_close(store);
    cm3_document_free(&document);
    unlink(other);
    return content;
}

static void the_content_tells_sets_of_samples_apart(void **state) {
    (void)state;
    assert_true(cm3_hash_equal(content_of(5, 2), content_of(5, 2)));
    assert_false(cm3_hash_equal(content_of(5, 2), content_of(6, 2)));
    assert_false(cm3_hash_equal(content_of(5, 2), content_of(5, 3)));
}

static void training_and_validation_numbers_cover_every_sample_once(void **state) {
    (void)state;
    cm3_store *store;
    assert_int_equal(cm3_store_open(path, 0, &store), CM3_OK);
    int64_t training = 0, validation = 0;
    for (int64_t i = 0; i < SAMPLES; i++) {
        if (small_validation(i))
            assert_int_equal(cm3_store_validation(store, validation++), i);
        else
            assert_int_equal(cm3_store_training(store, training++), i);
    }
    assert_int_equal(validation, cm3_store_get_info(store)->validation);
    cm3_store_close(store);
}

static void indices_outside_are_refused(void **state) {
    (void)state;
    cm3_store *store;
    cm3_document document = {0};
    assert_int_equal(cm3_store_open(path, 0, &store), CM3_OK);
    assert_int_equal(cm3_store_read(store, SAMPLES, all_segments, &document), CM3_ERR_NOT_FOUND);
    assert_int_equal(cm3_store_read(store, -1, all_segments, &document), CM3_ERR_NOT_FOUND);
    cm3_store_close(store);
}

static void expect_difference(cm3_store *store, const cm3_store_inputs *other, const char *message) {
    assert_int_equal(cm3_store_check_inputs(store, other), CM3_ERR_FORMAT);
    assert_non_null(strstr(cm3_message(), message));
    assert_non_null(strstr(cm3_message(), path));
    assert_null(strchr(cm3_message(), '\n'));
}

static void a_store_of_other_inputs_is_one_clear_error(void **state) {
    (void)state;
    cm3_store *store;
    assert_int_equal(cm3_store_open(path, 0, &store), CM3_OK);
    cm3_store_inputs other = small_info(&vocab).inputs;
    other.image_tokenizer.low ^= 1;
    expect_difference(store, &other, "image_tokenizer: found ");
    other = small_info(&vocab).inputs;
    other.text_tokenizer.low ^= 1;
    expect_difference(store, &other, "text_tokenizer: found ");
    other = small_info(&vocab).inputs;
    other.image_size = 64;
    expect_difference(store, &other, "image_size: found 32, expected 64");
    other = small_info(&vocab).inputs;
    strcpy(other.fit, "pad");
    expect_difference(store, &other, "fit: found crop, expected pad");
    other = small_info(&vocab).inputs;
    strcpy(other.background, "black");
    expect_difference(store, &other, "background: found white, expected black");
    other = small_info(&vocab).inputs;
    strcpy(other.resize, "lanczos");
    expect_difference(store, &other, "resize: found bicubic, expected lanczos");
    cm3_store_close(store);
}

static void a_missing_store_is_not_found(void **state) {
    (void)state;
    cm3_store *store;
    assert_int_equal(cm3_store_open("no/such/store.h5", 0, &store), CM3_ERR_NOT_FOUND);
}

static void an_empty_set_is_refused_and_leaves_no_file(void **state) {
    (void)state;
    char other[600];
    snprintf(other, sizeof other, "%s.empty", path);
    const cm3_store_info info = small_info(&vocab);
    cm3_store_writer *writer;
    assert_int_equal(cm3_store_create(other, &info, &writer), CM3_OK);
    assert_int_equal(cm3_store_commit(writer), CM3_ERR_FORMAT);
    assert_non_null(strstr(cm3_message(), "empty"));
    assert_false(cm3_path_exists(other));
}

static void expect_not_written(cm3_store_writer *writer, const cm3_document *document) {
    assert_int_equal(cm3_store_add(writer, &(cm3_store_sample){.document = document}), CM3_ERR_FORMAT);
}

static void what_is_no_document_of_the_vocabulary_is_not_written(void **state) {
    (void)state;
    char other[600];
    snprintf(other, sizeof other, "%s.bad", path);
    const cm3_store_info info = small_info(&vocab);
    cm3_store_writer *writer;
    cm3_document document = {0};
    assert_int_equal(cm3_store_create(other, &info, &writer), CM3_OK);
    expect_not_written(writer, &document); /* no segments */
    assert_int_equal(cm3_document_add_text(&document, NULL, 0), CM3_OK);
    expect_not_written(writer, &document); /* a blank */
    cm3_document_clear(&document);
    assert_int_equal(cm3_document_add_text(&document, &(int32_t){SMALL_TEXT}, 1), CM3_OK);
    expect_not_written(writer, &document);
    cm3_document_clear(&document);
    assert_int_equal(cm3_document_add_image(&document, &(int32_t){-1}, 1, 1), CM3_OK);
    expect_not_written(writer, &document);
    document.token_ids.items[0] = 3;
    document.segments.items[0].rows = 0; /* a grid that is not known */
    expect_not_written(writer, &document);
    cm3_document_free(&document);
    cm3_store_discard(writer);
    assert_false(cm3_path_exists(other));
}

static void mixed_document(int64_t i, cm3_document *document) {
    cm3_rng rng = cm3_rng_stream(31, CM3_RNG_TEST, 0, (uint64_t)i);
    assert_int_equal(random_document(&rng, &vocab, document), CM3_OK);
}

static void documents_of_any_segments_and_grids_read_back_whole_and_in_part(void **state) {
    (void)state;
    enum { DOCUMENTS = 500 };
    char other[600];
    snprintf(other, sizeof other, "%s.mixed", path);
    cm3_store_info info = small_info(&vocab);
    cm3_document document = {0}, found = {0};
    for (int wide = 0; wide < 3; wide++) { /* codes of 1, 2, 4 bytes */
        cm3_store_writer *writer;
        info.image_codebook = wide == 0 ? SMALL_IMAGE : wide == 1 ? 8192 : 1 << 20;
        assert_int_equal(cm3_store_create(other, &info, &writer), CM3_OK);
        for (int64_t i = 0; i < DOCUMENTS; i++) {
            mixed_document(i, &document);
            const cm3_store_sample sample = {.document = &document, .strings = {NULL, "\xc3\xa9", "origin"}};
            assert_int_equal(cm3_store_add(writer, &sample), CM3_OK);
        }
        assert_int_equal(cm3_store_commit(writer), CM3_OK);
        for (int64_t limit = 0; limit < 1 << 21; limit += 20000) {
            cm3_store *store;
            assert_int_equal(cm3_store_open(other, limit, &store), CM3_OK);
            for (int64_t i = limit % 7; i < DOCUMENTS; i += 7) {
                mixed_document(i, &document);
                const int64_t count = (int64_t)document.segments.count;
                const cm3_range part = {i % count, i % count + 1 + i / 7 % count};
                assert_int_equal(cm3_store_read(store, i, part, &found), CM3_OK);
                expect_document(&found, &document);
                for (int64_t s = 0; s < count; s++)
                    assert_int_equal(found.segments.items[s].begin != CM3_SEGMENT_ABSENT,
                                     s >= part.begin && s < part.end);
                check_string(store, i, CM3_STORE_CAPTION, "\xc3\xa9");
                check_string(store, i, CM3_STORE_ORIGIN, "origin");
            }
            cm3_store_close(store);
            if (limit > 200000) break;
        }
    }
    cm3_document_free(&document);
    cm3_document_free(&found);
    unlink(other);
}

static void put(hid_t file, const char *name, hid_t type, hsize_t rows, hsize_t columns) {
    const hsize_t dims[2] = {rows, columns};
    const hid_t space = H5Screate_simple(2, dims, NULL);
    H5Dclose(H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Sclose(space);
}

static hid_t copy_of_store(const char *other) {
    char *data;
    size_t length;
    assert_int_equal(cm3_file_read(path, 1 << 24, &data, &length), CM3_OK);
    assert_int_equal(cm3_file_write(other, data, length), CM3_OK);
    free(data);
    return H5Fopen(other, H5F_ACC_RDWR, H5P_DEFAULT);
}

static void put_number(hid_t file, const char *name, int64_t value) {
    const hid_t space = H5Screate(H5S_SCALAR);
    if (H5Aexists(file, name) > 0) H5Adelete(file, name);
    const hid_t attribute = H5Acreate2(file, name, H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(attribute, H5T_NATIVE_INT64, &value);
    H5Aclose(attribute);
    H5Sclose(space);
}

static void embeddings_and_neighbours_can_be_added_to_a_store_of_this_version(void **state) {
    (void)state;
    char other[600];
    snprintf(other, sizeof other, "%s.more", path);
    const hid_t file = copy_of_store(other);
    const char *const embeddings[] = {"embedding_text", "embedding_image", "embedding_mean"};
    for (int i = 0; i < 3; i++) put(file, embeddings[i], H5T_STD_U16LE, SAMPLES, 32);
    put(file, "neighbour", H5T_STD_U64LE, SAMPLES, 4);
    put(file, "neighbour_score", H5T_IEEE_F32LE, SAMPLES, 4);
    put_number(file, "embedding_width", 32);
    H5Fclose(file);
    cm3_store *store;
    assert_int_equal(cm3_store_open(other, 0, &store), CM3_OK);
    for (int64_t i = 0; i < SAMPLES; i += 17) check_sample(store, i);
    cm3_store_close(store);
    unlink(other);
}

static void a_store_of_another_version_is_refused_in_one_line(void **state) {
    (void)state;
    char other[600], expected[700];
    snprintf(other, sizeof other, "%s.old", path);
    const hid_t file = copy_of_store(other);
    put_number(file, "version", 1);
    H5Fclose(file);
    cm3_store *store;
    assert_int_equal(cm3_store_open(other, 0, &store), CM3_ERR_FORMAT);
    snprintf(expected, sizeof expected,
             "%s: a token store of format version 1, expected 2; run `cm3leon tokenize` again", other);
    assert_string_equal(cm3_message(), expected);
    unlink(other);
}

/* As a tool would rewrite it: the same rows, with other filters. */
static void replace_filters(hid_t file, const char *name, bool checksums, bool deflated) {
    char values[SMALL_CODES * SAMPLES * 8];
    const hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT), space = H5Dget_space(dataset), type = H5Dget_type(dataset),
                create = H5Dget_create_plist(dataset);
    assert_true(H5Sget_simple_extent_npoints(space) * (hssize_t)H5Tget_size(type) <= (hssize_t)sizeof values);
    assert_true(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Dclose(dataset);
    H5Ldelete(file, name, H5P_DEFAULT);
    H5Premove_filter(create, H5Z_FILTER_ALL);
    if (deflated) H5Pset_deflate(create, 1);
    if (checksums) H5Pset_fletcher32(create);
    const hid_t made = H5Dcreate2(file, name, type, space, H5P_DEFAULT, create, H5P_DEFAULT);
    assert_true(H5Dwrite(made, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Dclose(made);
    H5Pclose(create);
    H5Tclose(type);
    H5Sclose(space);
}

static void a_store_without_its_checksums_is_refused_in_one_line(void **state) {
    (void)state;
    static const char *const names[] = {"sample", "segment", "text", "code", "split", "caption"};
    char other[600], expected[700];
    snprintf(other, sizeof other, "%s.bare", path);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (int way = 0; way < 3; way++) {
            const hid_t file = copy_of_store(other);
            replace_filters(file, names[i], way == 1, way > 0);
            H5Fclose(file);
            cm3_store *store;
            assert_int_equal(cm3_store_open(other, 0, &store), CM3_ERR_FORMAT);
            snprintf(expected, sizeof expected,
                     "%s: /%s: not as written: its checksums are gone, or it has other filters",
                     other, names[i]);
            assert_string_equal(cm3_message(), expected);
        }
    unlink(other);
}

/* Writes other numbers over a row of a dataset, with right checksums. */
static void overwrite(hid_t file, const char *name, hsize_t row, hsize_t columns, const uint64_t *values) {
    const hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT), space = H5Dget_space(dataset);
    const hsize_t start[2] = {row, 0}, count[2] = {1, columns};
    const hid_t memory = H5Screate_simple(2, count, NULL);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
    assert_true(H5Dwrite(dataset, H5T_NATIVE_UINT64, memory, space, H5P_DEFAULT, values) >= 0);
    H5Sclose(memory);
    H5Sclose(space);
    H5Dclose(dataset);
}

static void places_and_sizes_that_cannot_be_are_one_clear_error(void **state) {
    (void)state;
    static const struct {
        const char *name;
        hsize_t row, columns;
        uint64_t values[3];
    } faults[] = {
        {"sample", 7, 3, {UINT64_MAX, 0, 0}},
        {"sample", 7, 3, {14, UINT64_MAX, 0}},
        {"sample", 7, 3, {14, 0, UINT64_MAX - 5}},
        {"sample", 7, 3, {12, 30, 7 * SMALL_CODES}},
        {"sample", 7, 3, {14, 1, 7 * SMALL_CODES}},
        {"sample", SAMPLES, 3, {2 * SAMPLES + 1, 0, 0}},
        {"segment", 14, 2, {0, 0}},
        {"segment", 14, 2, {0, UINT32_MAX}},
        {"segment", 15, 2, {UINT32_MAX, UINT32_MAX}},
        {"segment", 15, 2, {SMALL_ROWS, SMALL_COLUMNS + 1}},
        {"segment", 15, 2, {4096, 4096}},
        {"segment", 15, 2, {0, SMALL_CODES}},
    };
    char other[600];
    snprintf(other, sizeof other, "%s.hostile", path);
    for (size_t f = 0; f < sizeof faults / sizeof *faults; f++) {
        const hid_t file = copy_of_store(other);
        overwrite(file, faults[f].name, faults[f].row, faults[f].columns, faults[f].values);
        H5Fclose(file);
        for (int64_t limit = 0; limit <= 1 << 30; limit += 1 << 30) {
            cm3_store *store;
            cm3_document document = {0};
            cm3_status status = cm3_store_open(other, limit, &store);
            for (int64_t i = 6; i < 8 && status == CM3_OK; i++)
                status = cm3_store_read(store, i, all_segments, &document);
            assert_int_equal(status, CM3_ERR_FORMAT);
            assert_non_null(strstr(cm3_message(), "the token store is damaged"));
            assert_null(strchr(cm3_message(), '\n'));
            cm3_document_free(&document);
            cm3_store_close(store);
        }
    }
    unlink(other);
}

/* Reads everything; a damaged file may fail at any point, but only with a status and a line. */
static cm3_status read_everything(const char *file, int64_t limit) {
    cm3_store *store;
    cm3_document found = {0}, expected = {0};
    cm3_status status = cm3_store_open(file, limit, &store);
    for (int64_t i = 0; status == CM3_OK && i < SAMPLES; i++) {
        status = cm3_store_read(store, i, all_segments, &found);
        if (status != CM3_OK) break;
        small_document(i, &expected);
        expect_document(&found, &expected); /* what is given without a fault is true */
    }
    cm3_document_free(&found);
    cm3_document_free(&expected);
    cm3_store_close(store);
    return status;
}

static void a_store_cut_anywhere_is_refused(void **state) {
    (void)state;
    char *data, other[600];
    size_t length;
    snprintf(other, sizeof other, "%s.cut", path);
    assert_int_equal(cm3_file_read(path, 1 << 24, &data, &length), CM3_OK);
    for (size_t i = 0; i < 40; i++) {
        const size_t cut = i < 39 ? i * length / 39 : length - 1;
        if (cut == length) continue;
        assert_int_equal(cm3_file_write(other, data, cut), CM3_OK);
        assert_int_equal(read_everything(other, 0), CM3_ERR_FORMAT);
        assert_null(strchr(cm3_message(), '\n'));
    }
    unlink(other);
    free(data);
}

static void a_flipped_bit_never_becomes_a_wrong_token(void **state) {
    (void)state;
    char *data, other[600];
    size_t length;
    snprintf(other, sizeof other, "%s.flip", path);
    assert_int_equal(cm3_file_read(path, 1 << 24, &data, &length), CM3_OK);
    cm3_rng rng = cm3_rng_stream(8, CM3_RNG_TEST, 0, 0);
    for (int i = 0; i < 300; i++) {
        const size_t at = cm3_rng_below(&rng, length);
        const char bit = (char)(1 << cm3_rng_below(&rng, 8));
        data[at] ^= bit;
        assert_int_equal(cm3_file_write(other, data, length), CM3_OK);
        read_everything(other, i % 2 ? 0 : 1 << 30);
        data[at] ^= bit;
    }
    unlink(other);
    free(data);
}

static void a_full_disk_is_an_error_and_the_old_store_stays(void **state) {
    (void)state;
    char other[600], *before, *after;
    size_t length_before, length_after;
    snprintf(other, sizeof other, "%s", path);
    assert_int_equal(cm3_file_read(other, 1 << 24, &before, &length_before), CM3_OK);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit, saved;
    getrlimit(RLIMIT_FSIZE, &saved);
    limit = saved;
    limit.rlim_cur = 20000; /* the system refuses to let a file grow beyond this, as it does on a full disk */
    setrlimit(RLIMIT_FSIZE, &limit);
    const cm3_store_info info = small_info(&vocab);
    cm3_store_writer *writer;
    cm3_document document = {0};
    cm3_status status = cm3_store_create(other, &info, &writer);
    for (int64_t i = 0; i < 20000 && status == CM3_OK; i++) {
        small_document(i, &document);
        status = cm3_store_add(writer, &(cm3_store_sample){.document = &document});
    }
    cm3_document_free(&document);
    if (status == CM3_OK)
        status = cm3_store_commit(writer);
    else
        cm3_store_discard(writer);
    setrlimit(RLIMIT_FSIZE, &saved);
    assert_int_equal(status, CM3_ERR_IO);
    assert_int_equal(cm3_file_read(other, 1 << 24, &after, &length_after), CM3_OK);
    assert_int_equal(length_before, length_after);
    assert_memory_equal(before, after, length_before);
    free(before);
    free(after);
}

static void another_hdf5_file_is_no_store(void **state) {
    (void)state;
    char other[600];
    snprintf(other, sizeof other, "%s.other", path);
    H5Fclose(H5Fcreate(other, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
    cm3_store *store;
    assert_int_equal(cm3_store_open(other, 0, &store), CM3_ERR_FORMAT);
    assert_non_null(strstr(cm3_message(), "not a token store"));
    assert_int_equal(cm3_file_write(other, "plain text", 10), CM3_OK);
    assert_int_equal(cm3_store_open(other, 0, &store), CM3_ERR_FORMAT);
    assert_non_null(strstr(cm3_message(), "not an HDF5 file"));
    unlink(other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_read_back_in_any_order_from_file_and_memory),
        cmocka_unit_test(what_the_header_says_is_true),
        cmocka_unit_test(the_content_tells_sets_of_samples_apart),
        cmocka_unit_test(training_and_validation_numbers_cover_every_sample_once),
        cmocka_unit_test(indices_outside_are_refused),
        cmocka_unit_test(a_store_of_other_inputs_is_one_clear_error),
        cmocka_unit_test(a_missing_store_is_not_found),
        cmocka_unit_test(an_empty_set_is_refused_and_leaves_no_file),
        cmocka_unit_test(what_is_no_document_of_the_vocabulary_is_not_written),
        cmocka_unit_test(documents_of_any_segments_and_grids_read_back_whole_and_in_part),
        cmocka_unit_test(embeddings_and_neighbours_can_be_added_to_a_store_of_this_version),
        cmocka_unit_test(a_store_of_another_version_is_refused_in_one_line),
        cmocka_unit_test(a_store_without_its_checksums_is_refused_in_one_line),
        cmocka_unit_test(places_and_sizes_that_cannot_be_are_one_clear_error),
        cmocka_unit_test(a_store_cut_anywhere_is_refused),
        cmocka_unit_test(a_flipped_bit_never_becomes_a_wrong_token),
        cmocka_unit_test(a_full_disk_is_an_error_and_the_old_store_stays),
        cmocka_unit_test(another_hdf5_file_is_no_store),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
