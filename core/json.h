/* JSON: a writer of compact single lines, and a reader (jansson) whose faults name file, line and member. */
#ifndef CM3_CORE_JSON_H
#define CM3_CORE_JSON_H

#include "core/hash.h"
#include "core/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Prints one value after another to `file`, without blanks. Inside an object every value has a key, inside an array and
 * at the top the key is NULL. Faults of writing stay in ferror(file).
 *
 *     cm3_json_writer w = cm3_json_writer_on(file);
 *     cm3_json_begin_object(&w, NULL);
 *     cm3_json_put_int(&w, "step", 12);
 *     cm3_json_put_double(&w, "loss", 3.25);
 *     cm3_json_end_object(&w);
 *     cm3_json_end_line(&w);                      {"step":12,"loss":3.25}
 */
typedef struct cm3_json_writer {
    FILE *file;
    uint64_t started; /* bit d: the container of depth d already has a member (depth is at most 63) */
    int depth;
} cm3_json_writer;

cm3_json_writer cm3_json_writer_on(FILE *file);
void cm3_json_begin_object(cm3_json_writer *writer, const char *key);
void cm3_json_end_object(cm3_json_writer *writer);
void cm3_json_begin_array(cm3_json_writer *writer, const char *key);
void cm3_json_end_array(cm3_json_writer *writer);
/* A double is printed with the fewest digits that read back to the same value; NaN and infinities become null. */
void cm3_json_put_double(cm3_json_writer *writer, const char *key, double value);
void cm3_json_put_int(cm3_json_writer *writer, const char *key, int64_t value);
void cm3_json_put_bool(cm3_json_writer *writer, const char *key, bool value);
void cm3_json_put_null(cm3_json_writer *writer, const char *key);
/* Bytes that are not UTF-8 become U+FFFD. NULL becomes null. */
void cm3_json_put_string(cm3_json_writer *writer, const char *key, const char *value);
void cm3_json_put_text(cm3_json_writer *writer, const char *key, const char *value, size_t length);
void cm3_json_put_hash(cm3_json_writer *writer, const char *key, cm3_hash hash); /* 32 hexadecimal digits */
/* Ends a top-level value with a newline and flushes the line. */
void cm3_json_end_line(cm3_json_writer *writer);

/* Reads one JSON value (an object or an array); the caller's to json_decref. Duplicate keys, bad UTF-8, anything after
 * the value, and nesting beyond 512 levels are CM3_ERR_FORMAT, "NAME:LINE: not valid JSON: ...". A file of more than
 * `limit` bytes is refused. */
cm3_status cm3_json_load(const char *path, size_t limit, json_t **root);
cm3_status cm3_json_parse(const char *name, const char *text, size_t length, json_t **root);

/* Members that must be there with the right type; else CM3_ERR_FORMAT, "NAME: KEY: found ..., expected ...". What they
 * give is borrowed from `object`. `object` may be any value: one that is no object is a fault too. */
cm3_status cm3_json_need_int(const json_t *object, const char *name, const char *key, int64_t min, int64_t max,
                             int64_t *value);
cm3_status cm3_json_need_double(const json_t *object, const char *name, const char *key, double *value);
cm3_status cm3_json_need_bool(const json_t *object, const char *name, const char *key, bool *value);
cm3_status cm3_json_need_string(const json_t *object, const char *name, const char *key, const char **value);
cm3_status cm3_json_need_hash(const json_t *object, const char *name, const char *key, cm3_hash *hash);
/* The members "format" and "version" of a file, which must be these. */
cm3_status cm3_json_need_format(const json_t *object, const char *name, const char *format, int64_t version);
cm3_status cm3_json_need_array(const json_t *object, const char *name, const char *key, const json_t **value);
cm3_status cm3_json_need_object(const json_t *object, const char *name, const char *key, const json_t **value);

#endif
