#include "core/utf8.h"

int cm3_utf8_decode(const char *text, size_t length, uint32_t *code) {
    if (!length) return 0;
    const unsigned char *bytes = (const unsigned char *)text;
    if (bytes[0] < 0x80) {
        *code = bytes[0];
        return 1;
    }
    const int size = bytes[0] >= 0xF0 ? 4 : bytes[0] >= 0xE0 ? 3 : 2;
    if (bytes[0] < 0xC2 || bytes[0] > 0xF4 || length < (size_t)size) return 0;
    uint32_t value = bytes[0] & (0x7Fu >> size);
    for (int i = 1; i < size; i++) {
        if ((bytes[i] & 0xC0) != 0x80) return 0;
        value = value << 6 | (bytes[i] & 0x3Fu);
    }
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (value < smallest[size] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) return 0;
    *code = value;
    return size;
}

bool cm3_utf8_is_valid(const char *text, size_t length) {
    uint32_t code;
    for (size_t at = 0; at < length;) {
        const int size = cm3_utf8_decode(text + at, length - at, &code);
        if (size == 0) return false;
        at += (size_t)size;
    }
    return true;
}
