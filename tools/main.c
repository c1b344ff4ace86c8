/* cm3leon: finds the subcommand, reads its command line, runs it, and turns its status into an exit code. The only
 * place that prints an error or ends the program. */
#include "core/log.h"
#include "core/names.h"
#include "core/threads.h"
#include "tools/command.h"
#include "train/recipe.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* What a caller may rely on. */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 3 };

typedef struct command {
    const char *name, *summary;
    cm3_usage usage;
    cm3_status (*run)(const cm3_command_line *line); /* NULL: not in this version */
} command;

static command command_of_stage(const cm3_stage *stage) {
    return (command){stage->name, stage->summary, cm3_usage_of_stage(stage), stage->run ? cm3_cmd_stage : NULL};
}

/* The n-th command in the order of the overview: `run`, the stages, the others. */
static bool get_command(int n, command *c) {
#define BUILT(name, typed, summary) {typed, summary, cm3_usage_##name, cm3_cmd_##name},
#define PLANNED(name, typed, summary) {typed, summary, {0}, NULL},
    const command commands[] = {CM3_COMMANDS(BUILT, PLANNED)};
#undef BUILT
#undef PLANNED
    const int count = sizeof commands / sizeof *commands;
    int stages = 0;
    while (cm3_stages[stages].name) stages++;
    if (n >= count + stages) return false;
    *c = n == 0 ? commands[0] : n <= stages ? command_of_stage(&cm3_stages[n - 1]) : commands[n - stages];
    return true;
}

static int exit_code(cm3_status status) {
    switch (status) {
    case CM3_OK:
        return EXIT_DONE;
    case CM3_ERR_USAGE:
    case CM3_ERR_RECIPE:
        return EXIT_USAGE;
    case CM3_INTERRUPTED:
        return EXIT_INTERRUPTED;
    default:
        return EXIT_FAILED;
    }
}

static void print_overview(FILE *file) {
    fputs("cm3leon: one transformer over text and images, from raw pairs to generated images\n\n"
          "usage: cm3leon COMMAND [options] RECIPE|RUN [section.key=value ...]\n\n",
          file);
    command c;
    for (int n = 0; get_command(n, &c); n++)
        fprintf(file, "  %-16s %s%s\n", c.name, c.summary, c.run ? "" : " (not in this version)");
    fputs(
        "\ncm3leon COMMAND --help explains a command, with examples; cm3leon help recipe lists every key of a recipe;\n"
        "cm3leon --version prints the version.\n"
        "Stages run on several processes as: mpirun -n N cm3leon STAGE RECIPE\n"
        "Exit codes: 0 done, 1 failed, 2 wrong usage or recipe, 3 interrupted after a checkpoint was saved.\n",
        file);
}

static bool find_command(const char *name, command *c) {
    for (int n = 0; get_command(n, c); n++)
        if (strcmp(c->name, name) == 0) return true;
    return false;
}

static cm3_status fail_no_command(const char *name) {
    cm3_nearest nearest = cm3_nearest_to(name, strlen(name));
    command c;
    for (int n = 0; get_command(n, &c); n++) cm3_nearest_offer(&nearest, c.name);
    if (nearest.best)
        return cm3_fail(CM3_ERR_USAGE, "there is no command \"%.64s\"; did you mean %s?", name, nearest.best);
    return cm3_fail(CM3_ERR_USAGE, "there is no command \"%.64s\"; see cm3leon --help", name);
}

static cm3_status run_command(const command *c, int argc, const char *const *argv) {
    if (!c->run) return cm3_fail(CM3_ERR_UNSUPPORTED, "%s (%s) is not in this version", c->name, c->summary);
    cm3_command_line line;
    CM3_TRY(cm3_command_line_parse(c->name, &c->usage, argc, argv, &line));
    if (line.help) {
        cm3_usage_print(c->name, c->summary, &c->usage, stdout);
        return CM3_OK;
    }
    if (cm3_option_given(&line, "quiet")) cm3_log_set_level(CM3_LOG_WARN);
    cm3_threads_setup();
    return c->run(&line);
}

/* help COMMAND, or help recipe. */
static cm3_status print_help(const char *of) {
    static const char *const help[] = {"--help"};
    if (strcmp(of, "recipe") == 0) {
        cm3_config_help(&cm3_recipe_schema, false, stdout);
        return CM3_OK;
    }
    command c;
    return find_command(of, &c) ? run_command(&c, 1, help) : fail_no_command(of);
}

static cm3_status run(int argc, const char *const *argv) {
    if (argc < 2) {
        print_overview(stderr);
        return cm3_fail(CM3_ERR_USAGE, "a command is missing");
    }
    const char *first = argv[1];
    if (strcmp(first, "--version") == 0) {
        puts("cm3leon " CM3_VERSION);
        return CM3_OK;
    }
    if (strcmp(first, "help") == 0 && argc > 2) return print_help(argv[2]);
    if (strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0 || strcmp(first, "help") == 0) {
        print_overview(stdout);
        return CM3_OK;
    }
    command c;
    return find_command(first, &c) ? run_command(&c, argc - 2, argv + 2) : fail_no_command(first);
}

/* A result that did not reach its file (a full disk behind ">") is a failure like any other. */
static cm3_status flush_results(void) {
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) return CM3_OK;
    return cm3_fail(CM3_ERR_IO, "standard output: cannot be written: %s", strerror(errno ? errno : EIO));
}

int main(int argc, char **argv) {
    cm3_status status = run(argc, (const char *const *)argv);
    if (status == CM3_OK) status = flush_results();
    /* Ranks whose failure another one reports are quiet. */
    if (status != CM3_OK && cm3_log_get_level() > CM3_LOG_QUIET)
        fprintf(stderr, "cm3leon: error: %s\n", *cm3_message() ? cm3_message() : cm3_status_text(status));
    return exit_code(status);
}
