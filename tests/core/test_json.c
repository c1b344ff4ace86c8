#include "core/json.h"

#include "core/rng.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void a_line_is_written_as_documented(void **state) {
    (void)state;
    char *text;
    size_t length;
    FILE *file = open_memstream(&text, &length);
    cm3_json_writer w = cm3_json_writer_on(file);
    for (int line = 0; line < 2; line++) {
        cm3_json_begin_object(&w, NULL);
        cm3_json_put_int(&w, "step", INT64_MIN);
        cm3_json_put_double(&w, "loss", 3.25);
        cm3_json_put_double(&w, "nan", (double)NAN);
        cm3_json_put_double(&w, "inf", (double)-INFINITY);
        cm3_json_put_double(&w, "f", 0.1);
        cm3_json_begin_array(&w, "list");
        cm3_json_put_bool(&w, NULL, true);
        cm3_json_begin_array(&w, NULL);
        cm3_json_end_array(&w);
        cm3_json_begin_object(&w, NULL);
        cm3_json_put_null(&w, "a");
        cm3_json_end_object(&w);
        cm3_json_end_array(&w);
        cm3_json_put_string(&w, "s", "q\"b\\n\nt\te\x1b d\x7f u\xc3\xbc x\xff y\xed\xa0\x80");
        cm3_json_put_text(&w, "z", "a\0b", 3);
        cm3_json_put_string(&w, "none", NULL);
        cm3_json_end_object(&w);
        cm3_json_end_line(&w);
    }
    fclose(file);
    const char *expected =
        "{\"step\":-9223372036854775808,\"loss\":3.25,\"nan\":null,\"inf\":null,\"f\":0.1,\"list\":[true,[],{\"a\":"
        "null}],"
        "\"s\":\"q\\\"b\\\\n\\nt\\te\\u001b d\\u007f u\xc3\xbc x\xef\xbf\xbd y\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\","
        "\"z\":\"a\\u0000b\",\"none\":null}\n";
    assert_memory_equal(text, expected, strlen(expected));
    assert_string_equal(text + strlen(expected), expected);
    free(text);
}

static double written_and_read(double value) {
    char *text;
    size_t length;
    FILE *file = open_memstream(&text, &length);
    cm3_json_writer w = cm3_json_writer_on(file);
    cm3_json_begin_array(&w, NULL);
    cm3_json_put_double(&w, NULL, value);
    cm3_json_end_array(&w);
    fclose(file);
    json_t *root;
    assert_int_equal(cm3_json_parse("t", text, length, &root), CM3_OK);
    const double back = json_number_value(json_array_get(root, 0));
    json_decref(root);
    free(text);
    return back;
}

static void finite_doubles_keep_every_bit(void **state) {
    (void)state;
    const double special[] = {0,      1, -1, 1e300, DBL_MIN, DBL_MAX, DBL_TRUE_MIN, 0.1, 1.0 / 3, 123456789012345678.0,
                              -2.5e-8};
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        assert_true(written_and_read(special[i]) == special[i]);
    cm3_rng rng = cm3_rng_stream(1, CM3_RNG_TEST, 0, 0);
    for (int i = 0; i < 2000; i++) {
        const uint64_t bits = cm3_rng_u64(&rng);
        double value;
        memcpy(&value, &bits, sizeof value);
        if (isfinite(value)) assert_true(written_and_read(value) == value);
    }
}

static void expect_fault(const char *text, size_t length, const char *message) {
    json_t *root;
    char *exact = malloc(length ? length : 1);
    memcpy(exact, text, length);
    if (cm3_json_parse("f.json", exact, length, &root) != CM3_ERR_FORMAT) fail_msg("accepted: %s", text);
    assert_null(root);
    if (strncmp(cm3_message(), message, strlen(message)) != 0) fail_msg("%s", cm3_message());
    free(exact);
}

static void what_is_not_json_is_told_with_its_line(void **state) {
    (void)state;
#define FAULT(text, message) expect_fault(text, sizeof text - 1, message)
    FAULT("", "f.json:1: not valid JSON: ");
    FAULT("{\n\"a\": 1,\n}", "f.json:3: not valid JSON: ");
    FAULT("{\"a\": 1, \"a\": 2}", "f.json:1: not valid JSON: duplicate object key");
    FAULT("[1] x", "f.json:1: not valid JSON: end of file expected");
    FAULT("[\"\xff\"]", "f.json:1: not valid JSON: unable to decode byte 0xff");
    FAULT("[\"\\u0000\"]", "f.json:1: not valid JSON: ");
    FAULT("[\"\\ud800\"]", "f.json:1: not valid JSON: ");
    FAULT("[1e999]", "f.json:1: not valid JSON: real number overflow");
    FAULT("[99999999999999999999]", "f.json:1: not valid JSON: too big integer");
    FAULT("[NaN]", "f.json:1: not valid JSON: ");
    FAULT("5", "f.json:1: not valid JSON: ");
    FAULT("[1\0]", "f.json: not valid JSON: it holds a zero byte");
    enum { DEEP = 1000000 };
    char *deep = malloc(DEEP);
    memset(deep, '[', DEEP);
    expect_fault(deep, DEEP, "f.json: not valid JSON: nested deeper than 512 levels");
    free(deep);
}

static void every_cut_of_a_document_is_a_fault(void **state) {
    (void)state;
    static const char text[] = "{\"model\": {\"vocab\": {\"\\u00e9\": 1, \"b\": [1.5e3, true, null]}}}";
    json_t *root;
    assert_int_equal(cm3_json_parse("f", text, sizeof text - 1, &root), CM3_OK);
    json_decref(root);
    for (size_t length = 0; length < sizeof text - 1; length++)
        expect_fault(text, length, "f.json:1: not valid JSON: ");
}

static void members_are_checked_by_type_and_range(void **state) {
    (void)state;
    static const char text[] = "{\"i\": 5, \"r\": 1.5, \"s\": \"x\", \"b\": false, \"a\": [], \"o\": {}}";
    json_t *root;
    assert_int_equal(cm3_json_parse("f", text, sizeof text - 1, &root), CM3_OK);
    int64_t number;
    double real;
    bool flag;
    const char *string;
    const json_t *value;
    assert_int_equal(cm3_json_need_int(root, "f", "i", 0, 5, &number), CM3_OK);
    assert_int_equal(number, 5);
    assert_int_equal(cm3_json_need_int(root, "f", "i", 0, 4, &number), CM3_ERR_FORMAT);
    assert_string_equal(cm3_message(), "f: i: found 5, expected an integer from 0 to 4");
    assert_int_equal(cm3_json_need_double(root, "f", "i", &real), CM3_OK);
    assert_int_equal(cm3_json_need_double(root, "f", "r", &real), CM3_OK);
    assert_true(real == 1.5);
    assert_int_equal(cm3_json_need_bool(root, "f", "b", &flag), CM3_OK);
    assert_int_equal(cm3_json_need_string(root, "f", "s", &string), CM3_OK);
    assert_int_equal(cm3_json_need_array(root, "f", "a", &value), CM3_OK);
    assert_int_equal(cm3_json_need_object(root, "f", "o", &value), CM3_OK);
    assert_int_equal(cm3_json_need_string(root, "f", "i", &string), CM3_ERR_FORMAT);
    assert_string_equal(cm3_message(), "f: i: found an integer, expected a string");
    assert_int_equal(cm3_json_need_object(root, "f", "missing", &value), CM3_ERR_FORMAT);
    assert_string_equal(cm3_message(), "f: missing: found nothing, expected an object");
    assert_int_equal(cm3_json_need_int(json_object_get(root, "a"), "f", "x", 0, 1, &number), CM3_ERR_FORMAT);
    json_decref(root);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_written_as_documented),
        cmocka_unit_test(finite_doubles_keep_every_bit),
        cmocka_unit_test(what_is_not_json_is_told_with_its_line),
        cmocka_unit_test(every_cut_of_a_document_is_a_fault),
        cmocka_unit_test(members_are_checked_by_type_and_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
