/* What the files of the recipe binder share. */
#ifndef CM3_CORE_CONFIG_INTERNAL_H
#define CM3_CORE_CONFIG_INTERNAL_H

#include "core/config.h"

#include <yaml.h>

/* Where a field's value came from: its line in the file, or one of these. */
enum { CM3__ORIGIN_DEFAULT = 0, CM3__ORIGIN_OVERRIDE = -1 };

enum { CM3__FAULTS_KEPT = 64 };

struct cm3_faults {
    const cm3_schema *schema;
    const char *name;   /* of the file */
    int *origins;       /* of every field of the schema, section after section */
    char *lines[CM3__FAULTS_KEPT];
    int total;          /* may be more than are kept */
    bool renamed; /* a section or field has its old name, so that the new one seems to be missing */
    bool out_of_memory;
};

/* Where a fault is, as the reader sees it: "NAME:LINE", "NAME", or "command line". */
void cm3__fault(cm3_faults *faults, int origin, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The origin of a field, to read and to set. */
int *cm3__origin(cm3_faults *faults, const cm3_section *section, const cm3_field *field);

/* --- names ------------------------------------------------------------------------------------------------------- */

enum { CM3__FULL_NAME_SIZE = 256 };
/* "section.key", or "key" at the top level. */
void cm3__full_name(const char *section, const char *key, char name[CM3__FULL_NAME_SIZE]);
const cm3_field *cm3__find_field(const cm3_section *section, const char *name, size_t length);
const cm3_section *cm3__find_section(const cm3_schema *schema, const char *path, size_t length);
/* Whether a path names something inside a section: "train.steps" in "train", everything in "". */
bool cm3__is_below(const char *path, const char *section);
/* The new name that the schema's table has for exactly this one, or NULL. */
const char *cm3__renamed(const cm3_schema *schema, const char *old);
/* Adds the fault of a name (or path) below `section` that is none: renamed (returns true), or unknown, with the nearest
 * that exists. */
bool cm3__fault_name(cm3_faults *faults, int origin, const char *section, const char *name, size_t length);

/* --- values ------------------------------------------------------------------------------------------------------ */

typedef enum cm3__set_result { CM3__SET_OK, CM3__SET_WRONG, CM3__SET_NO_MEMORY } cm3__set_result;

/* On WRONG `found` says what was there instead. A value that a field held before is released. */
enum { CM3__FOUND_SIZE = 128, CM3__EXPECTED_SIZE = 512 };
cm3__set_result cm3__value_from_node(const cm3_field *field, void *target, yaml_document_t *document,
                                     const yaml_node_t *node, char found[CM3__FOUND_SIZE]);
cm3__set_result cm3__value_from_text(const cm3_field *field, void *target, const char *text,
                                     char found[CM3__FOUND_SIZE]);
void cm3__value_free(const cm3_field *field, void *target);

/* "an integer from 1 to 64 (tokens)" */
void cm3__value_expected(const cm3_field *field, char expected[CM3__EXPECTED_SIZE]);
/* A short printable image of any bytes, with quotes. */
void cm3__quote(const char *text, size_t length, char quoted[CM3__FOUND_SIZE]);

/* --- the file ---------------------------------------------------------------------------------------------------- */

/* Binds the YAML text to the recipe; what is wrong is added to `faults`. False if the text is no YAML of a recipe's
 * form. */
bool cm3__bind_yaml(cm3_faults *faults, const char *text, size_t length, void *recipe);
/* Binds one "section.key=value". */
void cm3__bind_override(cm3_faults *faults, const char *text, void *recipe);

#endif
