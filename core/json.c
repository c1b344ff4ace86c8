#include "core/json.h"

#include "core/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- writing ----------------------------------------------------------------------------------------------------- */

cm3_json_writer cm3_json_writer_on(FILE *file) {
    return (cm3_json_writer){.file = file};
}

static void write_text(FILE *file, const char *text, size_t length) {
    fputc('"', file);
    for (size_t at = 0; at < length;) {
        const unsigned char *byte = (const unsigned char *)text + at;
        uint32_t code;
        const int size = cm3_utf8_decode(text + at, length - at, &code);
        if (size == 0) fputs("\xef\xbf\xbd", file);
        else if (*byte == '"' || *byte == '\\') fprintf(file, "\\%c", *byte);
        else if (*byte == '\n') fputs("\\n", file);
        else if (*byte == '\t') fputs("\\t", file);
        else if (*byte < 0x20 || *byte == 0x7F) fprintf(file, "\\u%04x", *byte);
        else fwrite(byte, 1, (size_t)size, file);
        at += size ? (size_t)size : 1;
    }
    fputc('"', file);
}

static void begin_value(cm3_json_writer *writer, const char *key) {
    const uint64_t bit = UINT64_C(1) << (writer->depth & 63);
    if (writer->depth > 0 && writer->started & bit) fputc(',', writer->file);
    writer->started |= bit;
    if (!key) return;
    write_text(writer->file, key, strlen(key));
    fputc(':', writer->file);
}

static void begin_container(cm3_json_writer *writer, const char *key, char bracket) {
    begin_value(writer, key);
    fputc(bracket, writer->file);
    writer->depth++;
    writer->started &= ~(UINT64_C(1) << (writer->depth & 63));
}

static void end_container(cm3_json_writer *writer, char bracket) {
    fputc(bracket, writer->file);
    writer->depth--;
}

void cm3_json_begin_object(cm3_json_writer *writer, const char *key) {
    begin_container(writer, key, '{');
}

void cm3_json_end_object(cm3_json_writer *writer) {
    end_container(writer, '}');
}

void cm3_json_begin_array(cm3_json_writer *writer, const char *key) {
    begin_container(writer, key, '[');
}

void cm3_json_end_array(cm3_json_writer *writer) {
    end_container(writer, ']');
}

void cm3_json_put_double(cm3_json_writer *writer, const char *key, double value) {
    if (!isfinite(value)) {
        cm3_json_put_null(writer, key);
        return;
    }
    char text[32];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    begin_value(writer, key);
    fputs(text, writer->file);
}

void cm3_json_put_int(cm3_json_writer *writer, const char *key, int64_t value) {
    begin_value(writer, key);
    fprintf(writer->file, "%lld", (long long)value);
}

void cm3_json_put_bool(cm3_json_writer *writer, const char *key, bool value) {
    begin_value(writer, key);
    fputs(value ? "true" : "false", writer->file);
}

void cm3_json_put_null(cm3_json_writer *writer, const char *key) {
    begin_value(writer, key);
    fputs("null", writer->file);
}

void cm3_json_put_text(cm3_json_writer *writer, const char *key, const char *value, size_t length) {
    begin_value(writer, key);
    write_text(writer->file, value, length);
}

void cm3_json_put_string(cm3_json_writer *writer, const char *key, const char *value) {
    if (value) cm3_json_put_text(writer, key, value, strlen(value));
    else cm3_json_put_null(writer, key);
}

void cm3_json_put_hash(cm3_json_writer *writer, const char *key, cm3_hash hash) {
    char hex[CM3_HASH_HEX];
    cm3_hash_to_hex(hash, hex);
    cm3_json_put_string(writer, key, hex);
}

void cm3_json_end_line(cm3_json_writer *writer) {
    fputc('\n', writer->file);
    fflush(writer->file);
}
