/* An evaluation as JSON, and the curve of a run's checkpoints. */
#include "train/evaluate/evaluate.h"

#include "core/file.h"
#include "core/json.h"
#include "train/run_folder.h"

#include <stdlib.h>
#include <string.h>

static void put_score(cm3_json_writer *w, const cm3_score *s) {
    cm3_json_put_double(w, "text_to_image_top1", s->text_to_image_top1);
    cm3_json_put_double(w, "caption_exact", s->caption_exact);
    cm3_json_put_double(w, "vq_psnr", s->vq_psnr);
    cm3_json_put_double(w, "loss_text", s->loss_text);
    cm3_json_put_double(w, "loss_image", s->loss_image);
    cm3_json_put_int(w, "pairs", s->pairs);
    cm3_json_put_int(w, "drawn_right", s->images_right);
    cm3_json_put_int(w, "captions_right", s->captions_right);
    cm3_json_put_int(w, "text_tokens", s->text_tokens);
    cm3_json_put_int(w, "image_tokens", s->image_tokens);
}

static void put_decode(cm3_json_writer *w, const cm3_decode_config *d) {
    cm3_json_begin_object(w, "decode");
    cm3_json_put_string(w, "method", d->method == CM3_DECODE_CD_K ? "cd-k" : "top-p");
    cm3_json_put_double(w, "temperature", d->temperature);
    cm3_json_put_double(w, "top_p", d->top_p);
    cm3_json_put_double(w, "guidance", d->guidance);
    cm3_json_put_int(w, "seed", d->seed);
    cm3_json_end_object(w);
}

static void put_evaluation(cm3_json_writer *w, const cm3_evaluation *e, const cm3_decode_config *decode) {
    cm3_json_begin_object(w, NULL);
    cm3_json_put_int(w, "step", e->step);
    put_score(w, &e->seen);
    if (e->validation.pairs) {
        cm3_json_begin_object(w, "heldout");
        put_score(w, &e->validation);
        cm3_json_end_object(w);
    } else {
        cm3_json_put_null(w, "heldout");
    }
    cm3_json_put_int(w, "pictures", e->images);
    cm3_json_put_int(w, "left_out", e->left_out);
    cm3_json_put_int(w, "parameters", e->parameters);
    cm3_json_put_int(w, "image_tokenizer_parameters", e->image_parameters);
    put_decode(w, decode);
    cm3_json_put_double(w, "seconds", e->seconds);
    cm3_json_put_double(w, "draw_seconds", e->image_seconds);
    cm3_json_put_double(w, "describe_seconds", e->caption_seconds);
    cm3_json_end_object(w);
}

void cm3_evaluation_print(const cm3_evaluation *evaluation, const cm3_decode_config *decode, FILE *file) {
    cm3_json_writer w = cm3_json_writer_on(file);
    put_evaluation(&w, evaluation, decode);
    cm3_json_end_line(&w);
}

static cm3_status open_output(const cm3_recipe *recipe, const char *name, cm3_output **output) {
    return cm3_output_open(cm3_path_join(recipe->run.out, name).text, output);
}

cm3_status cm3_evaluation_write(const cm3_evaluation *evaluation, const cm3_recipe *recipe) {
    cm3_output *output;
    CM3_TRY(open_output(recipe, "evaluation.json", &output));
    cm3_evaluation_print(evaluation, &recipe->generate, cm3_output_stream(output));
    return cm3_output_commit(output);
}

/* --- the curve --------------------------------------------------------------------------------------------------- */

/* "step-1200" -> 1200, -1 for any other name. */
static int64_t step_of(const char *name) {
    char *end;
    if (strncmp(name, "step-", 5) != 0 || name[5] < '0' || name[5] > '9') return -1;
    const long long step = strtoll(name + 5, &end, 10);
    return *end ? -1 : (int64_t)step;
}

static int by_step(const void *a, const void *b) {
    const int64_t x = step_of(*(char *const *)a), y = step_of(*(char *const *)b);
    return x < y ? -1 : x > y;
}

static cm3_status write_curve(const cm3_recipe *recipe, const cm3_evaluation *points, int64_t count) {
    cm3_output *output;
    CM3_TRY(open_output(recipe, "evaluation-curve.json", &output));
    cm3_json_writer w = cm3_json_writer_on(cm3_output_stream(output));
    cm3_json_begin_object(&w, NULL);
    cm3_json_begin_array(&w, "points");
    for (int64_t i = 0; i < count; i++) put_evaluation(&w, &points[i], &recipe->generate);
    cm3_json_end_array(&w);
    cm3_json_end_object(&w);
    cm3_json_end_line(&w);
    return cm3_output_commit(output);
}

static cm3_status evaluate_names(const cm3_stage_context *stage, const cm3_evaluate_options *options,
                                 const char *folder, const cm3_names *names, cm3_evaluation *points, int64_t *count,
                                 void (*done)(const cm3_evaluation *point)) {
    *count = 0;
    for (size_t i = 0; i < names->count; i++) {
        if (step_of(names->names[i]) < 0) continue;
        const cm3_path checkpoint = cm3_path_join(folder, names->names[i]);
        const cm3_evaluate_options one = {.checkpoint = checkpoint.text,
                                          .prompts = options->prompts,
                                          .album = options->album && i + 1 == names->count};
        CM3_TRY(cm3_evaluate(stage, &one, &points[*count]));
        if (done && cm3_stage_is_first(stage)) done(&points[*count]);
        ++*count;
    }
    return CM3_OK;
}

cm3_status cm3_evaluate_curve(const cm3_stage_context *stage, const cm3_evaluate_options *options,
                              cm3_evaluation *evaluation, void (*done)(const cm3_evaluation *point)) {
    const cm3_path folder = cm3_stage_path(stage->recipe, "pretrain", "checkpoints");
    cm3_names names = {0};
    cm3_status status = cm3_folder_list(folder.text, &names);
    cm3_evaluation *points = status == CM3_OK ? calloc(names.count + 1, sizeof *points) : NULL;
    if (status == CM3_OK && !points) status = cm3_fail(CM3_ERR_MEMORY, "out of memory for the points of a curve");
    if (status == CM3_OK && names.count) qsort(names.names, names.count, sizeof *names.names, by_step);
    status = cm3_comm_agree_status(stage->comm, status);
    int64_t count = 0;
    if (status == CM3_OK) status = evaluate_names(stage, options, folder.text, &names, points, &count, done);
    if (status == CM3_OK && count == 0)
        status = cm3_fail(CM3_ERR_NOT_FOUND, "%s: has no checkpoint; run `cm3leon pretrain` first", folder.text);
    if (status == CM3_OK)
        status = cm3_comm_agree_status(stage->comm,
                                       cm3_stage_is_first(stage) ? write_curve(stage->recipe, points, count) : CM3_OK);
    if (status == CM3_OK) *evaluation = points[count - 1];
    free(points);
    cm3_names_free(&names);
    return status;
}
