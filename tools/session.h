/* What most subcommands begin and end with: a recipe, the ranks, and failures that every rank leaves in order. */
#ifndef CM3_TOOLS_SESSION_H
#define CM3_TOOLS_SESSION_H

#include "core/file.h"
#include "tools/command.h"
#include "train/stages/stages.h"

#define CM3_STAGE_OPTIONS CM3_OPTION_PRINT_CONFIG, CM3_OPTION_DRY_RUN

/* Starts zeroed; cm3_session_close() ends it, whatever succeeded in between. */
typedef struct cm3_session {
    bool loaded;
    cm3_recipe recipe;
    char *config_text;
    cm3_comm *comm;
    cm3_lock *lock;
} cm3_session;

/* Loads the recipe named by the first argument, with the line's overrides, without ranks: for plan, inspect, bench. */
cm3_status cm3_session_load(const cm3_command_line *line, cm3_session *session);
/* The recipe that a run folder was made with (RUN/config.yaml), with overrides. A stage's folder in a run stands for
 * the run. */
cm3_status cm3_session_of_run(const char *run, const char *const *overrides, int override_count, cm3_session *session);
/* Opens the device that the recipe asks for: the same kind on all ranks (one rank where none were joined), and one that
 * computes in what the recipe says. */
cm3_status cm3_session_open_device(const cm3_session *session, cm3_device *device);
/* Joins the ranks, of which only the first one logs; and leaves them with the status of this rank's work. */
cm3_status cm3_session_join(cm3_session *session);
cm3_status cm3_session_leave(cm3_session *session, cm3_status status);
void cm3_session_close(cm3_session *session);

/* The whole of a stage's command: recipe, --print-config, --dry-run, ranks, the lock of the run folder, the stages,
 * and the way out. */
cm3_status cm3_session_run_stages(const cm3_command_line *line, const cm3_stage *stages, int count);

/* Prints what a recipe would cost: the output of `plan` and of --dry-run (tools/plan_print.c). */
cm3_status cm3_print_plan(const cm3_recipe *recipe, int ranks, bool json);

#endif
