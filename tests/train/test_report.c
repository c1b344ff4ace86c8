#include "tests/support/temporary_folder.h"
#include "train/evaluate/report.h"

#include "core/file.h"
#include "train/evaluate/album.h"
#include "train/evaluate/chart.h"
#include "train/evaluate/html.h"
#include "train/evaluate/series.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

/* --- pieces ------------------------------------------------------------------------------------------------------ */

static char *printed(void (*print)(FILE *file, const char *text), const char *text) {
    char *out = NULL;
    size_t length = 0;
    FILE *file = open_memstream(&out, &length);
    print(file, text);
    fclose(file);
    return out;
}

static void print_base64(FILE *file, const char *text) {
    cm3_html_base64(file, (const uint8_t *)text, strlen(text));
}

static void text_from_data_cannot_leave_its_element_or_attribute(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"a<script>&\"'", "a&lt;script&gt;&amp;&quot;&#39;"},
        {"\xc3\xa9\xe2\x9c\x93 &amp;", "\xc3\xa9\xe2\x9c\x93 &amp;amp;"},
        {"a\x01"
         "b\x7f"
         "c\n",
         "a\xef\xbf\xbd"
         "b\xef\xbf\xbd"
         "c\n"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *out = printed(cm3_html_text, cases[i][0]);
        assert_string_equal(out, cases[i][1]);
        free(out);
    }
}

static void base64_is_that_of_rfc_4648(void **state) {
    (void)state;
    static const char *const cases[][2] = {{"", ""},        {"f", "Zg=="},        {"fo", "Zm8="},
                                           {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"\xff\xfe\xfd", "//79"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *out = printed(print_base64, cases[i][0]);
        assert_string_equal(out, cases[i][1]);
        free(out);
    }
}

static void steps_of_an_axis_are_round_and_few(void **state) {
    (void)state;
    assert_true(fabs(cm3_chart_step(8, 5) - 2) < 1e-12);
    assert_true(fabs(cm3_chart_step(1, 5) - 0.2) < 1e-12);
    assert_true(fabs(cm3_chart_step(3000, 5) - 1000) < 1e-9);
    assert_true(cm3_chart_step(0, 5) == 1 && cm3_chart_step(NAN, 5) == 1 && cm3_chart_step(INFINITY, 5) == 1);
    for (double range = 1e-6; range < 1e9; range *= 1.37) {
        const double steps = range / cm3_chart_step(range, 5);
        assert_true(steps <= 5 + 1e-6 && steps >= 1.99);
    }
}

static void a_chart_is_drawn_from_one_point_equal_points_and_none(void **state) {
    (void)state;
    cm3_series none = {0}, one = {0}, flat = {0};
    assert_int_equal(cm3_series_add(&one, 5, 1.5), CM3_OK);
    for (int i = 0; i < 1000; i++) assert_int_equal(cm3_series_add(&flat, i, 2), CM3_OK);
    const cm3_series *const all[] = {&none, &one, &flat};
    for (int i = 0; i < 3; i++) {
        const cm3_chart chart = {
            .title = "<t>", .decimals = 1, .unit = "", .count = 1, .lines = {{"n", "a", i == 1, all[i]}}};
        char *out = NULL;
        size_t length = 0;
        FILE *file = open_memstream(&out, &length);
        assert_int_equal(cm3_chart_write(file, &chart), CM3_OK);
        fclose(file);
        assert_null(strstr(out, "nan"));
        assert_null(strstr(out, "inf"));
        assert_non_null(strstr(out, "&lt;t&gt;"));
        free(out);
    }
    cm3_series_free(&one);
    cm3_series_free(&flat);
}

/* --- the page ---------------------------------------------------------------------------------------------------- */

typedef struct fixture {
    char out[TEMPORARY_FOLDER_MAX];
    cm3_recipe recipe;
} fixture;

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    if (temporary_folder_make(f->out)) return -1;
    char out[96];
    snprintf(out, sizeof out, "out=%s", f->out);
    const char *const overrides[] = {out};
    *state = f;
    return cm3_config_load(&cm3_recipe_schema, CM3_SOURCE_DIR "/tests/functional/tiny.yaml", overrides, 1,
                           &f->recipe) == CM3_OK
               ? 0
               : -1;
}

static int tear_down(void **state) {
    fixture *f = *state;
    cm3_config_free(&cm3_recipe_schema, &f->recipe);
    const int status = temporary_folder_remove(f->out);
    free(f);
    return status;
}

static void put(const fixture *f, const char *stage, const char *name, const char *text) {
    char path[160];
    snprintf(path, sizeof path, "%s/%s", f->out, stage);
    assert_int_equal(cm3_folder_make(path), CM3_OK);
    snprintf(path, sizeof path, "%s/%s/%s", f->out, stage, name);
    assert_int_equal(cm3_file_write(path, text, strlen(text)), CM3_OK);
}

static char *page_of(const fixture *f) {
    assert_int_equal(cm3_report_write(&f->recipe, "# <recipe>\n"), CM3_OK);
    char path[96], *text;
    size_t length;
    snprintf(path, sizeof path, "%s/report.html", f->out);
    assert_int_equal(cm3_file_read(path, 64 << 20, &text, &length), CM3_OK);
    return text;
}

static void put_album(const fixture *f) {
    cm3_album album;
    assert_int_equal(cm3_album_create(16, 2, 1, 2, &album), CM3_OK);
    for (int i = 0; i < 2; i++) {
        album.pairs[i] = (cm3_album_pair){.caption = strdup("<script>alert('x')</script>"),
                                          .model_caption = strdup("\"><img>"),
                                          .nearest_caption = strdup("a&b"),
                                          .validation = i == 1};
    }
    for (int i = 0; i < 2 * CM3_ALBUM_OF_PAIR; i++) {
        assert_int_equal(cm3_image_create(16, 16, 3, &album.images[i]), CM3_OK);
        cm3_image_fill(&album.images[i], (cm3_colour){1, 2, 3});
    }
    album.rows[0].caption = strdup("<row>");
    for (int s = 0; s < 2; s++) {
        assert_int_equal(cm3_image_create(16, 16, 3, &album.row_images[s]), CM3_OK);
        cm3_image_fill(&album.row_images[s], (cm3_colour){9, 9, 9});
    }
    char folder[96];
    snprintf(folder, sizeof folder, "%s/evaluation", f->out);
    assert_int_equal(cm3_album_write(&album, folder), CM3_OK);
    cm3_album_free(&album);
}

static void put_everything(const fixture *f) {
    put(f, "pretrain", "metrics.jsonl",
        "{\"kind\":\"train\",\"step\":1,\"loss_text\":3,\"loss_image\":2,\"tokens\":384,\"seconds\":0.5,\"tokens_per_"
        "second\":768,\"mfu\":0.5}\n"
        "{\"kind\":\"train\",\"step\":2,\"loss_text\":null,\"loss_image\":1,\"tokens\":768,\"seconds\":0.5,\"tokens_"
        "per_second\":768,\"mfu\":0.5}\n"
        "{\"kind\":\"validation\",\"step\":2,\"loss_text\":2.5,\"loss_image\":1.25}\n{\"kind\":\"train\",\"step\":3,"
        "\"loss_te");
    put(f, "image-tokenizer", "metrics.jsonl",
        "{\"kind\":\"train\",\"step\":1,\"psnr\":10,\"tokens\":8,\"seconds\":1,\"tokens_per_second\":8,\"mfu\":0.5}\n");
    put(f, ".", "evaluation.json",
        "{\"step\":2,\"text_to_image_top1\":0.75,\"caption_exact\":0.5,\"vq_psnr\":20.5,\"loss_text\":1,\"loss_image\":"
        "null,\"pairs\":4,\"drawn_right\":3,"
        "\"captions_right\":2,\"heldout\":null,\"pictures\":4,\"decode\":{\"guidance\":3,\"top_p\":0.9,"
        "\"temperature\":"
        "1},\"seconds\":3}\n");
    put(f, ".", "evaluation-curve.json",
        "{\"points\":[{\"step\":1,\"text_to_image_top1\":0.1,\"heldout\":null},{\"step\":2,\"text_to_image_top1\":0."
        "75}"
        "]}\n");
    put_album(f);
}

static void a_page_says_what_is_missing(void **state) {
    char *page = page_of(*state);
    assert_non_null(strstr(page, "No network has been trained yet"));
    assert_non_null(strstr(page, "not been evaluated yet"));
    assert_non_null(strstr(page, "no generated images yet"));
    assert_non_null(strstr(page, "# &lt;recipe&gt;"));
    free(page);
}

static void a_page_shows_figures_curves_and_images(void **state) {
    put_everything(*state);
    char *page = page_of(*state);
    assert_non_null(strstr(page, "75.0 %"));
    assert_non_null(strstr(page, "3 of 4"));
    assert_non_null(strstr(page, "20.50 dB"));
    assert_non_null(strstr(page, "<td>–</td>")); /* a loss that is not a number */
    assert_non_null(strstr(page, "image, validation"));
    int images = 0;
    for (const char *at = page; (at = strstr(at, "<img ")); at++) images++;
    assert_int_equal(images, 2 * 2 + 2 + 2 + 2 * 2); /* generated, samples, captions, reconstructions */
    assert_null(strstr(page, "missing\">"));
    free(page);
}

static void a_page_needs_nothing_but_itself_and_escapes_all_data(void **state) {
    put_everything(*state);
    char *page = page_of(*state);
    assert_null(strstr(page, "http:"));
    assert_null(strstr(page, "https:"));
    assert_null(strstr(page, "<script"));
    assert_null(strstr(page, "<link rel=\"stylesheet\""));
    assert_null(strstr(page, "url("));
    assert_null(strstr(page, "<row>"));
    assert_non_null(strstr(page, "&quot;&gt;&lt;img&gt;"));
    assert_non_null(strstr(page, "alt=\"True image: &lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;\""));
    free(page);
}

static void a_broken_evaluation_is_a_failure_that_names_it(void **state) {
    put(*state, ".", "evaluation.json", "{\"step\":");
    const fixture *f = *state;
    assert_int_equal(cm3_report_write(&f->recipe, ""), CM3_ERR_FORMAT);
    assert_non_null(strstr(cm3_message(), "evaluation.json"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_from_data_cannot_leave_its_element_or_attribute),
        cmocka_unit_test(base64_is_that_of_rfc_4648),
        cmocka_unit_test(steps_of_an_axis_are_round_and_few),
        cmocka_unit_test(a_chart_is_drawn_from_one_point_equal_points_and_none),
        cmocka_unit_test_setup_teardown(a_page_says_what_is_missing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_page_shows_figures_curves_and_images, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_page_needs_nothing_but_itself_and_escapes_all_data, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_broken_evaluation_is_a_failure_that_names_it, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
