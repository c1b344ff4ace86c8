#include "tools/options.h"

#include "core/names.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const cm3_option common_options[] = {{"quiet", NULL, "print only results, warnings and errors"},
                                            {"help", NULL, "print this text"},
                                            CM3_OPTION_END};

/* --- parsing ----------------------------------------------------------------------------------------------------- */

static const cm3_option *find_in(const cm3_option *options, const char *name, size_t length) {
    for (; options && options->name; options++)
        if (strlen(options->name) == length && memcmp(options->name, name, length) == 0) return options;
    return NULL;
}

static const cm3_option *find_option(const cm3_usage *usage, const char *name, size_t length) {
    const cm3_option *option = find_in(usage->options, name, length);
    return option ? option : find_in(common_options, name, length);
}

static cm3_status fail_unknown(const cm3_command_line *line, const char *name, size_t length) {
    cm3_nearest nearest = cm3_nearest_to(name, length);
    for (const cm3_option *option = line->usage->options; option && option->name; option++)
        cm3_nearest_offer(&nearest, option->name);
    for (const cm3_option *option = common_options; option->name; option++) cm3_nearest_offer(&nearest, option->name);
    const int shown = length < 64 ? (int)length : 64;
    if (nearest.best)
        return cm3_fail(CM3_ERR_USAGE, "%s: there is no option --%.*s; did you mean --%s?", line->command, shown, name,
                        nearest.best);
    return cm3_fail(CM3_ERR_USAGE, "%s: there is no option --%.*s; see cm3leon %s --help", line->command, shown, name,
                    line->command);
}

static cm3_status add_option(cm3_command_line *line, const cm3_option *option, const char *value) {
    if (line->option_count == CM3_ARGUMENTS_MAX)
        return cm3_fail(CM3_ERR_USAGE, "%s: more than %d options", line->command, CM3_ARGUMENTS_MAX);
    line->names[line->option_count] = option->name;
    line->values[line->option_count++] = value;
    if (strcmp(option->name, "help") == 0) line->help = true;
    return CM3_OK;
}

/* `text` follows the two dashes; `next` is the argument after it or NULL, and `*used_next` whether that was its value.
 */
static cm3_status parse_option(cm3_command_line *line, const char *text, const char *next, bool *used_next) {
    const size_t length = strcspn(text, "=");
    const cm3_option *option = find_option(line->usage, text, length);
    const char *value = text[length] ? text + length + 1 : NULL;
    *used_next = false;
    if (!option) return fail_unknown(line, text, length);
    if (!option->value_name) {
        if (value)
            return cm3_fail(CM3_ERR_USAGE, "%s: --%s takes no value, found \"%s\"", line->command, option->name, value);
        return add_option(line, option, "");
    }
    if (!value) {
        if (!next || strncmp(next, "--", 2) == 0)
            return cm3_fail(CM3_ERR_USAGE, "%s: --%s needs a value, as in --%s %s", line->command, option->name,
                            option->name, option->value_name);
        value = next;
        *used_next = true;
    }
    return add_option(line, option, value);
}

static cm3_status add_argument(cm3_command_line *line, const char *text) {
    /* The first argument is never an override, so that a recipe's path may hold "=". */
    const bool is_override = line->usage->takes_overrides && line->argument_count > 0 && strchr(text, '=');
    int *count = is_override ? &line->override_count : &line->argument_count;
    if (*count == CM3_ARGUMENTS_MAX)
        return cm3_fail(CM3_ERR_USAGE, "%s: more than %d arguments", line->command, CM3_ARGUMENTS_MAX);
    (is_override ? line->overrides : line->arguments)[(*count)++] = text;
    return CM3_OK;
}

static cm3_status check_count(const cm3_command_line *line) {
    const cm3_usage *usage = line->usage;
    if (line->argument_count < usage->min_arguments)
        return cm3_fail(CM3_ERR_USAGE, "%s: too few arguments; usage: cm3leon %s %s", line->command, line->command,
                        usage->arguments);
    if (usage->max_arguments >= 0 && line->argument_count > usage->max_arguments)
        return cm3_fail(CM3_ERR_USAGE, "%s: unexpected argument \"%s\"; usage: cm3leon %s %s", line->command,
                        line->arguments[usage->max_arguments], line->command, usage->arguments);
    return CM3_OK;
}

cm3_status cm3_command_line_parse(const char *command, const cm3_usage *usage, int argc, const char *const *argv,
                                  cm3_command_line *line) {
    memset(line, 0, sizeof *line);
    line->command = command;
    line->usage = usage;
    bool only_arguments = false;
    for (int i = 0; i < argc; i++) {
        const char *text = argv[i];
        if (only_arguments || text[0] != '-' || text[1] == '\0') {
            CM3_TRY(add_argument(line, text));
        } else if (strcmp(text, "--") == 0) {
            only_arguments = true;
        } else if (strcmp(text, "-h") == 0) {
            line->help = true;
        } else if (text[1] != '-') {
            return cm3_fail(CM3_ERR_USAGE, "%s: there is no option %s; options begin with two dashes", command, text);
        } else {
            bool used_next;
            CM3_TRY(parse_option(line, text + 2, i + 1 < argc ? argv[i + 1] : NULL, &used_next));
            i += used_next;
        }
    }
    return line->help ? CM3_OK : check_count(line);
}

/* --- asking ------------------------------------------------------------------------------------------------------ */

bool cm3_option_given(const cm3_command_line *line, const char *name) {
    return cm3_option_string(line, name, NULL) != NULL;
}

const char *cm3_option_string(const cm3_command_line *line, const char *name, const char *fallback) {
    for (int i = line->option_count - 1; i >= 0; i--)
        if (strcmp(line->names[i], name) == 0) return line->values[i];
    return fallback;
}

const char *cm3_option_nth(const cm3_command_line *line, const char *name, int n) {
    for (int i = 0; i < line->option_count; i++)
        if (strcmp(line->names[i], name) == 0 && n-- == 0) return line->values[i];
    return NULL;
}

cm3_status cm3_option_int(const cm3_command_line *line, const char *name, int64_t min, int64_t max, int64_t *value) {
    const char *text = cm3_option_string(line, name, NULL);
    if (!text) return CM3_OK;
    char *end;
    errno = 0;
    const long long number = strtoll(text, &end, 10);
    if (end == text || *end || errno || number < min || number > max)
        return cm3_fail(CM3_ERR_USAGE, "%s: --%s: found \"%s\", expected an integer from %lld to %lld", line->command,
                        name, text, (long long)min, (long long)max);
    *value = number;
    return CM3_OK;
}

cm3_status cm3_option_double(const cm3_command_line *line, const char *name, double min, double max, double *value) {
    const char *text = cm3_option_string(line, name, NULL);
    if (!text) return CM3_OK;
    char *end;
    const double number = strtod(text, &end);
    if (end == text || *end || !(number >= min && number <= max)) /* in this form NaN is outside */
        return cm3_fail(CM3_ERR_USAGE, "%s: --%s: found \"%s\", expected a number from %g to %g", line->command, name,
                        text, min, max);
    *value = number;
    return CM3_OK;
}

/* --- help -------------------------------------------------------------------------------------------------------- */

static void print_options(const cm3_option *options, FILE *file) {
    for (; options && options->name; options++) {
        char left[64];
        snprintf(left, sizeof left, "--%s%s%s", options->name, options->value_name ? " " : "",
                 options->value_name ? options->value_name : "");
        fprintf(file, "  %-22s  %s\n", left, options->help);
    }
}

void cm3_usage_print(const char *command, const char *summary, const cm3_usage *usage, FILE *file) {
    fprintf(file, "cm3leon %s: %s\n\nusage: cm3leon %s [options] %s\n\n", command, summary, command, usage->arguments);
    if (usage->explanation) fprintf(file, "%s\n\n", usage->explanation);
    fputs("options:\n", file);
    print_options(usage->options, file);
    print_options(common_options, file);
}
