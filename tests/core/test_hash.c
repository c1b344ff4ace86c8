#include "core/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void the_hash_of_nothing_is_the_published_one(void **state) {
    (void)state;
    char hex[CM3_HASH_HEX];
    cm3_hash_to_hex(cm3_hash_bytes("", 0), hex);
    assert_string_equal(hex, "99aa06d3014798d86001c324468d497f"); /* xxhsum -H128 of an empty file */
}

static void pieces_hash_like_the_whole(void **state) {
    (void)state;
    unsigned char bytes[5000];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)(i * i >> 3);
    const cm3_hash whole = cm3_hash_bytes(bytes, sizeof bytes);
    for (size_t piece = 1; piece < 2000; piece = piece * 3 + 1) {
        cm3_hasher *hasher = cm3_hasher_new();
        for (size_t at = 0; at < sizeof bytes; at += piece)
            cm3_hasher_add(hasher, bytes + at, at + piece < sizeof bytes ? piece : sizeof bytes - at);
        assert_true(cm3_hash_equal(cm3_hasher_value(hasher), whole));
        cm3_hasher_free(hasher);
    }
    bytes[4321] ^= 1;
    assert_false(cm3_hash_equal(cm3_hash_bytes(bytes, sizeof bytes), whole));
}

static void hexadecimal_goes_there_and_back(void **state) {
    (void)state;
    const cm3_hash hash = {0x0123456789abcdefu, 0xfedcba9876543210u};
    char hex[CM3_HASH_HEX];
    cm3_hash_to_hex(hash, hex);
    assert_string_equal(hex, "0123456789abcdeffedcba9876543210");
    cm3_hash back;
    assert_true(cm3_hash_from_hex(hex, &back));
    assert_true(cm3_hash_equal(hash, back));
    assert_false(cm3_hash_from_hex("0123", &back));
    assert_false(cm3_hash_from_hex("0123456789abcdeffedcba987654321g", &back));
    assert_false(cm3_hash_from_hex("0123456789abcdeffedcba98765432100", &back));
}

static void crc32c_gives_the_published_values(void **state) {
    (void)state;
    /* RFC 3720, appendix B.4. */
    unsigned char bytes[32];
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(cm3_crc32c(0, bytes, 32), 0x8a9136aa);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(cm3_crc32c(0, bytes, 32), 0x62a8ab43);
    for (int i = 0; i < 32; i++) bytes[i] = (unsigned char)i;
    assert_int_equal(cm3_crc32c(0, bytes, 32), 0x46dd794e);
    assert_int_equal(cm3_crc32c(0, "123456789", 9), 0xe3069283);
    for (size_t cut = 0; cut <= 9; cut++)
        assert_int_equal(cm3_crc32c(cm3_crc32c(0, "123456789", cut), "123456789" + cut, 9 - cut), 0xe3069283);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hash_of_nothing_is_the_published_one),
        cmocka_unit_test(pieces_hash_like_the_whole),
        cmocka_unit_test(hexadecimal_goes_there_and_back),
        cmocka_unit_test(crc32c_gives_the_published_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
