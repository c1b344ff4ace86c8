#include "dist/shard.h"

#include "core/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void pieces_cover_the_range_once_and_start_on_units(void **state) {
    (void)state;
    const int64_t totals[] = {0, 1, 63, 64, 65, 1000, 4096, 1000003};
    for (size_t t = 0; t < sizeof totals / sizeof *totals; t++) {
        for (int ranks = 1; ranks <= 9; ranks++) {
            int64_t at = 0;
            for (int rank = 0; rank < ranks; rank++) {
                const cm3_range piece = cm3_shard_range(totals[t], CM3_SHARD_UNIT, ranks, rank);
                assert_int_equal(piece.begin, at);
                assert_true(piece.end >= piece.begin);
                if (piece.end > piece.begin) assert_int_equal(piece.begin % CM3_SHARD_UNIT, 0);
                at = piece.end;
            }
            assert_int_equal(at, totals[t]);
        }
    }
}

/* Walks the box in row-major order and checks that it is exactly its range. */
static void check_box(cm3_shape shape, const cm3_box *box, int64_t begin) {
    int64_t count = 1, index[CM3_MAX_DIMS] = {0};
    for (int d = 0; d < shape.rank; d++) {
        assert_true(box->start[d] >= 0 && box->count[d] > 0 && box->start[d] + box->count[d] <= shape.dim[d]);
        count *= box->count[d];
    }
    assert_int_equal(box->range.begin, begin);
    assert_int_equal(box->range.end, begin + count);
    for (int64_t i = 0; i < count; i++) {
        int64_t flat = 0;
        for (int d = 0; d < shape.rank; d++) flat = flat * shape.dim[d] + box->start[d] + index[d];
        assert_int_equal(flat, begin + i);
        for (int d = shape.rank - 1; d >= 0 && ++index[d] == box->count[d]; d--) index[d] = 0;
    }
}

static void a_cut_tensor_is_a_few_boxes_that_are_exactly_the_cut(void **state) {
    (void)state;
    const cm3_shape shapes[] = {cm3_shape_of(37), cm3_shape_of(5, 7), cm3_shape_of(3, 4, 5), cm3_shape_of(3, 1, 4, 2),
                                cm3_shape_of(2, 3, 3, 3)};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const int64_t total = cm3_shape_count(shapes[s]);
        for (int64_t begin = 0; begin <= total; begin++) {
            for (int64_t end = begin; end <= total; end++) {
                cm3_box boxes[CM3_BOXES_MAX];
                const int count = cm3_range_boxes(shapes[s], (cm3_range){begin, end}, boxes);
                assert_true(count <= 2 * shapes[s].rank - 1);
                int64_t at = begin;
                for (int b = 0; b < count; b++) {
                    check_box(shapes[s], &boxes[b], at);
                    at = boxes[b].range.end;
                }
                assert_int_equal(at, end);
            }
        }
    }
}

static void a_scalar_is_one_box(void **state) {
    (void)state;
    cm3_box boxes[CM3_BOXES_MAX];
    assert_int_equal(cm3_range_boxes((cm3_shape){0}, (cm3_range){0, 1}, boxes), 1);
    assert_int_equal(boxes[0].count[0], 1);
}

static void ranges_intersect(void **state) {
    (void)state;
    const cm3_range a = cm3_range_intersect((cm3_range){0, 10}, (cm3_range){5, 20});
    assert_true(a.begin == 5 && a.end == 10);
    assert_int_equal(cm3_range_length(cm3_range_intersect((cm3_range){0, 5}, (cm3_range){7, 9})), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_cover_the_range_once_and_start_on_units),
        cmocka_unit_test(a_cut_tensor_is_a_few_boxes_that_are_exactly_the_cut),
        cmocka_unit_test(a_scalar_is_one_box),
        cmocka_unit_test(ranges_intersect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
