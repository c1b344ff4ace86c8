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

typedef struct cm3_field {
    const char *name;
    cm3_field_kind kind;
    size_t offset;
    const char *fallback;       /* default value as YAML text; NULL: the field must be given */
    double min, max;            /* of numbers and of list elements, inclusive; equal: no limits */
    const char *const *choices; /* NULL-terminated                                            */
    const char *unit;           /* "tokens", "pixels", "" */
    const char *help;           /* one line */
} cm3_field;

#define CM3_FIELD_BOOL(type, member, fallback, help) \
    {#member, CM3_KIND_BOOL, offsetof(type, member), fallback, 0, 0, NULL, "", help}
#define CM3_FIELD_INT(type, member, fallback, min, max, unit, help) \
    {#member, CM3_KIND_INT, offsetof(type, member), fallback, min, max, NULL, unit, help}
#define CM3_FIELD_FLOAT(type, member, fallback, min, max, unit, help) \
    {#member, CM3_KIND_FLOAT, offsetof(type, member), fallback, min, max, NULL, unit, help}
#define CM3_FIELD_STRING(type, member, fallback, help) \
    {#member, CM3_KIND_STRING, offsetof(type, member), fallback, 0, 0, NULL, "", help}
#define CM3_FIELD_CHOICE(type, member, fallback, choices, help) \
    {#member, CM3_KIND_CHOICE, offsetof(type, member), fallback, 0, 0, choices, "", help}
#define CM3_FIELD_INT_LIST(type, member, fallback, min, max, unit, help) \
    {#member, CM3_KIND_INT_LIST, offsetof(type, member), fallback, min, max, NULL, unit, help}
#define CM3_FIELD_STRING_LIST(type, member, fallback, help) \
    {#member, CM3_KIND_STRING_LIST, offsetof(type, member), fallback, 0, 0, NULL, "", help}
#define CM3_FIELD_END {NULL, CM3_KIND_BOOL, 0, NULL, 0, 0, NULL, NULL, NULL}

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

/* What an older version called by another name: a field, a section with all that is below it, or a word of a choice.
 * A recipe that uses the old name is told the new one. */
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
/* The same from text; `name` stands for the path in messages. */
cm3_status cm3_config_parse(const cm3_schema *schema, const char *name, const char *text, size_t length,
                            const char *const *overrides, int override_count, void *recipe);
void cm3_config_free(const cm3_schema *schema, void *recipe);

/* Writes the resolved recipe as YAML that loads to the same values. */
cm3_status cm3_config_print(const cm3_schema *schema, const void *recipe, FILE *file);
/* Writes the reference of all fields: as text for a terminal, or as Markdown. */
void cm3_config_help(const cm3_schema *schema, bool markdown, FILE *file);
/* One hash (XXH3-64) of the resolved values of the named sections and all below them: a stage is done again when it
 * changes. */
uint64_t cm3_config_hash(const cm3_schema *schema, const void *recipe, const char *const *sections, int count);

#endif
