/* `plan`: memory, FLOPs, communication and hours of a recipe, before it runs. */
#include "core/auto.h"
#include "tools/session.h"

static const cm3_option options[] = {
    {"ranks", "N", "ranks that share the batch; the default is cluster.gpus"}, CM3_OPTION_JSON, CM3_OPTION_END};

const cm3_usage cm3_usage_plan = {
    .arguments = "RECIPE [section.key=value ...]",
    .min_arguments = 1,
    .max_arguments = 1,
    .takes_overrides = true,
    .options = options,
    .explanation =
        "Counts what training a recipe takes, without running it: the network is recorded on a tape that is "
        "planned and not run, so the memory\n"
        "is that of the real step, on the recipe's device and in its data type. A GPU's step is counted on any "
        "machine, with or without a\n"
        "GPU; with device=auto, cluster.device decides. Hours are for the cluster that the recipe describes.\n\n"
        "    cm3leon plan configs/paper-350m.yaml\n"
        "    cm3leon plan configs/paper-7b.yaml cluster.gpus=1 model.recompute=layers\n"
        "    cm3leon plan configs/emoji-quick.yaml --ranks 2 --json\n"};

cm3_status cm3_cmd_plan(const cm3_command_line *line) {
    CM3_AUTO(cm3_session_close) cm3_session session = {0};
    CM3_TRY(cm3_session_load(line, &session));
    int64_t ranks = session.recipe.cluster.gpus;
    CM3_TRY(cm3_option_int(line, "ranks", 1, 1000000, &ranks));
    return cm3_print_plan(&session.recipe, (int)ranks, cm3_option_given(line, "json"));
}
