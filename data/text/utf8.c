#include "data/text/utf8.h"
#include "core/utf8.h"

#include <string.h>

size_t cm3_utf8_next(const char *text, size_t length, uint32_t *code_point) {
    const int bytes = cm3_utf8_decode(text, length, code_point);
    if (bytes > 0) return (size_t)bytes;
    *code_point = CM3_UTF8_INVALID;
    return 1;
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
