#include "core/file.h"
#include "data/source/emoji.h"
#include "data/source/source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const tones[] = {": light skin tone", ": medium-light skin tone", ": medium skin tone",
                                    ": medium-dark skin tone", ": dark skin tone"};

static cm3_source *open_with(cm3_source_config config) {
    cm3_source *source;
    if (cm3_source_open(&config, &source) != CM3_OK) fail_msg("%s", cm3_message());
    return source;
}

/* Words for a config's list; only borrowed. */
static cm3_string_list words(const char *first, const char *second) {
    return (cm3_string_list){.values = {(char *)first, (char *)second}, .count = second ? 2 : 1};
}

static int64_t find(const cm3_source *source, const char *caption) {
    for (int64_t i = 0; i < cm3_source_count(source); i++) {
        char *text;
        size_t length;
        assert_int_equal(cm3_source_text(source, i, &text, &length), CM3_OK);
        const int same = length == strlen(caption) && !memcmp(text, caption, length);
        free(text);
        if (same) return i;
    }
    return -1;
}

static void every_emoji_is_a_colour_image_with_a_name_of_its_own(void **state) {
    (void)state;
    cm3_source *source = open_with((cm3_source_config){0});
    const int64_t count = cm3_source_count(source);
    assert_true(count > 3000);
    for (int64_t i = 0; i < count; i += 97) {
        cm3_pair pair;
        assert_int_equal(cm3_source_read(source, i, &pair), CM3_OK);
        assert_int_equal(pair.image.channels, 4);
        assert_true(pair.image.width >= 64 && pair.image.height >= 64);
        assert_int_equal(pair.text_length, strlen(pair.text));
        assert_int_equal(find(source, pair.text), i);
        cm3_pair_free(&pair);
    }
    cm3_source_close(source);
}

/* The mean colour of the opaque pixels in the middle rows, from `left` to `right` in eighths of the width. */
static void mean_colour(const cm3_image *image, int left, int right, int mean[3]) {
    int64_t sum[3] = {0}, count = 0;
    for (int y = image->height * 3 / 8; y < image->height * 5 / 8; y++)
        for (int x = image->width * left / 8; x < image->width * right / 8; x++) {
            const uint8_t *pixel = image->pixels + 4 * ((size_t)y * image->width + x);
            for (int c = 0; c < 3 && pixel[3] == 255; c++) sum[c] += pixel[c];
            count += pixel[3] == 255;
        }
    for (int c = 0; c < 3; c++) mean[c] = count ? (int)(sum[c] / count) : 0;
}

static void sequences_are_joined_into_the_image_they_stand_for(void **state) {
    (void)state;
    cm3_source *source = open_with((cm3_source_config){0});
    cm3_pair pair;
    int mean[3];
    assert_int_equal(cm3_source_read(source, find(source, "flag: France"), &pair), CM3_OK);
    assert_string_equal(pair.name, "1f1eb-1f1f7");
    mean_colour(&pair.image, 1, 2, mean);
    assert_true(mean[2] > mean[0] + 60); /* blue, */
    mean_colour(&pair.image, 6, 7, mean);
    assert_true(mean[0] > mean[2] + 60); /* white, red */
    cm3_pair_free(&pair);
    int last = 3 * 255;
    for (int t = 0; t < 5; t++) { /* hands from light to dark */
        char caption[64];
        snprintf(caption, sizeof caption, "raised hand%s", tones[t]);
        assert_int_equal(cm3_source_read(source, find(source, caption), &pair), CM3_OK);
        mean_colour(&pair.image, 3, 5, mean);
        assert_true(mean[0] + mean[1] + mean[2] < last - 30);
        last = mean[0] + mean[1] + mean[2];
        cm3_pair_free(&pair);
    }
    cm3_source_close(source);
}

static void images_are_fitted_to_the_size_that_is_asked_for(void **state) {
    (void)state;
    cm3_source *source =
        open_with((cm3_source_config){.image_size = 32, .fit = CM3_FIT_PAD, .background = "#102030", .limit = 3});
    assert_int_equal(cm3_source_count(source), 3);
    cm3_pair pair;
    assert_int_equal(cm3_source_read(source, 1, &pair), CM3_OK);
    assert_int_equal(pair.image.width, 32);
    assert_int_equal(pair.image.height, 32);
    assert_int_equal(pair.image.channels, 3);
    assert_memory_equal(pair.image.pixels, "\x10\x20\x30", 3);
    cm3_pair_free(&pair);
    cm3_source_close(source);
}

static void groups_and_words_select_and_leave_out(void **state) {
    (void)state;
    cm3_source *source = open_with((cm3_source_config){.groups = words("animals & nature", "food-fruit")});
    assert_true(find(source, "dog face") >= 0);
    assert_true(find(source, "red apple") >= 0);
    assert_int_equal(find(source, "grinning face"), -1);
    cm3_source_close(source);
    source = open_with((cm3_source_config){.groups = words("!Flags", NULL), .filter = words("heart", "!skin")});
    assert_true(find(source, "red heart") >= 0);
    assert_true(find(source, "couple with heart") >= 0);
    assert_int_equal(find(source, "couple with heart: dark skin tone"), -1);
    cm3_source_close(source);
}

static void a_group_that_does_not_exist_is_named_with_those_that_do(void **state) {
    (void)state;
    cm3_source *source;
    cm3_source_config config = {.groups = words("Animals", NULL)};
    assert_int_equal(cm3_source_open(&config, &source), CM3_ERR_RECIPE);
    assert_non_null(strstr(cm3_message(), "\"Animals\""));
    assert_non_null(strstr(cm3_message(), "Animals & Nature"));
    assert_null(source);
}

static void a_selection_of_nothing_is_an_empty_data_set(void **state) {
    (void)state;
    cm3_source *source;
    cm3_source_config config = {.filter = words("no such caption", NULL)};
    assert_int_equal(cm3_source_open(&config, &source), CM3_ERR_FORMAT);
    assert_non_null(strstr(cm3_message(), "empty"));
}

#define ROOT CM3_BINARY_DIR "/test_emoji_root"

static void a_missing_package_is_named(void **state) {
    (void)state;
    static const char names[] = "# group: G\n# subgroup: s\n1F600 ; fully-qualified # x E1.0 grinning face\n";
    assert_int_equal(cm3_folder_make(ROOT "/unicode/emoji"), CM3_OK);
    assert_int_equal(cm3_folder_make(ROOT "/fonts/truetype/noto"), CM3_OK);
    cm3_source *source;
    cm3_source_config config = {.path = ROOT};
    assert_int_equal(cm3_source_open(&config, &source), CM3_ERR_NOT_FOUND);
    assert_non_null(strstr(cm3_message(), "apt install unicode-data"));
    assert_int_equal(cm3_file_write(ROOT "/unicode/emoji/emoji-test.txt", names, strlen(names)), CM3_OK);
    assert_int_equal(cm3_source_open(&config, &source), CM3_ERR_NOT_FOUND);
    assert_non_null(strstr(cm3_message(), "apt install fonts-noto-color-emoji"));
    assert_int_equal(cm3_file_write(ROOT "/fonts/truetype/noto/NotoColorEmoji.ttf", names, strlen(names)), CM3_OK);
    assert_int_equal(cm3_source_open(&config, &source), CM3_ERR_FORMAT);
    assert_non_null(strstr(cm3_message(), "not a font"));
    assert_int_equal(cm3_folder_remove(ROOT), CM3_OK);
}

static void check_list(const char *text, cm3_status expected, int64_t count) {
    cm3__emoji_list list;
    const cm3_status status = cm3__emoji_parse("names.txt", strdup(text), strlen(text), &list);
    if (status != expected) fail_msg("\"%s\": %s", text, cm3_status_text(status));
    if (status == CM3_OK) {
        assert_int_equal(list.count, count);
        cm3__emoji_list_free(&list);
    } else {
        assert_non_null(strstr(cm3_message(), "names.txt"));
    }
}

static void a_broken_list_of_names_is_refused(void **state) {
    (void)state;
    check_list("", CM3_OK, 0);
    check_list("1F600 ; fully-qualified # x E1.0 grinning face", CM3_OK, 1);
    check_list("1F600 ; unqualified # x E1.0 grinning face\r\n", CM3_OK, 0);
    check_list("1F600 ; fully-qualified # x E1.0", CM3_ERR_FORMAT, 0);
    check_list("1F600 ; fully-qualified", CM3_ERR_FORMAT, 0);
    check_list("1F6", CM3_ERR_FORMAT, 0);
    check_list("; fully-qualified # x E1.0 name", CM3_ERR_FORMAT, 0);
    check_list("110000 ; fully-qualified # x E1.0 name", CM3_ERR_FORMAT, 0);
    check_list("zz ; fully-qualified # x E1.0 name", CM3_ERR_FORMAT, 0);
    check_list("1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 ; fully-qualified # x E1.0 name", CM3_ERR_FORMAT, 0);
    check_list("1F600 ; fully-qualified # x E1.0 \xff", CM3_ERR_FORMAT, 0);
}

/* Takes the one tone out of a caption in place; -1 if it has none or several. */
static int take_tone(char *caption) {
    const char *first = strstr(caption, "skin tone");
    if (!first || strstr(first + 1, "skin tone")) return -1;
    for (int t = 0; t < 5; t++) {
        const char *word = tones[t] + 2;
        char *at = strstr(caption, word);
        if (!at || at[-1] != ' ') continue; /* "light" of "medium-light" */
        const size_t length = strlen(word);
        if (at[length] == ',') /* "man: TONE, red hair" */
            memmove(at, at + length + 2, strlen(at + length + 2) + 1);
        else /* "man: TONE", "kiss: man, man, TONE" */
            at[-2] = '\0';
        return t;
    }
    return -1;
}

typedef struct person {
    char *name;
    int trained[5], validation[5];
} person;

static void check_split(double share, int64_t seed) {
    cm3_source *source = open_with((cm3_source_config){.validation = share, .seed = seed});
    const int64_t count = cm3_source_count(source);
    person *people = calloc((size_t)count, sizeof *people);
    int64_t validation = 0, toned = 0, person_count = 0;
    int tone_trained[5] = {0}, tone_validation[5] = {0};
    for (int64_t i = 0; i < count; i++) {
        char *text;
        size_t length;
        assert_int_equal(cm3_source_text(source, i, &text, &length), CM3_OK);
        const int out = cm3_source_split(source, i) == CM3_SPLIT_VALIDATION;
        const int tone = take_tone(text);
        if (tone < 0) {
            if (out) fail_msg("\"%s\" has no tone, or several, and is validation", text);
            free(text);
            continue;
        }
        int64_t p = 0;
        while (p < person_count && strcmp(people[p].name, text)) p++;
        if (p == person_count)
            people[person_count++].name = text;
        else
            free(text);
        (out ? people[p].validation : people[p].trained)[tone]++;
        (out ? tone_validation : tone_trained)[tone]++;
        validation += out;
        toned++;
    }
    for (int64_t p = 0; p < person_count; p++) {
        int seen = 0;
        for (int t = 0; t < 5; t++) {
            seen += people[p].trained[t] > 0;
            if (people[p].validation[t] && people[p].trained[t])
                fail_msg("%s is seen with a tone that is validation", people[p].name);
        }
        if (seen < 2) fail_msg("%s keeps %d tones", people[p].name, seen);
        free(people[p].name);
    }
    for (int t = 0; t < 5; t++) assert_true(tone_validation[t] > 0 && tone_trained[t] >= tone_validation[t]);
    assert_true((double)validation > 0.9 * share * (double)toned && (double)validation <= share * (double)toned);
    free(people);
    cm3_source_close(source);
}

static void held_out_combinations_are_new_but_their_parts_are_known(void **state) {
    (void)state;
    check_split(0.1, 0);
    check_split(0.3, 7);
}

static void the_split_depends_on_the_seed_alone(void **state) {
    (void)state;
    cm3_source *a = open_with((cm3_source_config){.validation = 0.2, .seed = 1});
    cm3_source *b = open_with((cm3_source_config){.validation = 0.2, .seed = 1, .image_size = 64});
    cm3_source *c = open_with((cm3_source_config){.validation = 0.2, .seed = 2});
    int64_t differ = 0;
    for (int64_t i = 0; i < cm3_source_count(a); i++) {
        assert_int_equal(cm3_source_split(a, i), cm3_source_split(b, i));
        differ += cm3_source_split(a, i) != cm3_source_split(c, i);
    }
    assert_true(differ > 100);
    cm3_source_close(a);
    cm3_source_close(b);
    cm3_source_close(c);
}

static void a_tone_that_one_person_alone_has_is_not_held_out(void **state) {
    (void)state;
    cm3_source *source = open_with((cm3_source_config){.validation = 1, .filter = words("waving hand", NULL)});
    assert_int_equal(cm3_source_count(source), 6);
    for (int64_t i = 0; i < 6; i++) assert_int_equal(cm3_source_split(source, i), CM3_SPLIT_TRAIN);
    cm3_source_close(source);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_emoji_is_a_colour_image_with_a_name_of_its_own),
        cmocka_unit_test(sequences_are_joined_into_the_image_they_stand_for),
        cmocka_unit_test(images_are_fitted_to_the_size_that_is_asked_for),
        cmocka_unit_test(groups_and_words_select_and_leave_out),
        cmocka_unit_test(a_group_that_does_not_exist_is_named_with_those_that_do),
        cmocka_unit_test(a_selection_of_nothing_is_an_empty_data_set),
        cmocka_unit_test(a_missing_package_is_named),
        cmocka_unit_test(a_broken_list_of_names_is_refused),
        cmocka_unit_test(held_out_combinations_are_new_but_their_parts_are_known),
        cmocka_unit_test(the_split_depends_on_the_seed_alone),
        cmocka_unit_test(a_tone_that_one_person_alone_has_is_not_held_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
