/* `report`: one HTML page of a run. */
#include "core/auto.h"
#include "tools/session.h"
#include "train/evaluate/report.h"

#include <stdio.h>

static const cm3_option options[] = {CM3_OPTION_END};

const cm3_usage cm3_usage_report = {
    .arguments = "RUN",
    .min_arguments = 1,
    .max_arguments = 1,
    .options = options,
    .explanation =
        "Writes RUN/report.html: training curves, cost and recipe of the run and, after `cm3leon evaluate RUN`, its "
        "images, captions and figures.\n"
        "One file that needs no network; it names what is missing.\n\n"
        "    cm3leon report out/emoji-quick\n"};

cm3_status cm3_cmd_report(const cm3_command_line *line) {
    CM3_AUTO(cm3_session_close) cm3_session session = {0};
    CM3_TRY(cm3_session_of_run(line->arguments[0], NULL, 0, &session));
    CM3_TRY(cm3_report_write(&session.recipe, session.config_text));
    printf("%s/report.html\n", session.recipe.run.out);
    return CM3_OK;
}
