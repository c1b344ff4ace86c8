#include "tools/session.h"

#include "core/auto.h"
#include "core/file.h"
#include "core/log.h"
#include "core/kernels/cpu/machine.h"
#include "core/threads.h"
#include "train/signals.h"

#include <stdlib.h>
#include <string.h>

cm3_status cm3_session_load(const cm3_command_line *line, cm3_session *session) {
    CM3_TRY(cm3_config_load(&cm3_recipe_schema, line->arguments[0], line->overrides, line->override_count,
                            &session->recipe));
    session->loaded = true;
    return cm3_recipe_text(&session->recipe, &session->config_text);
}

static bool is_run(const char *folder) {
    return cm3_path_exists(cm3_path_join(folder, "config.yaml").text);
}

/* RUN, or the folder above if RUN has the name of a stage and lies in a run. */
static cm3_status find_run(const char *run, cm3_path *out) {
    const cm3_path above = cm3_path_join(run, "..");
    CM3_AUTO_FREE char *full = realpath(run, NULL);
    const char *slash = full ? strrchr(full, '/') : NULL;
    *out = slash && cm3_stage_find(slash + 1) && is_run(above.text) ? above : cm3_path_format("%s", run);
    if (is_run(out->text)) return cm3_stages_check_version(out->text);
    return cm3_fail(CM3_ERR_NOT_FOUND, "%s: is not the folder of a run: it has no config.yaml", run);
}

cm3_status cm3_session_of_run(const char *run, const char *const *overrides, int override_count, cm3_session *session) {
    cm3_path out;
    CM3_TRY(find_run(run, &out));
    CM3_TRY(cm3_config_load(&cm3_recipe_schema, cm3_path_join(out.text, "config.yaml").text, overrides, override_count,
                            &session->recipe));
    session->loaded = true;
    /* A run folder that was moved: its own place counts, not what its recipe says. */
    free(session->recipe.run.out);
    session->recipe.run.out = strdup(out.text);
    if (!session->recipe.run.out) return cm3_fail(CM3_ERR_MEMORY, "out of memory for a path");
    return cm3_recipe_text(&session->recipe, &session->config_text);
}

void cm3_session_close(cm3_session *session) {
    cm3_lock_release(session->lock);
    cm3_comm_close(session->comm);
    free(session->config_text);
    if (session->loaded) cm3_config_free(&cm3_recipe_schema, &session->recipe);
    *session = (cm3_session){0};
}

static cm3_status take_lock(cm3_session *session) {
    CM3_TRY(cm3_folder_make(session->recipe.run.out));
    return cm3_lock_acquire(session->recipe.run.out, &session->lock);
}

static cm3_status open_alone(const cm3_recipe *recipe, int local, cm3_device *device) {
    CM3_TRY(cm3_device_open((cm3_device_choice)recipe->run.device, local, device));
    return cm3_recipe_check_compute(recipe, device);
}

cm3_status cm3_session_open_device(const cm3_session *session, cm3_device *device) {
    const cm3_recipe *recipe = &session->recipe;
    cm3_comm *comm = session->comm;
    if (!comm) return open_alone(recipe, 0, device);
    CM3_TRY(cm3_comm_agree_status(comm, open_alone(recipe, cm3_comm_local_rank(comm), device)));
    const bool on_host = device->backend->memory->host;
    int any_host, any_gpu;
    CM3_TRY(cm3_comm_agree(comm, on_host, &any_host));
    CM3_TRY(cm3_comm_agree(comm, !on_host, &any_gpu));
    cm3_status status = CM3_OK;
    if (any_host && any_gpu)
        status = cm3_fail(CM3_ERR_RECIPE,
                          "device: some ranks have a GPU and others have none (here: %s); say cpu, or "
                          "start ranks only where there are GPUs",
                          device->text);
    return cm3_comm_agree_status(comm, status);
}

static cm3_status run_stages(cm3_session *session, const cm3_stage *stages, int count) {
    cm3_comm *comm = session->comm;
    const bool first = cm3_comm_rank(comm) == 0;
    cm3_status status = CM3_OK;
    if (first) status = cm3_stages_check(&session->recipe, cm3_comm_size(comm), stages, count);
    CM3_TRY(cm3_comm_agree_status(comm, status));
    cm3_device device;
    CM3_TRY(cm3_session_open_device(session, &device));
    CM3_TRY(cm3_comm_agree_status(comm, first ? take_lock(session) : CM3_OK));
    /* All ranks measure at once, so that what they share is shared here too. */
    double rate = cm3_machine_peak(0.1);
    CM3_TRY(cm3_comm_reduce_f64(comm, &rate, 1, CM3_REDUCE_SUM));
    if (first)
        cm3_log_info("%d rank%s (%s) x %d thread%s, %s, multipliers %.0f GFLOP/s in all; run folder %s",
                     cm3_comm_size(comm), cm3_comm_size(comm) > 1 ? "s" : "", cm3_comm_kind(comm), cm3_threads_count(),
                     cm3_threads_count() > 1 ? "s" : "", device.text, rate / 1e9, session->recipe.run.out);
    const cm3_stage_context context = {
        .recipe = &session->recipe, .config_text = session->config_text, .comm = comm, .device = &device};
    return cm3_stages_run(&context, stages, count);
}

cm3_status cm3_session_join(cm3_session *session) {
    CM3_TRY(cm3_comm_open(&session->comm));
    if (cm3_comm_rank(session->comm) != 0 && cm3_log_get_level() > CM3_LOG_WARN) cm3_log_set_level(CM3_LOG_WARN);
    return CM3_OK;
}

/* A failure that all ranks agreed on is printed by rank 0, and all ranks end in order. One of this rank alone is
 * printed here and aborts the job: the other ranks would wait for this one without end. */
cm3_status cm3_session_leave(cm3_session *session, cm3_status status) {
    if (status == CM3_OK || cm3_comm_size(session->comm) == 1) return status;
    if (!cm3_comm_failed_together(session->comm)) {
        fprintf(stderr, "cm3leon: error: rank %d: %s\n", cm3_comm_rank(session->comm), cm3_message());
        cm3_comm_abort(session->comm, 1);
    }
    if (cm3_comm_rank(session->comm) != 0) cm3_log_set_level(CM3_LOG_QUIET);
    return status;
}

static cm3_status load_and_run(const cm3_command_line *line, cm3_session *session, const cm3_stage *stages, int count) {
    cm3_comm *comm = session->comm;
    const bool first = cm3_comm_rank(comm) == 0;
    CM3_TRY(cm3_comm_agree_status(comm, cm3_session_load(line, session)));
    if (cm3_option_given(line, "print-config")) {
        if (first) fputs(session->config_text, stdout);
        return CM3_OK;
    }
    if (cm3_option_given(line, "dry-run")) {
        const int ranks = cm3_comm_size(comm);
        cm3_status status = first ? cm3_stages_check(&session->recipe, ranks, stages, count) : CM3_OK;
        if (first && status == CM3_OK) status = cm3_print_plan(&session->recipe, ranks, false);
        return cm3_comm_agree_status(comm, status);
    }
    return run_stages(session, stages, count);
}

cm3_status cm3_session_run_stages(const cm3_command_line *line, const cm3_stage *stages, int count) {
    cm3_session session = {0};
    CM3_TRY(cm3_signals_install());
    CM3_TRY(cm3_session_join(&session));
    const cm3_status status = cm3_session_leave(&session, load_and_run(line, &session, stages, count));
    cm3_session_close(&session);
    return status;
}
