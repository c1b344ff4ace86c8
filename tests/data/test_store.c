#include "data/store.h"
#include "core/file.h"
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

static void check_sample(cm3_store *store, int64_t i) {
    int32_t text[64], codes[SMALL_CODES], expected_text[12], expected_codes[SMALL_CODES];
    int64_t count, only_count;
    char *name, label[32];
    const int64_t expected = small_sample(i, expected_text, expected_codes);
    assert_int_equal(cm3_store_text(store, i, text, &count), CM3_OK);
    assert_int_equal(cm3_store_text_count(store, i, &only_count), CM3_OK);
    assert_int_equal(cm3_store_image(store, i, codes), CM3_OK);
    assert_int_equal(cm3_store_name(store, i, &name), CM3_OK);
    snprintf(label, sizeof label, "sample-%ld", (long)i);
    assert_int_equal(count, expected);
    assert_int_equal(only_count, expected);
    assert_memory_equal(text, expected_text, (size_t)count * sizeof *text);
    assert_memory_equal(codes, expected_codes, sizeof codes);
    assert_string_equal(name, label);
    assert_int_equal(cm3_store_is_validation(store, i), small_validation(i));
    free(name);
}

static void samples_read_back_in_any_order_from_file_and_memory(void **state) {
    (void)state;
    const int64_t limits[] = {0, (SAMPLES + 1) * 8, 1 << 30}; /* nothing, the offsets, everything in memory */
    for (size_t l = 0; l < 3; l++) {
        cm3_store *store;
        assert_int_equal(cm3_store_open(path, &vocab.fingerprint, limits[l], &store), CM3_OK);
        assert_int_equal(cm3_store_in_memory(store), l == 2);
        for (int64_t i = 0; i < 2 * SAMPLES; i++) check_sample(store, i * 7919 % SAMPLES);
        cm3_store_close(store);
    }
}

static void what_the_header_says_is_true(void **state) {
    (void)state;
    cm3_store *store;
    assert_int_equal(cm3_store_open(path, NULL, 0, &store), CM3_OK);
    const cm3_store_info *info = cm3_store_get_info(store);
    int64_t tokens = 0, longest = 0;
    for (int64_t i = 0; i < SAMPLES; i++) {
        int32_t text[12], codes[SMALL_CODES];
        const int64_t count = small_sample(i, text, codes);
        tokens += count;
        if (count > longest) longest = count;
    }
    assert_int_equal(info->samples, SAMPLES);
    assert_int_equal(info->validation, SAMPLES / 5);
    assert_int_equal(info->text_tokens, tokens);
    assert_int_equal(info->longest_text, longest);
    assert_int_equal(info->image_rows, SMALL_ROWS);
    assert_int_equal(info->image_columns, SMALL_COLUMNS);
    assert_true(cm3_hash_equal(info->vocabulary, vocab.fingerprint));
    assert_int_equal(info->source.low, 2);
    cm3_store_close(store);
}

static void training_and_validation_numbers_cover_every_sample_once(void **state) {
    (void)state;
    cm3_store *store;
    assert_int_equal(cm3_store_open(path, NULL, 0, &store), CM3_OK);
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
    int32_t codes[SMALL_CODES];
    assert_int_equal(cm3_store_open(path, NULL, 0, &store), CM3_OK);
    assert_int_equal(cm3_store_image(store, SAMPLES, codes), CM3_ERR_NOT_FOUND);
    assert_int_equal(cm3_store_image(store, -1, codes), CM3_ERR_NOT_FOUND);
    cm3_store_close(store);
}

static void another_vocabularys_store_is_one_clear_error(void **state) {
    (void)state;
    cm3_store *store;
    const cm3_hash other = {5, 6};
    assert_int_equal(cm3_store_open(path, &other, 0, &store), CM3_ERR_FORMAT);
    assert_null(store);
    assert_non_null(strstr(cm3_message(), "another vocabulary"));
    assert_non_null(strstr(cm3_message(), path));
    assert_null(strchr(cm3_message(), '\n'));
}

static void a_missing_store_is_not_found(void **state) {
    (void)state;
    cm3_store *store;
    assert_int_equal(cm3_store_open("no/such/store.h5", NULL, 0, &store), CM3_ERR_NOT_FOUND);
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

static void numbers_outside_their_vocabulary_are_not_written(void **state) {
    (void)state;
    char other[600];
    snprintf(other, sizeof other, "%s.bad", path);
    const cm3_store_info info = small_info(&vocab);
    cm3_store_writer *writer;
    int32_t codes[SMALL_CODES] = {0}, text[1] = {SMALL_TEXT};
    assert_int_equal(cm3_store_create(other, &info, &writer), CM3_OK);
    assert_int_equal(cm3_store_add(writer, text, 1, codes, NULL, false), CM3_ERR_FORMAT);
    codes[3] = -1;
    assert_int_equal(cm3_store_add(writer, text, 0, codes, NULL, false), CM3_ERR_FORMAT);
    cm3_store_discard(writer);
    assert_false(cm3_path_exists(other));
}

/* Reads everything; a damaged file may fail at any point, but only with a status and a line. */
static cm3_status read_everything(const char *file, int64_t limit) {
    cm3_store *store;
    cm3_status status = cm3_store_open(file, &vocab.fingerprint, limit, &store);
    for (int64_t i = 0; status == CM3_OK && i < SAMPLES; i++) {
        int32_t text[64], codes[SMALL_CODES], expected_text[12], expected_codes[SMALL_CODES];
        int64_t count;
        const int64_t expected = small_sample(i, expected_text, expected_codes);
        status = cm3_store_text(store, i, text, &count);
        if (status == CM3_OK) status = cm3_store_image(store, i, codes);
        if (status != CM3_OK) break;
        assert_int_equal(count, expected); /* what is given without a fault is true */
        assert_memory_equal(text, expected_text, (size_t)count * sizeof *text);
        assert_memory_equal(codes, expected_codes, sizeof codes);
    }
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
    cm3_status status = cm3_store_create(other, &info, &writer);
    for (int64_t i = 0; i < 20000 && status == CM3_OK; i++) {
        int32_t text[12], codes[SMALL_CODES];
        const int64_t count = small_sample(i, text, codes);
        status = cm3_store_add(writer, text, count, codes, "name", false);
    }
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
    assert_int_equal(cm3_store_open(other, NULL, 0, &store), CM3_ERR_FORMAT);
    assert_non_null(strstr(cm3_message(), "not a token store"));
    assert_int_equal(cm3_file_write(other, "plain text", 10), CM3_OK);
    assert_int_equal(cm3_store_open(other, NULL, 0, &store), CM3_ERR_FORMAT);
    assert_non_null(strstr(cm3_message(), "not an HDF5 file"));
    unlink(other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_read_back_in_any_order_from_file_and_memory),
        cmocka_unit_test(what_the_header_says_is_true),
        cmocka_unit_test(training_and_validation_numbers_cover_every_sample_once),
        cmocka_unit_test(indices_outside_are_refused),
        cmocka_unit_test(another_vocabularys_store_is_one_clear_error),
        cmocka_unit_test(a_missing_store_is_not_found),
        cmocka_unit_test(an_empty_set_is_refused_and_leaves_no_file),
        cmocka_unit_test(numbers_outside_their_vocabulary_are_not_written),
        cmocka_unit_test(a_store_cut_anywhere_is_refused),
        cmocka_unit_test(a_flipped_bit_never_becomes_a_wrong_token),
        cmocka_unit_test(a_full_disk_is_an_error_and_the_old_store_stays),
        cmocka_unit_test(another_hdf5_file_is_no_store),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
