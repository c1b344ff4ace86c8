#include "data/slots.h"
#include "core/hash.h"
#include "data/document.h"
#include "data/inspect_block.h"
#include "tests/support/documents.h"
#include "tests/support/small_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { SAMPLES = 83, TRAINING = 83 - 16, VALIDATION = 16 };
static cm3_vocab vocab;
static cm3_store *store, *file_store;
static char path[512];

static int setup(void **state) {
    (void)state;
    small_vocab(&vocab);
    small_store_write("slots", SAMPLES, &vocab, path);
    assert_int_equal(cm3_store_open(path, 1 << 30, &store), CM3_OK);
    assert_int_equal(cm3_store_open(path, 0, &file_store), CM3_OK);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    cm3_store_close(store);
    cm3_store_close(file_store);
    unlink(path);
    return 0;
}

static void render_sample(int64_t index, cm3_tokens *tokens) {
    cm3_document document = {0};
    small_document(index, &document);
    assert_int_equal(cm3_document_render(&document, &vocab, tokens), CM3_OK);
    cm3_document_free(&document);
}

static int64_t text_count(int64_t index) {
    int32_t text[12], codes[SMALL_CODES];
    return small_sample(index, text, codes);
}

typedef struct bench {
    cm3_data_config config;
    cm3_packer *packer;
    cm3_block block;
} bench;

enum { KEEP_NOTHING, KEEP_IMAGES, KEEP_DOCUMENTS, KEEPS };
static cm3_data_config config_keeping(int keep) {
    cm3_data_config config = small_config();
    config.keep_images_whole = keep == KEEP_IMAGES;
    config.keep_documents_whole = keep == KEEP_DOCUMENTS;
    return config;
}

static bench bench_open(cm3_data_config config, cm3_store *from) {
    static cm3_data_config kept[16]; /* a packer borrows its config */
    static int used = 0;
    bench b = {.config = config};
    kept[used % 16] = config;
    assert_int_equal(cm3_packer_new(&kept[used++ % 16], &vocab, from, &b.packer), CM3_OK);
    assert_int_equal(cm3_block_init(&b.block, &config), CM3_OK);
    return b;
}

static void bench_close(bench *b) {
    cm3_block_free(&b->block);
    cm3_packer_free(b->packer);
}

/* The sources of a slot's blocks, one after another. */
static void follow(bench *b, int64_t slot, int64_t blocks, cm3_tokens *stream) {
    cm3_cursor cursor = cm3_slot_start(slot);
    for (int64_t i = 0; i < blocks; i++) {
        assert_int_equal(cm3_slot_next(b->packer, slot, &cursor, &b->block), CM3_OK);
        assert_int_equal(b->block.length, b->config.context + 1);
        assert_int_equal(cm3_tokens_unmask(&vocab, b->block.ids, (size_t)b->block.length, stream), CM3_OK);
    }
}

static void unmasked_blocks_join_to_whole_samples_with_nothing_lost(void **state) {
    (void)state;
    bench b = bench_open(small_config(), store);
    for (int64_t slot = 0; slot < b.config.batch; slot++) {
        cm3_tokens stream = {0}, expected = {0};
        follow(&b, slot, 40, &stream);
        for (int64_t g = slot; expected.count < stream.count; g += b.config.batch) {
            const uint64_t k =
                cm3_rng_permute(5, CM3_RNG_SHUFFLE, (uint64_t)g / TRAINING, (uint64_t)g % TRAINING, TRAINING);
            render_sample(cm3_store_training(store, (int64_t)k), &expected);
        }
        assert_memory_equal(stream.items, expected.items, stream.count * sizeof *stream.items);
        CM3_LIST_FREE(&stream);
        CM3_LIST_FREE(&expected);
    }
    bench_close(&b);
}

static void an_epoch_gives_every_training_sample_once_and_no_validation_one(void **state) {
    (void)state;
    const int64_t slot_counts[] = {1, 6, 64, 100}; /* fewer and more than there are samples */
    for (size_t c = 0; c < 4; c++) {
        cm3_data_config config = small_config();
        config.batch = slot_counts[c];
        bench b = bench_open(config, store);
        enum { EPOCHS = 4 };
        int seen[EPOCHS][SAMPLES] = {{0}};
        for (int64_t slot = 0; slot < config.batch; slot++) {
            cm3_cursor cursor = cm3_slot_start(slot);
            while (cursor.sample < EPOCHS * TRAINING) {
                assert_int_equal(cm3_slot_next(b.packer, slot, &cursor, &b.block), CM3_OK);
                for (int64_t i = 0; i < (int64_t)b.block.pieces.count; i++) {
                    const cm3_piece *piece = &b.block.pieces.items[i];
                    if (piece->tokens.begin == 0 && piece->sample < EPOCHS * TRAINING)
                        seen[piece->sample / TRAINING][piece->index]++;
                }
            }
        }
        for (int epoch = 0; epoch < EPOCHS; epoch++)
            for (int64_t i = 0; i < SAMPLES; i++) assert_int_equal(seen[epoch][i], small_validation(i) ? 0 : 1);
        bench_close(&b);
    }
}

static void skipping_lands_where_making_blocks_does(void **state) {
    (void)state;
    for (int keep = 0; keep < KEEPS; keep++) {
        const cm3_data_config config = config_keeping(keep);
        bench b = bench_open(config, store), f = bench_open(config, file_store);
        for (int64_t slot = 0; slot < config.batch; slot++) {
            cm3_cursor made = cm3_slot_start(slot), skipped = made, from_file = made;
            for (int i = 0; i < 50; i++) assert_int_equal(cm3_slot_next(b.packer, slot, &made, &b.block), CM3_OK);
            assert_int_equal(cm3_slot_skip(b.packer, slot, &skipped, 50), CM3_OK);
            assert_int_equal(cm3_slot_skip(f.packer, slot, &from_file, 50), CM3_OK);
            assert_memory_equal(&made, &skipped, sizeof made);
            assert_memory_equal(&made, &from_file, sizeof made);
        }
        bench_close(&b);
        bench_close(&f);
    }
}

static void a_block_of_any_step_can_be_made_again(void **state) {
    (void)state;
    bench b = bench_open(small_config(), store), again = bench_open(small_config(), file_store);
    cm3_cursor cursor = cm3_slot_start(2);
    for (int64_t step = 0; step < 30; step++) {
        assert_int_equal(cm3_slot_next(b.packer, 2, &cursor, &b.block), CM3_OK);
        assert_int_equal(cm3_block_rebuild(again.packer, &again.config, 2, step, &again.block), CM3_OK);
        assert_int_equal(again.block.number, step);
        assert_memory_equal(b.block.ids, again.block.ids, (size_t)b.block.length * sizeof *b.block.ids);
    }
    assert_int_equal(cm3_block_rebuild(again.packer, &again.config, 6, 0, &again.block), CM3_ERR_USAGE);
    assert_int_equal(cm3_block_rebuild(again.packer, &again.config, 0, -1, &again.block), CM3_ERR_USAGE);
    bench_close(&b);
    bench_close(&again);
}

static void resuming_from_saved_cursors_is_exact(void **state) {
    (void)state;
    bench b = bench_open(small_config(), store);
    cm3_cursor cursors[6], loaded[6];
    for (int64_t slot = 0; slot < 6; slot++) {
        cursors[slot] = cm3_slot_start(slot);
        for (int i = 0; i < 7; i++) assert_int_equal(cm3_slot_next(b.packer, slot, &cursors[slot], &b.block), CM3_OK);
    }
    char *text;
    assert_int_equal(cm3_cursors_save(&b.config, store, cursors, &text), CM3_OK);
    assert_int_equal(cm3_cursors_load(&b.config, store, "state", text, loaded), CM3_OK);
    assert_memory_equal(cursors, loaded, sizeof cursors);
    cm3_hash vocabulary;
    assert_int_equal(cm3_cursors_vocabulary("state", text, &vocabulary), CM3_OK);
    assert_true(cm3_hash_equal(vocabulary, cm3_store_get_info(store)->vocabulary));
    free(text);
    bench_close(&b);
}

static void expect_refused(cm3_data_config config, const char *text, const char *part) {
    cm3_cursor cursors[128];
    assert_int_equal(cm3_cursors_load(&config, store, "state", text, cursors), CM3_ERR_FORMAT);
    assert_non_null(strstr(cm3_message(), part));
}

static void cursors_of_another_run_are_refused(void **state) {
    (void)state;
    const cm3_data_config config = small_config();
    cm3_cursor cursors[6] = {{0}};
    for (int64_t slot = 0; slot < 6; slot++) cursors[slot] = cm3_slot_start(slot);
    char *text;
    assert_int_equal(cm3_cursors_save(&config, store, cursors, &text), CM3_OK);
    cm3_data_config other = config;
    other.seed++;
    expect_refused(other, text, "seed");
    other = config;
    other.batch = 5;
    expect_refused(other, text, "batch");
    text[strlen(text) - 3] = '}';
    expect_refused(config, text, "JSON");
    free(text);
    cursors[1].sample = 2; /* slot 2's */
    assert_int_equal(cm3_cursors_save(&config, store, cursors, &text), CM3_OK);
    expect_refused(config, text, "slot 1");
    free(text);
    cursors[1].sample = -6;
    assert_int_equal(cm3_cursors_save(&config, store, cursors, &text), CM3_OK);
    expect_refused(config, text, "slot 1");
    free(text);
}

static void a_cursor_outside_its_sample_is_a_fault_and_stays(void **state) {
    (void)state;
    bench b = bench_open(small_config(), store);
    cm3_cursor cursor = {.sample = 0, .offset = 1000};
    const cm3_cursor before = cursor;
    assert_int_equal(cm3_slot_next(b.packer, 0, &cursor, &b.block), CM3_ERR_FORMAT);
    assert_memory_equal(&cursor, &before, sizeof cursor);
    bench_close(&b);
}

static void with_images_kept_whole_no_block_begins_inside_an_image(void **state) {
    (void)state;
    const cm3_data_config config = config_keeping(KEEP_IMAGES);
    bench b = bench_open(config, store);
    int64_t cut = 0;
    for (int64_t slot = 0; slot < config.batch; slot++) {
        cm3_cursor cursor = cm3_slot_start(slot);
        for (int i = 0; i < 60; i++) {
            assert_int_equal(cm3_slot_next(b.packer, slot, &cursor, &b.block), CM3_OK);
            assert_int_equal(b.block.length, config.context + 1);
            const cm3_piece *piece = &b.block.pieces.items[0];
            const int64_t text = text_count(piece->index);
            assert_true(piece->tokens.begin <= 2 + text || piece->tokens.begin == 2 + text + SMALL_CODES);
            cut += cursor.offset > 2 + text && cursor.offset < 2 + text + SMALL_CODES;
        }
    }
    assert_true(cut > 0); /* the case did occur */
    bench_close(&b);
}

static void with_documents_kept_whole_a_block_holds_as_many_as_fit(void **state) {
    (void)state;
    const cm3_data_config config = config_keeping(KEEP_DOCUMENTS);
    bench b = bench_open(config, store);
    for (int64_t slot = 0; slot < config.batch; slot++) {
        cm3_cursor cursor = cm3_slot_start(slot);
        for (int i = 0; i < 60; i++) {
            assert_int_equal(cm3_slot_next(b.packer, slot, &cursor, &b.block), CM3_OK);
            for (size_t p = 0; p < b.block.pieces.count; p++) {
                const cm3_piece *piece = &b.block.pieces.items[p];
                const int64_t text = text_count(piece->index);
                assert_int_equal(piece->tokens.begin, 0);
                assert_int_equal(piece->tokens.end, 3 + text + SMALL_CODES);
            }
            const int64_t most = config.context + 1, next = cursor.sample + config.batch;
            const int64_t index =
                cm3_store_training(store, (int64_t)cm3_rng_permute(5, CM3_RNG_SHUFFLE, (uint64_t)next / TRAINING,
                                                                   (uint64_t)next % TRAINING, TRAINING));
            const int64_t text = text_count(index);
            assert_true(b.block.length <= most);
            assert_true(b.block.length + 3 + text + SMALL_CODES >
                        most - 3 * (b.block.masks.drawn - b.block.masks.count));
        }
    }
    bench_close(&b);
}

static void images_longer_than_a_block_still_make_progress(void **state) {
    (void)state;
    for (int keep = 0; keep < KEEPS; keep++) {
        cm3_data_config config = config_keeping(keep);
        config.context = 10;
        bench b = bench_open(config, store);
        cm3_cursor cursor = cm3_slot_start(0);
        for (int i = 0; i < 300; i++) {
            const cm3_cursor before = cursor;
            assert_int_equal(cm3_slot_next(b.packer, 0, &cursor, &b.block), CM3_OK);
            assert_true(cursor.sample > before.sample || cursor.offset > before.offset);
            assert_true(keep == KEEP_DOCUMENTS ? b.block.length <= 11 : b.block.length == 11);
        }
        bench_close(&b);
    }
}

static void masks_differ_between_slots_and_blocks(void **state) {
    (void)state;
    cm3_data_config config = small_config();
    config.mask_min = 1;
    bench b = bench_open(config, store);
    cm3_range first[100];
    int64_t count = 0, same = 0;
    for (int64_t slot = 0; slot < 5; slot++) {
        cm3_cursor cursor = cm3_slot_start(slot);
        for (int i = 0; i < 20; i++) {
            assert_int_equal(cm3_slot_next(b.packer, slot, &cursor, &b.block), CM3_OK);
            if (b.block.masks.count) first[count++] = b.block.masks.spans[0];
        }
    }
    for (int64_t i = 0; i < count; i++)
        for (int64_t j = 0; j < i; j++) same += first[i].begin == first[j].begin && first[i].end == first[j].end;
    assert_true(count > 90 && same < count * count / 40);
    bench_close(&b);
}

static void validation_blocks_make_every_token_but_the_first_a_target_once(void **state) {
    (void)state;
    bench b = bench_open(small_config(), file_store);
    cm3_tokens all = {0};
    for (int64_t i = 0; i < VALIDATION; i++) render_sample(cm3_store_validation(store, i), &all);
    const int64_t tokens = (int64_t)all.count;
    int64_t blocks, targets = 0;
    assert_int_equal(cm3_validation_blocks(b.packer, &blocks), CM3_OK);
    for (int64_t i = 0; i < blocks; i++) {
        assert_int_equal(cm3_validation_block(b.packer, i, &b.block), CM3_OK);
        assert_true(b.block.length >= 2);
        assert_memory_equal(b.block.ids, all.items + i * b.config.context, (size_t)b.block.length * sizeof *all.items);
        targets += b.block.length - 1;
    }
    assert_int_equal(targets, tokens - 1);
    assert_int_equal(cm3_validation_block(b.packer, blocks, &b.block), CM3_ERR_NOT_FOUND);
    CM3_LIST_FREE(&all);
    bench_close(&b);
}

static void validation_documents_kept_whole_are_each_in_one_block(void **state) {
    (void)state;
    for (int64_t context = 10; context <= 90; context += 40) { /* documents longer than a block, one a block, two */
        cm3_data_config config = config_keeping(KEEP_DOCUMENTS);
        config.context = context;
        bench b = bench_open(config, file_store);
        cm3_tokens all = {0};
        for (int64_t i = 0; i < VALIDATION; i++) render_sample(cm3_store_validation(store, i), &all);
        int64_t blocks, at = 0, shared = 0;
        assert_int_equal(cm3_validation_blocks(b.packer, &blocks), CM3_OK);
        for (int64_t i = 0; i < blocks; i++) {
            assert_int_equal(cm3_validation_block(b.packer, i, &b.block), CM3_OK);
            assert_true(b.block.length >= 2 && b.block.length <= context + 1);
            const bool cut = b.block.pieces.items[0].tokens.begin > 0;
            at -= cut;
            shared += cut;
            assert_memory_equal(b.block.ids, all.items + at, (size_t)b.block.length * sizeof *all.items);
            at += b.block.length;
        }
        assert_int_equal(at, all.count);
        assert_true(context == 10 ? shared > VALIDATION : shared == 0);
        CM3_LIST_FREE(&all);
        bench_close(&b);
    }
}

static void targets_are_the_inputs_shifted_by_one_and_classes_tell_what_they_are(void **state) {
    (void)state;
    bench b = bench_open(small_config(), store);
    cm3_batch batch;
    const int64_t s = b.config.context;
    assert_int_equal(cm3_batch_init(&batch, 3, s), CM3_OK);
    cm3_cursor cursor = cm3_slot_start(0);
    assert_int_equal(cm3_slot_next(b.packer, 0, &cursor, &b.block), CM3_OK);
    cm3_batch_set(&batch, &vocab, 0, &b.block);
    cm3_batch_set(&batch, &vocab, 1, &b.block);
    assert_memory_equal(batch.inputs, b.block.ids, (size_t)s * 4);
    assert_memory_equal(batch.targets + s, b.block.ids + 1, (size_t)s * 4);
    int64_t blocks;
    assert_int_equal(cm3_validation_blocks(b.packer, &blocks), CM3_OK);
    assert_int_equal(cm3_validation_block(b.packer, blocks - 1, &b.block), CM3_OK); /* a short one over a full one */
    const int64_t length = b.block.length;
    assert_true(length <= s);
    cm3_batch_set(&batch, &vocab, 1, &b.block);
    cm3_batch_set(&batch, &vocab, 2, NULL);
    int64_t counts[CM3_TOKEN_RESERVED + 1] = {0};
    double weight = 0;
    for (int64_t i = 0; i < 3 * s; i++) {
        counts[batch.classes[i]]++;
        weight += (double)batch.weights[i];
        assert_true(batch.weights[i] == (batch.targets[i] == -1 ? 0.0f : 1.0f));
        assert_int_equal(batch.positions[i], i % s);
        if (batch.targets[i] == -1)
            assert_int_equal(batch.classes[i], CM3_TOKEN_RESERVED);
        else
            assert_int_equal(batch.classes[i], cm3_vocab_class(&vocab, batch.targets[i]));
    }
    assert_memory_equal(counts, batch.counts, sizeof counts);
    assert_true(weight == batch.weight);
    for (int64_t i = 0; i < s; i++) {
        assert_int_equal(batch.targets[s + i] >= 0, i < length - 1);
        assert_int_equal(batch.inputs[s + i] == cm3_vocab_id(&vocab, CM3_REGION_PAD, 0), i >= length);
        assert_int_equal(batch.targets[2 * s + i], -1);
    }
    cm3_batch_free(&batch);
    bench_close(&b);
}

static void a_step_is_the_same_bits_for_ever(void **state) {
    (void)state;
    bench b = bench_open(small_config(), store);
    cm3_hasher *hasher = cm3_hasher_new();
    for (int64_t slot = 0; slot < b.config.batch; slot++) {
        assert_int_equal(cm3_block_rebuild(b.packer, &b.config, slot, 17, &b.block), CM3_OK);
        cm3_hasher_add(hasher, b.block.ids, (size_t)b.block.length * sizeof *b.block.ids);
    }
    char hex[CM3_HASH_HEX];
    cm3_hash_to_hex(cm3_hasher_value(hasher), hex);
    assert_string_equal(hex, "97194aaf791cd3ff43564601ce8606a3");
    cm3_hasher_free(hasher);
    bench_close(&b);
}

static void a_block_prints_readably(void **state) {
    (void)state;
    bench b = bench_open(small_config(), store);
    char *text;
    size_t length;
    for (int64_t step = 0; step < 20; step++) {
        FILE *file = open_memstream(&text, &length);
        assert_int_equal(cm3_block_rebuild(b.packer, &b.config, 1, step, &b.block), CM3_OK);
        assert_int_equal(cm3_block_print(file, &b.block, &b.config, &vocab, store, NULL), CM3_OK);
        fclose(file);
        assert_non_null(strstr(text, "slot 1 of 6"));
        assert_non_null(strstr(text, ", \"sample-"));
        if (b.block.masks.count) assert_non_null(strstr(text, "<sentinel:0>  "));
        free(text);
    }
    bench_close(&b);
}

static void a_store_without_training_samples_or_of_larger_vocabularies_is_refused(void **state) {
    (void)state;
    cm3_packer *packer;
    cm3_vocab other = vocab;
    other.region[CM3_REGION_IMAGE].count--;
    const cm3_data_config config = small_config();
    assert_int_equal(cm3_packer_new(&config, &other, store, &packer), CM3_ERR_FORMAT);
    assert_non_null(strstr(cm3_message(), "64 image codes"));
    char all[600];
    snprintf(all, sizeof all, "%s.validation", path);
    const cm3_store_info info = small_info(&vocab);
    cm3_store_writer *writer;
    cm3_document document = {0};
    small_document(0, &document);
    assert_int_equal(cm3_store_create(all, &info, &writer), CM3_OK);
    const cm3_store_sample sample = {.document = &document, .validation = true};
    assert_int_equal(cm3_store_add(writer, &sample), CM3_OK);
    assert_int_equal(cm3_store_commit(writer), CM3_OK);
    cm3_store *only;
    assert_int_equal(cm3_store_open(all, 0, &only), CM3_OK);
    assert_int_equal(cm3_packer_new(&config, &vocab, only, &packer), CM3_ERR_FORMAT);
    assert_non_null(strstr(cm3_message(), "validation"));
    cm3_document_free(&document);
    cm3_store_close(only);
    unlink(all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unmasked_blocks_join_to_whole_samples_with_nothing_lost),
        cmocka_unit_test(an_epoch_gives_every_training_sample_once_and_no_validation_one),
        cmocka_unit_test(skipping_lands_where_making_blocks_does),
        cmocka_unit_test(a_block_of_any_step_can_be_made_again),
        cmocka_unit_test(resuming_from_saved_cursors_is_exact),
        cmocka_unit_test(cursors_of_another_run_are_refused),
        cmocka_unit_test(a_cursor_outside_its_sample_is_a_fault_and_stays),
        cmocka_unit_test(with_images_kept_whole_no_block_begins_inside_an_image),
        cmocka_unit_test(with_documents_kept_whole_a_block_holds_as_many_as_fit),
        cmocka_unit_test(images_longer_than_a_block_still_make_progress),
        cmocka_unit_test(masks_differ_between_slots_and_blocks),
        cmocka_unit_test(validation_blocks_make_every_token_but_the_first_a_target_once),
        cmocka_unit_test(validation_documents_kept_whole_are_each_in_one_block),
        cmocka_unit_test(targets_are_the_inputs_shifted_by_one_and_classes_tell_what_they_are),
        cmocka_unit_test(a_step_is_the_same_bits_for_ever),
        cmocka_unit_test(a_block_prints_readably),
        cmocka_unit_test(a_store_without_training_samples_or_of_larger_vocabularies_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
