#include "train/evaluate/report_internal.h"

#include "core/file.h"
#include "train/evaluate/report.h"
#include "train/plan.h"
#include "train/run_folder.h"

#include <stdlib.h>
#include <string.h>

enum { JSON_MAX = 64 << 20, WANTED_MAX = 16 };

/* --- the stages' metrics ----------------------------------------------------------------------------------------- */

/* The figures that both stages have, beside the `own` curves. */
static cm3_status read_stage(const cm3_recipe *recipe, const char *stage, const cm3_series_wanted *own, int own_count,
                             cm3__report_stage *out) {
    cm3_series seconds = {0}, items = {0}, speed = {0}, mfu = {0};
    cm3_series_wanted wanted[WANTED_MAX] = {{"train", "seconds", &seconds},
                                            {"train", "tokens", &items},
                                            {"train", "tokens_per_second", &speed},
                                            {"train", "mfu", &mfu}};
    memcpy(wanted + 4, own, (size_t)own_count * sizeof *own);
    char *path = cm3_stage_path(recipe, stage, "metrics.jsonl");
    cm3_status status = path ? CM3_OK : cm3_fail(CM3_ERR_MEMORY, "no memory for a path");
    if (status == CM3_OK && cm3_path_exists(path)) {
        status = cm3_series_read(path, wanted, 4 + own_count);
        out->there = items.count > 0;
        out->steps = items.count ? items.x[items.count - 1] : 0;
        out->items = (int64_t)cm3_series_last(&items);
        out->seconds = cm3_series_sum(&seconds);
        if (status == CM3_OK) status = cm3_series_median(&speed, &out->items_per_second);
        if (status == CM3_OK) status = cm3_series_median(&mfu, &out->mfu);
    }
    free(path);
    cm3_series_free(&seconds);
    cm3_series_free(&items);
    cm3_series_free(&speed);
    cm3_series_free(&mfu);
    return status;
}

static cm3_status read_stages(cm3__report *r) {
    const cm3_series_wanted image[] = {{"train", "psnr", &r->psnr}, {"validation", "psnr", &r->validation_psnr}};
    const cm3_series_wanted model[] = {{"train", "loss_text", &r->text},
                                       {"train", "loss_image", &r->image_loss},
                                       {"validation", "loss_text", &r->validation_text},
                                       {"validation", "loss_image", &r->validation_image}};
    CM3_TRY(read_stage(r->recipe, "image-tokenizer", image, 2, &r->image));
    CM3_TRY(read_stage(r->recipe, "pretrain", model, 4, &r->model));
    cm3_stage_plan plan;
    CM3_TRY(cm3_plan_image_tokenizer(r->recipe, cm3_backend_meta(), 1, &plan));
    r->image.parameters = plan.parameters;
    r->image.flops = plan.flops_per_step * r->image.steps;
    CM3_TRY(cm3_plan_pretrain(r->recipe, cm3_backend_meta(), 1, &plan));
    r->model.parameters = plan.parameters;
    r->model.flops = plan.flops_per_step * r->model.steps;
    return CM3_OK;
}

/* --- the evaluation ---------------------------------------------------------------------------------------------- */

static cm3_status load_json(const cm3_recipe *recipe, const char *name, json_t **root) {
    char *path = cm3_path_join(recipe->run.out, name);
    if (!path) return cm3_fail(CM3_ERR_MEMORY, "no memory for a path");
    const cm3_status status = cm3_path_exists(path) ? cm3_json_load(path, JSON_MAX, root) : CM3_OK;
    free(path);
    return status;
}

static cm3_status add_point(const json_t *object, const char *key, double step, cm3_series *series) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? cm3_series_add(series, step, json_number_value(value)) : CM3_OK;
}

static cm3_status read_curve(cm3__report *r) {
    json_t *root = NULL, *point;
    size_t i;
    CM3_TRY(load_json(r->recipe, "evaluation-curve.json", &root));
    cm3_status status = CM3_OK;
    json_array_foreach(json_object_get(root, "points"), i, point) {
        const double step = json_number_value(json_object_get(point, "step"));
        const json_t *validation = json_object_get(point, "heldout");
        if (status == CM3_OK) status = add_point(point, "text_to_image_top1", step, &r->top1);
        if (status == CM3_OK) status = add_point(point, "caption_exact", step, &r->caption);
        if (status == CM3_OK) status = add_point(validation, "text_to_image_top1", step, &r->validation_top1);
        if (status == CM3_OK) status = add_point(validation, "caption_exact", step, &r->validation_caption);
    }
    json_decref(root);
    return status;
}

static cm3_status read_album(cm3__report *r) {
    char *folder = cm3_stage_path(r->recipe, "evaluation", NULL);
    if (!folder) return cm3_fail(CM3_ERR_MEMORY, "no memory for a path");
    const cm3_status status = cm3_path_exists(folder) ? cm3_album_read(folder, &r->album) : CM3_OK;
    free(folder);
    return status;
}

/* --- all of it --------------------------------------------------------------------------------------------------- */

static cm3_status write_page(const cm3__report *r) {
    char *path = cm3_path_join(r->recipe->run.out, "report.html");
    if (!path) return cm3_fail(CM3_ERR_MEMORY, "no memory for a path");
    cm3_output *output;
    cm3_status status = cm3_output_open(path, &output);
    free(path);
    CM3_TRY(status);
    status = cm3__report_page(cm3_output_stream(output), r);
    if (status == CM3_OK) return cm3_output_commit(output);
    cm3_output_discard(output);
    return status;
}

cm3_status cm3_report_write(const cm3_recipe *recipe, const char *config_text) {
    cm3__report r = {.recipe = recipe, .config_text = config_text};
    cm3_status status = read_stages(&r);
    if (status == CM3_OK) status = load_json(recipe, "evaluation.json", &r.evaluation);
    if (status == CM3_OK) status = read_curve(&r);
    if (status == CM3_OK) status = read_album(&r);
    if (status == CM3_OK) status = write_page(&r);
    cm3_series *const all[] = {&r.psnr,
                               &r.validation_psnr,
                               &r.text,
                               &r.image_loss,
                               &r.validation_text,
                               &r.validation_image,
                               &r.top1,
                               &r.caption,
                               &r.validation_top1,
                               &r.validation_caption};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) cm3_series_free(all[i]);
    json_decref(r.evaluation);
    cm3_album_free(&r.album);
    return status;
}
