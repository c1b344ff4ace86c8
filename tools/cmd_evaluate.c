/* `evaluate`: figures of a run's model on seen and on validation pairs. */
#include "core/auto.h"
#include "core/log.h"
#include "core/progress.h"
#include "tools/session.h"
#include "train/evaluate/evaluate.h"

#include <math.h>

static const cm3_option options[] = {
    CM3_OPTION_JSON,
    {"checkpoint", "PATH", "a checkpoint of the run, or best (the lowest validation loss); the newest is the default"},
    {"prompts", "N", "pairs of each split that are evaluated; 0: all (evaluate.prompts)"},
    {"all-checkpoints", NULL,
     "evaluate every checkpoint that is kept, and write the curve to RUN/evaluation-curve.json"},
    CM3_OPTION_END};

const cm3_usage cm3_usage_evaluate = {
    .arguments = "RUN [section.key=value ...]",
    .min_arguments = 1,
    .max_arguments = 1,
    .takes_overrides = true,
    .options = options,
    .explanation = "Generates an image for the caption and a caption for the image of the run's pairs, and prints how "
                   "often each is right, on pairs\n"
                   "that training saw and on validation pairs. Writes RUN/evaluation.json and, for the report, "
                   "RUN/evaluation/.\n\n"
                   "    cm3leon evaluate out/emoji-quick\n"
                   "    mpirun -n 2 cm3leon evaluate out/emoji-quick generate.guidance=2 --prompts 100 --json\n"};

static void print_share(const char *name, const cm3_evaluation *e, double seen, int64_t seen_right, double validation,
                        int64_t validation_right) {
    printf("  %-34s %8.1f %% %5lld/%lld", name, 100 * seen, (long long)seen_right, (long long)e->seen.pairs);
    if (e->validation.pairs)
        printf("   %8.1f %% %5lld/%lld", 100 * validation, (long long)validation_right, (long long)e->validation.pairs);
    putchar('\n');
}

static void print_value(const char *name, const char *unit, const cm3_evaluation *e, double seen, double validation) {
    printf("  %-34s %8.3f %-10s", name, seen, unit);
    if (e->validation.pairs) printf("  %8.3f %s", validation, unit);
    putchar('\n');
}

static void print_table(const cm3_evaluation *e) {
    char time[32];
    cm3_progress_format_seconds(e->seconds, time, sizeof time);
    printf("step %lld: %lld seen and %lld validation pairs of %lld images, in %s\n\n", (long long)e->step,
           (long long)e->seen.pairs, (long long)e->validation.pairs, (long long)e->images, time);
    printf("  %-34s %8s %s\n", "", "seen", e->validation.pairs ? "              validation" : "");
    print_share("generated image nearest to its own", e, e->seen.text_to_image_top1, e->seen.images_right,
                e->validation.text_to_image_top1, e->validation.images_right);
    print_share("caption exactly right", e, e->seen.caption_exact, e->seen.captions_right, e->validation.caption_exact,
                e->validation.captions_right);
    print_value("images from their codes, PSNR", "dB", e, e->seen.vq_psnr, e->validation.vq_psnr);
    print_value("loss, text", "nats", e, e->seen.loss_text, e->validation.loss_text);
    print_value("loss, image", "nats", e, e->seen.loss_image, e->validation.loss_image);
    if (e->left_out)
        printf("\n  %lld pairs are longer than the model's context and were left out\n", (long long)e->left_out);
}

static void log_point(const cm3_evaluation *point) {
    cm3_log_info("step %lld: top-1 %.3f, caption %.3f; validation %.3f, %.3f", (long long)point->step,
                 point->seen.text_to_image_top1, point->seen.caption_exact, point->validation.text_to_image_top1,
                 point->validation.caption_exact);
}

static cm3_status evaluate(const cm3_command_line *line, cm3_session *session) {
    cm3_comm *comm = session->comm;
    CM3_TRY(cm3_comm_agree_status(
        comm, cm3_session_of_run(line->arguments[0], line->overrides, line->override_count, session)));
    cm3_device device;
    CM3_TRY(cm3_session_open_device(session, &device));
    const cm3_stage_context context = {
        .recipe = &session->recipe, .config_text = session->config_text, .comm = comm, .device = &device};
    cm3_evaluate_options wanted = {.checkpoint = cm3_option_string(line, "checkpoint", NULL),
                                   .prompts = session->recipe.evaluate.prompts,
                                   .album = true};
    const bool all = cm3_option_given(line, "all-checkpoints");
    CM3_TRY(cm3_option_int(line, "prompts", 0, INT64_MAX, &wanted.prompts));
    cm3_evaluation result;
    CM3_TRY(all ? cm3_evaluate_curve(&context, &wanted, &result, log_point) : cm3_evaluate(&context, &wanted, &result));
    const bool first = cm3_stage_is_first(&context);
    CM3_TRY(cm3_comm_agree_status(comm, first ? cm3_evaluation_write(&result, &session->recipe) : CM3_OK));
    if (first && cm3_option_given(line, "json"))
        cm3_evaluation_print(&result, &session->recipe.generate, stdout);
    else if (first)
        print_table(&result);
    return CM3_OK;
}

cm3_status cm3_cmd_evaluate(const cm3_command_line *line) {
    if (cm3_option_given(line, "checkpoint") && cm3_option_given(line, "all-checkpoints"))
        return cm3_fail(CM3_ERR_USAGE, "evaluate: --checkpoint and --all-checkpoints exclude each other");
    CM3_AUTO(cm3_session_close) cm3_session session = {0};
    CM3_TRY(cm3_session_join(&session));
    return cm3_session_leave(&session, evaluate(line, &session));
}
