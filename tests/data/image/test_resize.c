#include "data/image/image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What Pillow 11.3 gives for resize(size, BICUBIC) of images() below; the last with box=(5.5, 0, 14.5, 9). */
/* clang-format off */
static const uint8_t shrunk_rgb[] = {
    170, 134, 121, 124, 92, 123, 102, 121, 118, 133, 145, 167, 116, 108, 152, 145, 131, 123, 129, 124, 107, 159, 116,
    133, 150, 138, 118, 119, 176, 127, 133, 114, 153, 107, 124, 129, 124, 135, 142, 128, 155, 134, 136, 127, 152, 124,
    111, 93, 122, 94, 128, 131, 130, 164, 167, 107, 103, 149, 162, 138,
};
static const uint8_t enlarged_rgb[] = {
    0, 17, 94, 42, 108, 85, 157, 248, 79, 199, 170, 139, 192, 46, 200, 119, 11, 194, 75, 0, 186, 52, 42, 78, 65, 88,
    69, 103, 159, 64, 126, 127, 124, 139, 67, 185, 144, 33, 180, 145, 16, 172, 132, 84, 50, 96, 62, 42, 35, 29, 37,
    33, 66, 98, 73, 104, 160, 177, 72, 156, 237, 50, 148, 52, 119, 27, 71, 93, 19, 110, 54, 15, 135, 96, 77, 150, 141,
    140, 156, 110, 136, 158, 89, 130, 0, 138, 15, 51, 116, 7, 168, 85, 4, 213, 123, 66, 209, 162, 129, 138, 131, 126,
    95, 110, 120,
};
static const uint8_t mixed_rgba[] = {
    7, 67, 83, 177, 61, 42, 151, 121, 156, 60, 152, 109, 161, 110, 73, 136, 177, 108, 185, 59, 106, 179, 116, 125,
    105, 166, 95, 153, 130, 126, 97, 115, 109, 45, 225, 112, 108, 163, 154, 134, 106, 211, 132, 129, 98, 175, 180,
    106, 90, 199, 194, 147, 98, 224, 161, 93, 114, 163, 107, 78, 116, 96, 103, 116, 108, 74, 161, 106, 51, 112, 108,
    125, 73, 93, 88, 136, 157, 66, 97, 139, 126, 182, 97, 184, 127, 212, 85, 54, 220, 168, 242, 59, 189, 170, 216,
    191, 166, 113, 179, 155, 121, 101, 179, 189, 99, 111, 179, 169, 128, 144, 167, 111, 212, 77, 153, 145, 162, 36,
    192, 118, 151, 90, 157, 138, 190, 146, 104, 197,
};
static const uint8_t cropped_rgb[] = {
    113, 123, 138, 123, 148, 125, 141, 95, 123, 154, 136, 202, 138, 172, 138, 119, 100, 119, 138, 116, 105, 181, 112,
    149, 81, 147, 91, 119, 138, 101, 144, 150, 136, 129, 125, 120, 147, 156, 130, 138, 145, 148, 172, 123, 108, 86,
    104, 120,
};
/* clang-format on */

/* Noise without structure: every weight of every pixel counts. */
static cm3_image make_image(int width, int height, int channels) {
    cm3_image image;
    assert_int_equal(cm3_image_create(width, height, channels, &image), CM3_OK);
    for (uint32_t i = 0; i < cm3_image_size(&image); i++) image.pixels[i] = (uint8_t)((i * i * 7 + i * 31) % 251);
    return image;
}

static cm3_image plain(int width, int height, cm3_colour colour) {
    cm3_image image;
    assert_int_equal(cm3_image_create(width, height, 3, &image), CM3_OK);
    cm3_image_fill(&image, colour);
    return image;
}

static void check_near(const cm3_image *image, const uint8_t *expected, size_t size) {
    assert_int_equal(cm3_image_size(image), size);
    for (size_t i = 0; i < size; i++) {
        const int difference = abs(image->pixels[i] - expected[i]);
        if (difference > 1) fail_msg("value %zu: %d, not %d", i, image->pixels[i], expected[i]);
    }
}

static void check_resize(int width, int height, int channels, int new_width, int new_height, const uint8_t *expected,
                         size_t size) {
    cm3_image image = make_image(width, height, channels), out;
    assert_int_equal(cm3_image_resize(&image, new_width, new_height, &out), CM3_OK);
    assert_int_equal(out.width, new_width);
    assert_int_equal(out.height, new_height);
    check_near(&out, expected, size);
    cm3_image_free(&image);
    cm3_image_free(&out);
}

static void resizing_equals_pillow_to_one_level(void **state) {
    (void)state;
    check_resize(17, 13, 3, 5, 4, shrunk_rgb, sizeof shrunk_rgb);
    check_resize(4, 3, 3, 7, 5, enlarged_rgb, sizeof enlarged_rgb);
    check_resize(6, 9, 4, 8, 4, mixed_rgba, sizeof mixed_rgba);
}

static void cropping_equals_resizing_the_centred_square(void **state) {
    (void)state;
    cm3_image image = make_image(20, 9, 3), out;
    assert_int_equal(cm3_image_fit(&image, 4, CM3_FIT_CROP, (cm3_colour){0}, &out), CM3_OK);
    check_near(&out, cropped_rgb, sizeof cropped_rgb);
    cm3_image_free(&image);
    cm3_image_free(&out);
}

static void a_plain_image_stays_plain_at_any_size(void **state) {
    (void)state;
    static const int sizes[] = {1, 2, 3, 7, 64, 100};
    cm3_image image = plain(37, 23, (cm3_colour){255, 128, 0});
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        cm3_image out;
        assert_int_equal(cm3_image_resize(&image, sizes[i], sizes[5 - i], &out), CM3_OK);
        for (size_t p = 0; p < cm3_image_size(&out); p += 3) {
            assert_int_equal(out.pixels[p], 255);
            assert_int_equal(out.pixels[p + 1], 128);
            assert_int_equal(out.pixels[p + 2], 0);
        }
        cm3_image_free(&out);
    }
    cm3_image_free(&image);
}

static void hidden_colours_do_not_bleed(void **state) {
    (void)state;
    cm3_image image, out;
    assert_int_equal(cm3_image_create(8, 8, 4, &image), CM3_OK);
    for (int i = 0; i < 64; i++) {
        const uint8_t pixel[4] = {i % 2 ? 255 : 10, i % 2 ? 0 : 200, 20,
                                  i % 2 ? 0 : 255}; /* the red ones are transparent */
        memcpy(image.pixels + 4 * i, pixel, 4);
    }
    assert_int_equal(cm3_image_resize(&image, 4, 4, &out), CM3_OK);
    for (int i = 0; i < 16; i++) {
        assert_in_range(out.pixels[4 * i], 8, 12);
        assert_in_range(out.pixels[4 * i + 1], 197, 203);
        assert_in_range(out.pixels[4 * i + 3], 100, 156);
    }
    cm3_image_free(&image);
    cm3_image_free(&out);
}

static void padding_keeps_the_whole_image_centred_on_the_background(void **state) {
    (void)state;
    cm3_image image = plain(40, 20, (cm3_colour){200, 0, 0}), out;
    assert_int_equal(cm3_image_fit(&image, 16, CM3_FIT_PAD, (cm3_colour){1, 2, 3}, &out), CM3_OK);
    assert_int_equal(out.width, 16);
    assert_int_equal(out.height, 16);
    for (int y = 0; y < 16; y++)
        for (int x = 0; x < 16; x++) {
            const int inside = y >= 4 && y < 12;
            const uint8_t *pixel = out.pixels + 3 * (16 * y + x);
            assert_int_equal(pixel[0], inside ? 200 : 1);
            assert_int_equal(pixel[2], inside ? 0 : 3);
        }
    cm3_image_free(&image);
    cm3_image_free(&out);
}

static void very_long_images_fit_too(void **state) {
    (void)state;
    cm3_image image = plain(3000, 1, (cm3_colour){9, 9, 9});
    for (int fit = CM3_FIT_CROP; fit <= CM3_FIT_STRETCH; fit++) {
        cm3_image out;
        assert_int_equal(cm3_image_fit(&image, 8, (cm3_fit)fit, (cm3_colour){0}, &out), CM3_OK);
        assert_int_equal(out.width, 8);
        assert_int_equal(out.height, 8);
        assert_int_equal(out.pixels[3 * (8 * 3 + 4)], 9); /* the padded image is one row, the fourth */
        cm3_image_free(&out);
    }
    cm3_image_free(&image);
}

static void sizes_out_of_range_are_refused(void **state) {
    (void)state;
    cm3_image image = make_image(4, 4, 3), out;
    assert_int_equal(cm3_image_resize(&image, 0, 4, &out), CM3_ERR_SHAPE);
    assert_null(out.pixels);
    assert_int_equal(cm3_image_resize(&image, 4, CM3_IMAGE_SIDE_MAX + 1, &out), CM3_ERR_SHAPE);
    assert_int_equal(cm3_image_resize(&image, CM3_IMAGE_SIDE_MAX, CM3_IMAGE_SIDE_MAX, &out), CM3_ERR_SHAPE);
    cm3_image_free(&image);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resizing_equals_pillow_to_one_level),
        cmocka_unit_test(cropping_equals_resizing_the_centred_square),
        cmocka_unit_test(a_plain_image_stays_plain_at_any_size),
        cmocka_unit_test(hidden_colours_do_not_bleed),
        cmocka_unit_test(padding_keeps_the_whole_image_centred_on_the_background),
        cmocka_unit_test(very_long_images_fit_too),
        cmocka_unit_test(sizes_out_of_range_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
