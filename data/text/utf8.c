#include "data/text/utf8.h"

#include <string.h>

size_t cm3_utf8_next(const char *text, size_t length, uint32_t *code_point) {
    const unsigned char *byte = (const unsigned char *)text;
    const uint32_t lead = byte[0];
    *code_point = lead;
    if (lead < 0x80) return 1;

    *code_point = CM3_UTF8_INVALID;
    const size_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || length < bytes) return 1;
    /* The second byte's range shuts out overlong forms, surrogates and what lies above U+10FFFF. */
    const uint32_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    const uint32_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (byte[1] < low || byte[1] > high) return 1;
    uint32_t value = (lead & (0x7fu >> bytes)) << 6 | (byte[1] & 0x3fu);
    for (size_t i = 2; i < bytes; i++) {
        if ((byte[i] & 0xc0) != 0x80) return 1;
        value = value << 6 | (byte[i] & 0x3fu);
    }
    *code_point = value;
    return bytes;
}

size_t cm3_utf8_write(uint32_t code_point, char bytes[4]) {
    if (code_point < 0x80) {
        bytes[0] = (char)code_point;
        return 1;
    }
    const size_t count = code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
    for (size_t i = count - 1; i > 0; i--, code_point >>= 6) bytes[i] = (char)(0x80 | (code_point & 0x3f));
    bytes[0] = (char)(0xf00u >> count | code_point);
    return count;
}

bool cm3_text_is_utf8(const char *text, size_t length, size_t *bad_offset) {
    for (size_t i = 0; i < length;) {
        uint64_t eight;
        if (length - i >= sizeof eight) { /* most text is ASCII */
            memcpy(&eight, text + i, sizeof eight);
            if (!(eight & 0x8080808080808080u)) {
                i += sizeof eight;
                continue;
            }
        }
        uint32_t code_point;
        const size_t bytes = cm3_utf8_next(text + i, length - i, &code_point);
        if (code_point == CM3_UTF8_INVALID) {
            if (bad_offset) *bad_offset = i;
            return false;
        }
        i += bytes;
    }
    return true;
}
