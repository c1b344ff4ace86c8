/* Sequence slots over documents of 1 to 6 segments with images of many grids. */
#include "data/endless_list.h"
#include "data/inspect_block.h"
#include "tests/support/documents.h"
#include "tests/support/small_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { SAMPLES = 120, TRAINING = SAMPLES - SAMPLES / 5, VALIDATION = SAMPLES / 5, BLOCKS = 60 };
static cm3_vocab vocab;
static cm3_store *store;
static cm3_data_config config;
static cm3_packer *packer;
static cm3_block block;
static char path[512];

static void mixed_document(int64_t i, cm3_document *document) {
    cm3_rng rng = cm3_rng_stream(41, CM3_RNG_TEST, 0, (uint64_t)i);
    assert_int_equal(random_document(&rng, &vocab, document), CM3_OK);
}

static int setup(void **state) {
    (void)state;
    small_vocab(&vocab);
    snprintf(path, sizeof path, "%s/documents-%ld.h5", CM3_BINARY_DIR, (long)getpid());
    const cm3_store_info info = small_info(&vocab);
    cm3_store_writer *writer;
    cm3_document document = {0};
    assert_int_equal(cm3_store_create(path, &info, &writer), CM3_OK);
    for (int64_t i = 0; i < SAMPLES; i++) {
        mixed_document(i, &document);
        const cm3_store_sample sample = {
            .document = &document, .strings = {"a name", "a caption"}, .validation = small_validation(i)};
        assert_int_equal(cm3_store_add(writer, &sample), CM3_OK);
    }
    assert_int_equal(cm3_store_commit(writer), CM3_OK);
    assert_int_equal(cm3_store_open(path, 20000, &store), CM3_OK); /* codes stay in the file */
    cm3_document_free(&document);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    cm3_store_close(store);
    unlink(path);
    return 0;
}

static void open_packer(int64_t context, bool images, bool documents) {
    config = small_config();
    config.context = context;
    config.keep_images_whole = images;
    config.keep_documents_whole = documents;
    assert_int_equal(cm3_packer_new(&config, &vocab, store, &packer), CM3_OK);
    assert_int_equal(cm3_block_init(&block, &config), CM3_OK);
}

static void close_packer(void) {
    cm3_block_free(&block);
    cm3_packer_free(packer);
}

static void render_sample(int64_t index, cm3_tokens *ids) {
    cm3_document document = {0};
    mixed_document(index, &document);
    assert_int_equal(cm3_document_render(&document, &vocab, ids), CM3_OK);
    cm3_document_free(&document);
}

static bool is_boundary(int32_t id) {
    return cm3_vocab_is(&vocab, CM3_REGION_EOS, id) || cm3_vocab_is(&vocab, CM3_REGION_BREAK, id);
}

/* The pieces of a block are parts of rendered documents, and unmasked it is just these. */
static void expect_pieces(const cm3_tokens *source) {
    size_t at = 0;
    for (size_t p = 0; p < block.pieces.count; p++) {
        const cm3_piece *piece = &block.pieces.items[p];
        const size_t length = (size_t)cm3_range_length(piece->tokens);
        cm3_tokens whole = {0};
        render_sample(piece->index, &whole);
        assert_true(piece->tokens.begin < piece->tokens.end && piece->tokens.end <= (int64_t)whole.count);
        assert_memory_equal(source->items + at, whole.items + piece->tokens.begin, length * sizeof(int32_t));
        at += length;
        CM3_LIST_FREE(&whole);
    }
    assert_int_equal(at, source->count);
}

static void expect_spans_inside_segments(const cm3_tokens *source) {
    for (int64_t i = 0; i < block.masks.count; i++) {
        const cm3_range span = block.masks.spans[i];
        assert_true(span.begin < span.end && span.end <= (int64_t)source->count);
        for (int64_t k = span.begin; k < span.end; k++) assert_false(is_boundary(source->items[k]));
        if (!block.masks.whole) continue;
        assert_true(span.begin == 0 || is_boundary(source->items[span.begin - 1]));
        assert_true(span.end == (int64_t)source->count || is_boundary(source->items[span.end]));
    }
}

static void blocks_are_documents_masked_within_segments(void **state) {
    (void)state;
    for (int keep = 0; keep < 3; keep++) {
        open_packer(250, keep == 1, keep == 2);
        int64_t spans = 0;
        for (int64_t slot = 0; slot < config.batch; slot++) {
            cm3_cursor cursor = cm3_slot_start(slot);
            for (int i = 0; i < BLOCKS; i++) {
                cm3_tokens source = {0};
                assert_int_equal(cm3_slot_next(packer, slot, &cursor, &block), CM3_OK);
                assert_true(block.length <= 251 && (keep == 2 || block.length == 251));
                assert_int_equal(cm3_tokens_unmask(&vocab, block.ids, (size_t)block.length, &source), CM3_OK);
                expect_pieces(&source);
                expect_spans_inside_segments(&source);
                spans += block.masks.count;
                CM3_LIST_FREE(&source);
            }
        }
        assert_true(spans > config.batch * BLOCKS / 2);
        close_packer();
    }
}

static void a_slots_blocks_join_to_its_documents_with_nothing_lost(void **state) {
    (void)state;
    open_packer(70, false, false); /* documents are longer than a block, too */
    for (int64_t slot = 0; slot < config.batch; slot++) {
        cm3_tokens stream = {0}, expected = {0};
        cm3_cursor cursor = cm3_slot_start(slot);
        for (int i = 0; i < BLOCKS; i++) {
            assert_int_equal(cm3_slot_next(packer, slot, &cursor, &block), CM3_OK);
            assert_int_equal(cm3_tokens_unmask(&vocab, block.ids, (size_t)block.length, &stream), CM3_OK);
        }
        for (int64_t g = slot; expected.count < stream.count; g += config.batch)
            render_sample(cm3_store_training(store, cm3_endless_list_at(config.seed, TRAINING, g)), &expected);
        assert_memory_equal(stream.items, expected.items, stream.count * sizeof *stream.items);
        CM3_LIST_FREE(&stream);
        CM3_LIST_FREE(&expected);
    }
    close_packer();
}

/* Whether a token of a document lies behind the first of an image. */
static bool inside_image(const cm3_document *document, int64_t offset) {
    int64_t begin = 1;
    for (size_t i = 0; i < document->segments.count; i++) {
        const cm3_segment *segment = &document->segments.items[i];
        const int64_t end = begin + (int64_t)segment->count;
        if (offset > begin && offset < end) return segment->modality == CM3_MODALITY_IMAGE;
        begin = end + 1;
    }
    return false;
}

static void with_images_kept_whole_no_block_begins_inside_any_image(void **state) {
    (void)state;
    open_packer(90, true, false);
    cm3_document document = {0};
    int64_t cut = 0, middle = 0;
    for (int64_t slot = 0; slot < config.batch; slot++) {
        cm3_cursor cursor = cm3_slot_start(slot);
        for (int i = 0; i < BLOCKS; i++) {
            assert_int_equal(cm3_slot_next(packer, slot, &cursor, &block), CM3_OK);
            const cm3_piece *first = &block.pieces.items[0], *last = &block.pieces.items[block.pieces.count - 1];
            mixed_document(first->index, &document);
            assert_false(inside_image(&document, first->tokens.begin));
            middle += first->tokens.begin > 0;
            mixed_document(last->index, &document);
            cut += inside_image(&document, last->tokens.end);
        }
    }
    assert_true(cut > 50 && middle > 50); /* the cases did occur */
    cm3_document_free(&document);
    close_packer();
}

static void skipping_needs_lengths_alone_and_lands_where_making_blocks_does(void **state) {
    (void)state;
    for (int keep = 0; keep < 3; keep++) {
        open_packer(130, keep == 1, keep == 2);
        for (int64_t slot = 0; slot < config.batch; slot++) {
            cm3_cursor made = cm3_slot_start(slot), skipped = made;
            for (int i = 0; i < BLOCKS; i++) assert_int_equal(cm3_slot_next(packer, slot, &made, &block), CM3_OK);
            assert_int_equal(cm3_slot_skip(packer, slot, &skipped, BLOCKS), CM3_OK);
            assert_memory_equal(&made, &skipped, sizeof made);
        }
        close_packer();
    }
}

static void validation_blocks_hold_all_documents_in_order(void **state) {
    (void)state;
    cm3_tokens all = {0};
    for (int64_t i = 0; i < VALIDATION; i++) render_sample(cm3_store_validation(store, i), &all);
    for (int whole = 0; whole < 2; whole++) {
        open_packer(160, false, whole);
        int64_t blocks, at = 0;
        assert_int_equal(cm3_validation_blocks(packer, &blocks), CM3_OK);
        for (int64_t i = 0; i < blocks; i++) {
            assert_int_equal(cm3_validation_block(packer, i, &block), CM3_OK);
            if (i && (!whole || block.pieces.items[0].tokens.begin > 0)) at--; /* a cut document shares a token */
            assert_memory_equal(block.ids, all.items + at, (size_t)block.length * sizeof *all.items);
            at += block.length;
        }
        assert_int_equal(at, all.count);
        close_packer();
    }
    CM3_LIST_FREE(&all);
}

static void every_block_prints(void **state) {
    (void)state;
    open_packer(100, false, false);
    for (int64_t step = 0; step < 20; step++) {
        char *text;
        size_t length;
        FILE *file = open_memstream(&text, &length);
        assert_int_equal(cm3_block_rebuild(packer, &config, 3, step, &block), CM3_OK);
        assert_int_equal(cm3_block_print(file, &block, &config, &vocab, store, NULL), CM3_OK);
        fclose(file);
        assert_non_null(strstr(text, ", \"a name\", \"a caption\""));
        free(text);
    }
    close_packer();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_documents_masked_within_segments),
        cmocka_unit_test(a_slots_blocks_join_to_its_documents_with_nothing_lost),
        cmocka_unit_test(with_images_kept_whole_no_block_begins_inside_any_image),
        cmocka_unit_test(skipping_needs_lengths_alone_and_lands_where_making_blocks_does),
        cmocka_unit_test(validation_blocks_hold_all_documents_in_order),
        cmocka_unit_test(every_block_prints),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
