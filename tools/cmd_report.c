/* `report`: one HTML page of a run. */
#include "tools/session.h"
#include "train/evaluate/report.h"

#include <stdio.h>

static const cm3_option options[] = {CM3_OPTION_END};

const cm3_usage cm3_usage_report = {.arguments = "RUN",
                                    .min_arguments = 1,
                                    .max_arguments = 1,
                                    .takes_overrides = false,
                                    .options = options,
                                    .explanation =
                                        "Writes RUN/report.html: what the run is and cost, how it learned, and, after "
                                        "`cm3leon evaluate RUN`, its images, captions and figures.\n"
                                        "One file that needs no network; what is missing is named.\n\n"
                                        "    cm3leon report out/emoji-quick\n"};

cm3_status cm3_cmd_report(const cm3_command_line *line) {
    cm3_session session = {0};
    cm3_status status = cm3_session_of_run(line->arguments[0], NULL, 0, &session);
    if (status == CM3_OK) status = cm3_report_write(&session.recipe, session.config_text);
    if (status == CM3_OK) printf("%s/report.html\n", session.recipe.run.out);
    cm3_session_close(&session);
    return status;
}
