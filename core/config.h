/* Recipes: YAML bound to C structs by tables of fields.
 *
 * A layer that has settings declares a plain struct, a table of its fields, and optionally a check of combinations. A
 * recipe is a list of sections, each one such table at an offset of one big struct, named by its path ("pretrain.train"
 * is the mapping `train` inside of `pretrain`). From the tables come the defaults, the parser, `cm3leon help recipe`
 * and `--print-config`, so that they cannot disagree.
 *
 *     typedef struct cm3_adamw_config { double beta1; ... } cm3_adamw_config;
 *     const cm3_field cm3_adamw_fields[] = {
 *         CM3_FIELD_FLOAT(cm3_adamw_config, beta1, "0.9", 0, 1, "", "decay of the first moment"),
 *         ...
 *         CM3_FIELD_END};
 *
 * All faults of a file are collected and reported together, each with line, section.field, what was found, what was
 * expected and, for an unknown name, the nearest valid one.
 *
 * A recipe is plain YAML: sections, keys, values, lists. Anchors, tags and several documents are refused. A number in
 * quotes is text, and a text needs quotes only where YAML does. After "section.key=" on a command line it needs none.
 */
#ifndef CM3_CORE_CONFIG_H
#define CM3_CORE_CONFIG_H

#include "core/hash.h"
#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef enum cm3_field_kind {
    CM3_KIND_BOOL,     /* bool           yes|no|true|false                                 */
    CM3_KIND_INT,      /* int64_t        digits, with optional suffix k, M, G (1000-based) or Ki, Mi, Gi */
    CM3_KIND_FLOAT,    /* double         6e-4                                              */
    CM3_KIND_STRING,   /* char *         owned by the struct, "" when empty, never NULL    */
    CM3_KIND_CHOICE,   /* int            one word of `choices`; the value is its index     */
    CM3_KIND_INT_LIST, /* cm3_int_list   [1, 2, 2, 4]                                      */
    CM3_KIND_STRING_LIST /* cm3_string_list  [a, b]                                        */
} cm3_field_kind;

enum { CM3_LIST_MAX = 64 };
typedef struct cm3_int_list { int64_t values[CM3_LIST_MAX]; int count; } cm3_int_list;
typedef struct cm3_string_list { char *values[CM3_LIST_MAX]; int count; } cm3_string_list; /* strings owned */

/* What a field is for. A stage is done again, and a run is not resumed, when a field that changes results was changed;
 * all others may be changed at any time. Rounding does not count as a result. */
typedef enum cm3_field_effect {
    CM3_CHANGES_RESULTS,
    CM3_CHANGES_SPEED,
    CM3_CHANGES_MEMORY,  /* of the host, a GPU or the disk */
    CM3_CHANGES_REPORTS, /* what is logged, measured or shown on the way */
    CM3_CHANGES_LENGTH   /* when a run ends: it may be continued with another value */
} cm3_field_effect;

typedef struct cm3_field {
    const char *name;
    cm3_field_kind kind;
    size_t offset;
    const char *fallback;       /* default value as YAML text; NULL: the field must be given */
    double min, max;            /* of numbers and of list elements, inclusive; equal: no limits */
    const char *const *choices; /* NULL-terminated                                            */
    const char *unit;           /* "tokens", "pixels", "" */
    const char *help;           /* one line */
    cm3_field_effect effect;
} cm3_field;

/* The effect may stand at the end: CM3_FIELD_INT(..., "kept in memory", .effect = CM3_CHANGES_MEMORY). */
#define CM3__FIELD(type, member, of_kind, default_text, text, ...)                                                     \
    {                                                                                                                  \
        .name = #member, .kind = of_kind, .offset = offsetof(type, member), .fallback = default_text, .help = text,    \
        __VA_ARGS__                                                                                                    \
    }
#define CM3_FIELD_BOOL(type, member, fallback, help, ...)                                                              \
    CM3__FIELD(type, member, CM3_KIND_BOOL, fallback, help, .unit = "", __VA_ARGS__)
#define CM3_FIELD_INT(type, member, fallback, low, high, in, help, ...)                                                \
    CM3__FIELD(type, member, CM3_KIND_INT, fallback, help, .min = low, .max = high, .unit = in, __VA_ARGS__)
#define CM3_FIELD_FLOAT(type, member, fallback, low, high, in, help, ...)                                              \
    CM3__FIELD(type, member, CM3_KIND_FLOAT, fallback, help, .min = low, .max = high, .unit = in, __VA_ARGS__)
#define CM3_FIELD_STRING(type, member, fallback, help, ...)                                                            \
    CM3__FIELD(type, member, CM3_KIND_STRING, fallback, help, .unit = "", __VA_ARGS__)
#define CM3_FIELD_CHOICE(type, member, fallback, words, help, ...)                                                     \
    CM3__FIELD(type, member, CM3_KIND_CHOICE, fallback, help, .choices = words, .unit = "", __VA_ARGS__)
#define CM3_FIELD_INT_LIST(type, member, fallback, low, high, in, help, ...)                                           \
    CM3__FIELD(type, member, CM3_KIND_INT_LIST, fallback, help, .min = low, .max = high, .unit = in, __VA_ARGS__)
#define CM3_FIELD_STRING_LIST(type, member, fallback, help, ...)                                                       \
    CM3__FIELD(type, member, CM3_KIND_STRING_LIST, fallback, help, .unit = "", __VA_ARGS__)
#define CM3_FIELD_END                                                                                                  \
    { .name = NULL }

/* What a check of combinations calls, once for each fault. `field` is one of the section. */
typedef struct cm3_faults cm3_faults;
void cm3_faults_add(cm3_faults *faults, const char *section, const char *field, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

typedef struct cm3_section {
    const char *name;        /* path: "model", "pretrain.train"; "" for keys at the top level of the file */
    const cm3_field *fields; /* ends with CM3_FIELD_END; none if there are only sections below */
    size_t offset;           /* of the section's struct in the recipe's struct */
    const char *help;        /* one or two lines */
} cm3_section;

/* Names of earlier versions: of a field, of a section with all that is below it, or of a choice's value. A recipe that
 * uses one is refused with the new name. */
typedef struct cm3_rename {
    const char *old; /* "train", "data.lanes", "model.recompute=segments" */
    const char *now; /* "pretrain.train", "pretrain.data.batch", "layers" */
} cm3_rename;

typedef struct cm3_schema {
    const cm3_section *sections; /* a section before those below it; ends with a NULL name */
    const cm3_rename *renames;   /* ends with NULL; NULL if there are none */
    size_t size;                 /* of the recipe's struct */
    /* Combinations across fields and sections; NULL if there are none. Runs when every field by itself is valid. */
    void (*check)(const void *recipe, cm3_faults *faults);
} cm3_schema;

/* Fills `recipe` (schema->size bytes) with defaults, then the file, then `overrides` ("section.key=value"), then
 * checks. CM3_ERR_IO if the file cannot be read, CM3_ERR_RECIPE for anything wrong in it: the message then holds every
 * fault, one a line. On failure `recipe` holds nothing that needs freeing. */
cm3_status cm3_config_load(const cm3_schema *schema, const char *path, const char *const *overrides, int override_count,
                           void *recipe);
/* The same from text. */
typedef struct cm3_config_text {
    const char *name; /* stands for the path in messages */
    const char *text;
    size_t length; /* bytes */
} cm3_config_text;
cm3_status cm3_config_parse(const cm3_schema *schema, const cm3_config_text *source, const char *const *overrides,
                            int override_count, void *recipe);
void cm3_config_free(const cm3_schema *schema, void *recipe);

/* Writes the resolved recipe as YAML that loads to the same values. */
cm3_status cm3_config_print(const cm3_schema *schema, const void *recipe, FILE *file);
/* Writes the reference of all fields: as text for a terminal, or as Markdown. */
void cm3_config_help(const cm3_schema *schema, bool markdown, FILE *file);
/* One hash of what changes results in the sections of a NULL-terminated list and in all below them; "" is the top level
 * alone. */
cm3_hash cm3_config_hash(const cm3_schema *schema, const void *recipe, const char *const *sections);
/* The first of those fields that has another value in `b`, as "pretrain.data.seed was 1, is 2" (of `a`, of `b`). False
 * if all are equal. */
bool cm3_config_difference(const cm3_schema *schema, const void *a, const void *b, const char *const *sections,
                           char *text, size_t size);

#endif
