/* The subcommands: one for each stage (train/stages/stages.h), and these, one line each. To add one: write
 * tools/cmd_NAME.c, which defines
 *
 *     const cm3_usage cm3_usage_NAME = {...};
 *     cm3_status cm3_cmd_NAME(const cm3_command_line *line) {...}
 *
 * and turn its line below from PLANNED into BUILT. A command prints its result to stdout and returns a status; main
 * prints the message of a failure and chooses the exit code. */
#ifndef CM3_TOOLS_COMMAND_H
#define CM3_TOOLS_COMMAND_H

#include "tools/options.h"
#include "train/stages/stages.h"

/*           NAME            as typed           what it does. `run` is listed before the stages, the others after them.
 */
#define CM3_COMMANDS(BUILT, PLANNED)                                                                                   \
    BUILT(run, "run", "every stage of a recipe in order, skipping what is up to date")                                 \
    BUILT(generate, "generate", "text and images in, text and images out")                                             \
    BUILT(evaluate, "evaluate", "how good the model of a run is, on seen and validation samples")                      \
    BUILT(plan, "plan", "memory, FLOPs, communication and hours of a recipe, before it runs")                          \
    BUILT(inspect, "inspect", "what any file of a run holds")                                                          \
    BUILT(bench, "bench", "speed beside the machine's own measured limits")                                            \
    PLANNED(export, "export", "model -> safetensors")                                                                  \
    PLANNED(import, "import", "safetensors -> model")                                                                  \
    BUILT(report, "report", "one HTML page of a run")

#define CM3_COMMAND_DECLARE(name, typed, summary)                                                                     \
    extern const cm3_usage cm3_usage_##name;                                                                          \
    cm3_status cm3_cmd_##name(const cm3_command_line *line);
#define CM3_COMMAND_SKIP(name, typed, summary)
CM3_COMMANDS(CM3_COMMAND_DECLARE, CM3_COMMAND_SKIP)
#undef CM3_COMMAND_DECLARE
#undef CM3_COMMAND_SKIP

/* The command of any stage; its command line says which. */
cm3_usage cm3_usage_of_stage(const cm3_stage *stage);
cm3_status cm3_cmd_stage(const cm3_command_line *line);

#endif
