/* `run`, and the commands of single stages: all from the table of stages. */
#include "tools/session.h"

static const cm3_option options[] = {CM3_STAGE_OPTIONS, CM3_OPTION_END};

#define STAGE_USAGE(text)                                                                                              \
    {                                                                                                                  \
        .arguments = "RECIPE [section.key=value ...]", .min_arguments = 1, .max_arguments = 1,                         \
        .takes_overrides = true, .options = options, .explanation = (text)                                             \
    }

cm3_usage cm3_usage_of_stage(const cm3_stage *stage) {
    return (cm3_usage)STAGE_USAGE(stage->help);
}

cm3_status cm3_cmd_stage(const cm3_command_line *line) {
    return cm3_session_run_stages(line, cm3_stage_find(line->command), 1);
}

const cm3_usage cm3_usage_run = STAGE_USAGE(
    "Every stage of the recipe, in the order of `cm3leon --help`. A stage is skipped if neither its settings nor\n"
    "what it reads have changed; training is resumed from its newest checkpoint.\n\n"
    "    mpirun -n 2 cm3leon run configs/emoji-quick.yaml out=out/mine pretrain.train.steps=200\n");

cm3_status cm3_cmd_run(const cm3_command_line *line) {
    int count = 0;
    while (cm3_stages[count].name) count++;
    return cm3_session_run_stages(line, cm3_stages, count);
}
