#include "core/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void every_code_point_comes_back_from_its_bytes(void **state) {
    (void)state;
    for (uint32_t code_point = 0; code_point <= 0x10ffff; code_point++) {
        if (code_point >= 0xd800 && code_point <= 0xdfff) continue;
        char bytes[4];
        uint32_t back;
        const size_t count = cm3_utf8_write(code_point, bytes);
        assert_int_equal(cm3_utf8_next(bytes, count, &back), count);
        assert_int_equal(back, code_point);
        if (count > 1) { /* cut short */
            assert_int_equal(cm3_utf8_next(bytes, count - 1, &back), 1);
            assert_int_equal(back, CM3_UTF8_INVALID);
        }
    }
}

static void what_is_not_utf8_is_named_by_its_offset(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t bad;
    } cases[] = {
        {"caf\xe9", 3},             /* Latin-1 */
        {"0123456789\xc0\xaf", 10}, /* overlong */
        {"\xe0\x9f\xbf", 0},        /* overlong, three bytes */
        {"a\xed\xa0\x80", 1},       /* surrogate */
        {"\xf4\x90\x80\x80", 0},    /* above U+10FFFF */
        {"\xf0\x8f\xbf\xbf", 0},    /* overlong, four bytes */
        {"\xc3\xa9\x80", 2},        /* stray continuation */
        {"ok \xf0\x9f\x98", 3},     /* cut short */
        {"12345678\xff"
         "12345678",
         8},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t bad = 99;
        assert_false(cm3_utf8_is_valid(cases[i].text, strlen(cases[i].text), &bad));
        assert_int_equal(bad, cases[i].bad);
    }
    assert_true(cm3_utf8_is_valid("", 0, NULL));
    const char *good = "na\xc3\xafve caf\xc3\xa9, \xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x98\x80 and plain text after it";
    assert_true(cm3_utf8_is_valid(good, strlen(good), NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_comes_back_from_its_bytes),
        cmocka_unit_test(what_is_not_utf8_is_named_by_its_offset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
