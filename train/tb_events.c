#include "train/tb_events.h"

#include "core/hash.h"
#include "core/list.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- protocol buffers: a message is a string of fields, each a tag (number and wire type) and a value ------------ */

typedef struct message {
    CM3_LIST(unsigned char) bytes;
    bool failed; /* out of memory: sticks */
} message;

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

static void append(message *m, const void *bytes, size_t length) {
    m->failed = m->failed || CM3_LIST_APPEND(&m->bytes, (const unsigned char *)bytes, length) != CM3_OK;
}

static void append_varint(message *m, uint64_t value) {
    unsigned char bytes[10];
    size_t length = 0;
    for (; value >= 0x80; value >>= 7) bytes[length++] = (unsigned char)(value | 0x80);
    bytes[length++] = (unsigned char)value;
    append(m, bytes, length);
}

/* The formats are little-endian, whatever the machine is. */
static void append_little(message *m, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) append(m, &(unsigned char){(unsigned char)(value >> (8 * i))}, 1);
}

static void append_tag(message *m, int field, int wire) {
    append_varint(m, (uint64_t)field << 3 | (uint64_t)wire);
}

static void put_varint(message *m, int field, uint64_t value) {
    append_tag(m, field, WIRE_VARINT);
    append_varint(m, value);
}

static void put_double(message *m, int field, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    append_tag(m, field, WIRE_FIXED64);
    append_little(m, bits, 8);
}

static void put_float(message *m, int field, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    append_tag(m, field, WIRE_FIXED32);
    append_little(m, bits, 4);
}

static void put_bytes(message *m, int field, const void *bytes, size_t length) {
    append_tag(m, field, WIRE_BYTES);
    append_varint(m, length);
    append(m, bytes, length);
}

static void put_string(message *m, int field, const char *text) {
    put_bytes(m, field, text, strlen(text));
}

/* A message inside a message; the inner one is spent. */
static void put_message(message *m, int field, message *inner) {
    put_bytes(m, field, inner->bytes.items, inner->bytes.count);
    m->failed = m->failed || inner->failed;
    CM3_LIST_FREE(&inner->bytes);
}

/* --- records ----------------------------------------------------------------------------------------------------- */

struct cm3_tb_events {
    FILE *file;
    char *path;
    bool out_of_memory;
};

static uint32_t masked_crc(const void *data, size_t length) {
    const uint32_t crc = cm3_crc32c(0, data, length);
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

/* One TFRecord: length (8 bytes), its checksum (4), the event, its checksum (4). The event is spent. */
static void write_record(cm3_tb_events *events, message *event) {
    message record = {0};
    append_little(&record, event->bytes.count, 8);
    if (!record.failed) append_little(&record, masked_crc(record.bytes.items, 8), 4);
    append(&record, event->bytes.items, event->bytes.count);
    append_little(&record, masked_crc(event->bytes.items, event->bytes.count), 4);
    if (record.failed || event->failed)
        events->out_of_memory = true;
    else
        fwrite(record.bytes.items, 1, record.bytes.count, events->file); /* faults stay in ferror() */
    CM3_LIST_FREE(&record.bytes);
    CM3_LIST_FREE(&event->bytes);
}

/* Field numbers of event.proto and summary.proto. */
enum { EVENT_TIME = 1, EVENT_STEP = 2, EVENT_VERSION = 3, EVENT_SUMMARY = 5, EVENT_SESSION = 7 };
enum { SESSION_STATUS = 1, SESSION_START = 1 };
enum { SUMMARY_VALUE = 1 };
enum { VALUE_TAG = 1, VALUE_SIMPLE = 2, VALUE_IMAGE = 4 };
enum { IMAGE_HEIGHT = 1, IMAGE_WIDTH = 2, IMAGE_COLORSPACE = 3, IMAGE_BYTES = 4, IMAGE_RGB = 3 };

static message event_begin(double wall_time, int64_t step) {
    message event = {0};
    put_double(&event, EVENT_TIME, wall_time);
    put_varint(&event, EVENT_STEP, (uint64_t)step);
    return event;
}

/* Wraps a value as event { summary { value } } and writes it. */
static void write_value(cm3_tb_events *events, double wall_time, int64_t step, message *value) {
    message summary = {0}, event = event_begin(wall_time, step);
    put_message(&summary, SUMMARY_VALUE, value);
    put_message(&event, EVENT_SUMMARY, &summary);
    write_record(events, &event);
}

cm3_status cm3_tb_events_create(const char *path, double wall_time, int64_t first_step, cm3_tb_events **result) {
    cm3_tb_events *events = calloc(1, sizeof *events);
    if (events == NULL || (events->path = strdup(path)) == NULL) {
        free(events);
        return cm3_fail(CM3_ERR_MEMORY, "out of memory for %s", path);
    }
    events->file = fopen(path, "wb");
    if (events->file == NULL) {
        const cm3_status status = cm3_fail(CM3_ERR_IO, "%s: cannot make: %s", path, strerror(errno));
        free(events->path);
        free(events);
        return status;
    }
    message version = {0}, start = event_begin(wall_time, first_step), session = {0};
    put_double(&version, EVENT_TIME, wall_time);
    put_string(&version, EVENT_VERSION, "brain.Event:2");
    write_record(events, &version);
    put_varint(&session, SESSION_STATUS, SESSION_START);
    put_message(&start, EVENT_SESSION, &session);
    write_record(events, &start);
    *result = events;
    return CM3_OK;
}

void cm3_tb_events_scalar(cm3_tb_events *events, double wall_time, int64_t step, const char *tag, float value) {
    message m = {0};
    put_string(&m, VALUE_TAG, tag);
    put_float(&m, VALUE_SIMPLE, value);
    write_value(events, wall_time, step, &m);
}

void cm3_tb_events_image(cm3_tb_events *events, double wall_time, int64_t step, const char *tag, const void *png,
                         size_t bytes, int width, int height) {
    message m = {0}, image = {0};
    put_varint(&image, IMAGE_HEIGHT, (uint64_t)height);
    put_varint(&image, IMAGE_WIDTH, (uint64_t)width);
    put_varint(&image, IMAGE_COLORSPACE, IMAGE_RGB);
    put_bytes(&image, IMAGE_BYTES, png, bytes);
    put_string(&m, VALUE_TAG, tag);
    put_message(&m, VALUE_IMAGE, &image);
    write_value(events, wall_time, step, &m);
}

cm3_status cm3_tb_events_flush(cm3_tb_events *events) {
    errno = 0;
    if (fflush(events->file) != 0 || ferror(events->file))
        return cm3_fail(CM3_ERR_IO, "%s: cannot write: %s", events->path,
                        errno != 0 ? strerror(errno) : "an earlier write failed");
    return events->out_of_memory ? cm3_fail(CM3_ERR_MEMORY, "out of memory for a record of %s", events->path) : CM3_OK;
}

cm3_status cm3_tb_events_close(cm3_tb_events *events) {
    if (events == NULL) return CM3_OK;
    cm3_status status = cm3_tb_events_flush(events);
    if (fclose(events->file) != 0 && status == CM3_OK)
        status = cm3_fail(CM3_ERR_IO, "%s: cannot write: %s", events->path, strerror(errno));
    free(events->path);
    free(events);
    return status;
}
