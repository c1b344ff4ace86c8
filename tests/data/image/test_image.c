#include "data/image/image.h"
#include "data/image/sheet.h"
#include "core/file.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Small files of every kind, all showing the same image of 32 x 24 pixels: red, green / blue, nearly white. */
#define FILES CM3_SOURCE_DIR "/tests/fuzz/corpus/fuzz_image/"

static const uint8_t quarters[4][3] = {{220, 30, 30}, {30, 200, 30}, {30, 30, 220}, {240, 240, 240}};

static const uint8_t *pixel_at(const cm3_image *image, int x, int y) {
    return image->pixels + ((size_t)y * image->width + x) * image->channels;
}

/* The middle of each quarter has its colour, to `tolerance` levels. */
static void check_quarters(const char *file, const cm3_image *image, int tolerance) {
    for (int q = 0; q < 4; q++) {
        const int x = image->width * (1 + 2 * (q % 2)) / 4, y = image->height * (1 + 2 * (q / 2)) / 4;
        for (int c = 0; c < 3; c++) {
            const int found = pixel_at(image, x, y)[c];
            if (abs(found - quarters[q][c]) > tolerance)
                fail_msg("%s: quarter %d, channel %d: %d, not %d", file, q, c, found, quarters[q][c]);
        }
    }
}

static void check_file(const char *file, int channels, int tolerance) {
    char path[512];
    snprintf(path, sizeof path, FILES "%s", file);
    cm3_image image;
    if (cm3_image_read(path, 0, &image) != CM3_OK) fail_msg("%s", cm3_message());
    assert_int_equal(image.width, 32);
    assert_int_equal(image.height, 24);
    assert_int_equal(image.channels, channels);
    check_quarters(file, &image, tolerance);
    cm3_image_free(&image);
}

static void every_format_is_decoded(void **state) {
    (void)state;
    check_file("baseline.jpg", 3, 4);
    check_file("progressive.jpg", 3, 8);
    check_file("cmyk.jpg", 3, 8);
    check_file("rgb.png", 3, 0);
    check_file("palette.png", 3, 0);
    check_file("lossy.webp", 3, 8);
    check_file("lossless.webp", 3, 0);
}

static void orientation_of_cameras_is_applied(void **state) {
    (void)state;
    for (int i = 2; i <= 8; i++) {
        char file[32];
        snprintf(file, sizeof file, "orientation%d.jpg", i);
        check_file(file, 3, 4);
    }
}

static void grey_images_become_rgb(void **state) {
    (void)state;
    cm3_image image;
    assert_int_equal(cm3_image_read(FILES "grey.jpg", 0, &image), CM3_OK);
    assert_int_equal(image.channels, 3);
    const uint8_t *pixel = pixel_at(&image, 24, 18);
    assert_int_equal(pixel[0], pixel[1]);
    assert_int_equal(pixel[1], pixel[2]);
    assert_in_range(pixel[0], 236, 244);
    cm3_image_free(&image);
    assert_int_equal(cm3_image_read(FILES "grey16.png", 0, &image), CM3_OK);
    assert_int_equal(image.channels, 3);
    assert_in_range(pixel_at(&image, 31, 23)[0], 767 * 80 / 257 - 1, 767 * 80 / 257 + 1);
    cm3_image_free(&image);
}

static void alpha_is_kept_and_flattened_over_a_background(void **state) {
    (void)state;
    static const char *const files[] = {FILES "alpha.png", FILES "alpha.webp"};
    for (int i = 0; i < 2; i++) {
        cm3_image image;
        assert_int_equal(cm3_image_read(files[i], 0, &image), CM3_OK);
        assert_int_equal(image.channels, 4);
        assert_int_equal(pixel_at(&image, 4, 4)[3], 255);
        assert_int_equal(pixel_at(&image, 28, 4)[3], 0);
        cm3_image_flatten(&image, (cm3_colour){10, 20, 30});
        assert_int_equal(image.channels, 3);
        assert_memory_equal(pixel_at(&image, 4, 4), quarters[0], 3);
        assert_memory_equal(pixel_at(&image, 28, 4), ((const uint8_t[3]){10, 20, 30}), 3);
        assert_memory_equal(pixel_at(&image, 4, 20), ((const uint8_t[3]){20, 25, 125}), 3); /* alpha 128 */
        cm3_image_free(&image);
    }
}

static void a_jpeg_is_decoded_small_but_never_below_what_was_asked(void **state) {
    (void)state;
    static const struct { int least, width; } cases[] = {{0, 32}, {13, 32}, {12, 16}, {7, 16}, {6, 8}, {3, 4}, {1, 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cm3_image image;
        assert_int_equal(cm3_image_read(FILES "baseline.jpg", cases[i].least, &image), CM3_OK);
        assert_int_equal(image.width, cases[i].width);
        assert_int_equal(image.height, cases[i].width * 3 / 4);
        check_quarters("baseline.jpg", &image, cases[i].width > 4 ? 12 : 60);
        cm3_image_free(&image);
    }
}

static void check_refused(const char *file, cm3_status expected, const char *words) {
    char path[512];
    snprintf(path, sizeof path, FILES "%s", file);
    cm3_image image;
    assert_int_equal(cm3_image_read(path, 0, &image), expected);
    assert_null(image.pixels);
    if (!strstr(cm3_message(), file) || !strstr(cm3_message(), words) || strchr(cm3_message(), '\n'))
        fail_msg("\"%s\" does not name %s and \"%s\"", cm3_message(), file, words);
}

static void what_cannot_be_read_is_named_in_one_line(void **state) {
    (void)state;
    check_refused("cut.jpg", CM3_ERR_FORMAT, "cut short");
    check_refused("cut.png", CM3_ERR_FORMAT, "cut short");
    check_refused("cut.webp", CM3_ERR_FORMAT, "cut short");
    check_refused("enormous.png", CM3_ERR_FORMAT, "60000 x 60000");
    check_refused("animated.webp", CM3_ERR_UNSUPPORTED, "animated");
    check_refused("no-such.png", CM3_ERR_NOT_FOUND, "No such file");
    cm3_image image;
    assert_int_equal(cm3_image_decode("GIF89a", 6, "x.gif", 0, &image), CM3_ERR_UNSUPPORTED);
    assert_int_equal(cm3_image_decode("", 0, "empty", 0, &image), CM3_ERR_FORMAT);
}

/* A decoder may only accept a shorter file if nothing of the image was in what is missing. */
static void a_image_cut_anywhere_is_an_error_or_whole(void **state) {
    (void)state;
    static const char *const files[] = {"baseline.jpg", "progressive.jpg", "orientation6.jpg",
                                        "rgb.png",      "palette.png",     "alpha.png",
                                        "lossy.webp",   "lossless.webp",   "alpha.webp"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[512], *bytes;
        size_t length;
        snprintf(path, sizeof path, FILES "%s", files[i]);
        assert_int_equal(cm3_file_read(path, 1 << 20, &bytes, &length), CM3_OK);
        cm3_image whole;
        assert_int_equal(cm3_image_decode(bytes, length, path, 0, &whole), CM3_OK);
        int accepted = 0;
        for (size_t cut = 0; cut < length; cut++) {
            uint8_t *part = malloc(cut ? cut : 1); /* of its own, so that a sanitizer sees a read past the cut */
            memcpy(part, bytes, cut);
            cm3_image image;
            if (cm3_image_decode(part, cut, path, 0, &image) == CM3_OK) {
                accepted++;
                assert_int_equal(cm3_image_size(&image), cm3_image_size(&whole));
                assert_memory_equal(image.pixels, whole.pixels, cm3_image_size(&whole));
                cm3_image_free(&image);
            }
            free(part);
        }
        if (accepted > 20) fail_msg("%s: %d shorter files were accepted", files[i], accepted);
        cm3_image_free(&whole);
        free(bytes);
    }
}

static void a_png_that_we_write_reads_back_equal(void **state) {
    (void)state;
    static const char *const path = CM3_BINARY_DIR "/test_image_roundtrip.png";
    for (int channels = 3; channels <= 4; channels++) {
        cm3_image image, back;
        assert_int_equal(cm3_image_create(19, 11, channels, &image), CM3_OK);
        for (uint32_t i = 0; i < cm3_image_size(&image); i++) image.pixels[i] = (uint8_t)(i * i * 7);
        assert_int_equal(cm3_image_write_png(&image, path), CM3_OK);
        assert_int_equal(cm3_image_read(path, 0, &back), CM3_OK);
        assert_int_equal(back.channels, channels);
        assert_int_equal(back.width, 19);
        assert_memory_equal(back.pixels, image.pixels, cm3_image_size(&image));
        cm3_image_free(&image);
        cm3_image_free(&back);
    }
    remove(path);
}

static void pixels_survive_the_way_to_floats_and_back(void **state) {
    (void)state;
    cm3_image image, back;
    float values[16 * 16 * 3];
    assert_int_equal(cm3_image_create(16, 16, 3, &image), CM3_OK);
    for (size_t i = 0; i < cm3_image_size(&image); i++) image.pixels[i] = (uint8_t)i;
    cm3_image_to_float(&image, values);
    assert_true(values[0] == -1.0f && values[255] == 1.0f);
    assert_int_equal(cm3_image_from_float(values, 16, 16, 3, &back), CM3_OK);
    assert_memory_equal(back.pixels, image.pixels, cm3_image_size(&image));
    cm3_image_free(&back);
    const float odd[3] = {-7.0f, 7.0f, NAN};
    assert_int_equal(cm3_image_from_float(odd, 1, 1, 3, &back), CM3_OK);
    assert_memory_equal(back.pixels, ((const uint8_t[3]){0, 255, 128}), 3);
    cm3_image_free(&back);
    cm3_image_free(&image);
}

static void colours_are_parsed(void **state) {
    (void)state;
    cm3_colour colour;
    assert_int_equal(cm3_colour_parse("#0aFF7f", &colour), CM3_OK);
    assert_true(colour.red == 10 && colour.green == 255 && colour.blue == 127);
    assert_int_equal(cm3_colour_parse("white", &colour), CM3_OK);
    assert_int_equal(colour.green, 255);
    static const char *const wrong[] = {"", "#", "#12345", "#1234567", "#12345g", "whit"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(cm3_colour_parse(wrong[i], &colour), CM3_ERR_USAGE);
}

static void a_sheet_holds_each_image_in_its_cell(void **state) {
    (void)state;
    cm3_image images[3], sheet;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(cm3_image_create(i == 2 ? 2 : 4, 4, 3, &images[i]), CM3_OK);
        cm3_image_fill(&images[i], (cm3_colour){(uint8_t)(50 + i), 0, 0});
    }
    assert_int_equal(cm3_image_sheet(images, 3, 2, 1, (cm3_colour){255, 255, 255}, &sheet), CM3_OK);
    assert_int_equal(sheet.width, 11);
    assert_int_equal(sheet.height, 11);
    assert_int_equal(pixel_at(&sheet, 0, 0)[0], 255);
    assert_int_equal(pixel_at(&sheet, 1, 1)[0], 50);
    assert_int_equal(pixel_at(&sheet, 9, 4)[0], 51);
    assert_int_equal(pixel_at(&sheet, 1, 6)[0], 255); /* the narrow one is centred */
    assert_int_equal(pixel_at(&sheet, 2, 6)[0], 52);
    assert_int_equal(pixel_at(&sheet, 6, 6)[0], 255); /* an empty cell */
    for (int i = 0; i < 3; i++) cm3_image_free(&images[i]);
    cm3_image_free(&sheet);
    assert_int_equal(cm3_image_sheet(images, 0, 2, 1, (cm3_colour){0}, &sheet), CM3_ERR_SHAPE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_is_decoded),
        cmocka_unit_test(orientation_of_cameras_is_applied),
        cmocka_unit_test(grey_images_become_rgb),
        cmocka_unit_test(alpha_is_kept_and_flattened_over_a_background),
        cmocka_unit_test(a_jpeg_is_decoded_small_but_never_below_what_was_asked),
        cmocka_unit_test(what_cannot_be_read_is_named_in_one_line),
        cmocka_unit_test(a_image_cut_anywhere_is_an_error_or_whole),
        cmocka_unit_test(a_png_that_we_write_reads_back_equal),
        cmocka_unit_test(pixels_survive_the_way_to_floats_and_back),
        cmocka_unit_test(colours_are_parsed),
        cmocka_unit_test(a_sheet_holds_each_image_in_its_cell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
