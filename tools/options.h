/* Options of one subcommand, declared as a table and parsed into a cm3_command_line. */
#ifndef CM3_TOOLS_OPTIONS_H
#define CM3_TOOLS_OPTIONS_H

#include "core/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* One option: `--name VALUE` or `--name=VALUE`, or, without a value's name, the flag `--name`. */
typedef struct cm3_option {
    const char *name;       /* without the dashes */
    const char *value_name; /* "PATH", "N"; NULL: a flag */
    const char *help;       /* one line */
} cm3_option;

#define CM3_OPTION_PRINT_CONFIG {"print-config", NULL, "print the recipe with everything resolved, and stop"}
#define CM3_OPTION_DRY_RUN {"dry-run", NULL, "check everything, print the plan, and stop before any work"}
#define CM3_OPTION_JSON {"json", NULL, "print one JSON object instead of text"}
#define CM3_OPTION_END {NULL, NULL, NULL}

/* What a subcommand takes and what its --help teaches. */
typedef struct cm3_usage {
    const char *arguments;       /* "RECIPE [section.key=value ...]" */
    int min_arguments;           /* not counting overrides */
    int max_arguments;           /* -1: any number */
    bool takes_overrides;        /* section.key=value, after the first argument */
    const cm3_option *options;   /* ends with CM3_OPTION_END; --help and --quiet are everybody's */
    const char *explanation;     /* some lines for a person who never used it, with an example */
} cm3_usage;

enum { CM3_ARGUMENTS_MAX = 256 };

typedef struct cm3_command_line {
    const char *command; /* "pretrain" */
    const cm3_usage *usage;
    const char *arguments[CM3_ARGUMENTS_MAX];
    int argument_count;
    const char *overrides[CM3_ARGUMENTS_MAX]; /* as cm3_config_load wants them */
    int override_count;
    const char *names[CM3_ARGUMENTS_MAX],
        *values[CM3_ARGUMENTS_MAX]; /* options given, in order; a flag's value is "" */
    int option_count;
    bool help;
} cm3_command_line;

/* Reads argv[0..argc) (what follows the subcommand's name). CM3_ERR_USAGE with one line for anything that does not fit.
 */
cm3_status cm3_command_line_parse(const char *command, const cm3_usage *usage, int argc, const char *const *argv,
                                  cm3_command_line *line);

bool cm3_option_given(const cm3_command_line *line, const char *name);
/* The value given last, or `fallback`. */
const char *cm3_option_string(const cm3_command_line *line, const char *name, const char *fallback);
/* Leave `*value` as it is when the option was not given. */
cm3_status cm3_option_int(const cm3_command_line *line, const char *name, int64_t min, int64_t max, int64_t *value);
cm3_status cm3_option_double(const cm3_command_line *line, const char *name, double min, double max, double *value);
/* For an option that may be given several times: the value of its nth mention, NULL after the last. */
const char *cm3_option_nth(const cm3_command_line *line, const char *name, int n);

void cm3_usage_print(const char *command, const char *summary, const cm3_usage *usage, FILE *file);

#endif
