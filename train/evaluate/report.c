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
    enum { SECONDS, ITEMS, SPEED, MFU, COMMON };
    cm3_series of[COMMON] = {{0}};
    cm3_series_wanted wanted[WANTED_MAX] = {{"train", "seconds", &of[SECONDS]},
                                            {"train", "tokens", &of[ITEMS]},
                                            {"train", "tokens_per_second", &of[SPEED]},
                                            {"train", "mfu", &of[MFU]}};
    memcpy(wanted + COMMON, own, (size_t)own_count * sizeof *own);
    const cm3_path path = cm3_stage_path(recipe, stage, "metrics.jsonl");
    if (!cm3_path_exists(path.text)) return CM3_OK;
    cm3_status status = cm3_series_read(path.text, wanted, COMMON + own_count);
    const cm3_point *last = cm3_series_last(&of[ITEMS]);
    out->trained = last;
    out->steps = last ? last->x : 0;
    out->items = last ? (int64_t)last->y : 0;
    out->seconds = cm3_series_sum(&of[SECONDS]);
    if (status == CM3_OK) status = cm3_series_median(&of[SPEED], &out->items_per_second);
    if (status == CM3_OK) status = cm3_series_median(&of[MFU], &out->mfu);
    for (int i = 0; i < COMMON; i++) cm3_series_free(&of[i]);
    return status;
}

static cm3_status read_stages(cm3__report *r) {
    cm3_series *c = r->curves;
    const cm3_series_wanted image[] = {{"train", "psnr", &c[CM3__PSNR]},
                                       {"validation", "psnr", &c[CM3__VALIDATION_PSNR]}};
    const cm3_series_wanted model[] = {{"train", "loss_text", &c[CM3__TEXT_LOSS]},
                                       {"train", "loss_image", &c[CM3__IMAGE_LOSS]},
                                       {"validation", "loss_text", &c[CM3__VALIDATION_TEXT_LOSS]},
                                       {"validation", "loss_image", &c[CM3__VALIDATION_IMAGE_LOSS]}};
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
    const cm3_path path = cm3_path_join(recipe->run.out, name);
    return cm3_path_exists(path.text) ? cm3_json_load(path.text, JSON_MAX, root) : CM3_OK;
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
        if (status == CM3_OK) status = add_point(point, "text_to_image_top1", step, &r->curves[CM3__TOP1]);
        if (status == CM3_OK) status = add_point(point, "caption_exact", step, &r->curves[CM3__CAPTIONS]);
        if (status == CM3_OK)
            status = add_point(validation, "text_to_image_top1", step, &r->curves[CM3__VALIDATION_TOP1]);
        if (status == CM3_OK)
            status = add_point(validation, "caption_exact", step, &r->curves[CM3__VALIDATION_CAPTIONS]);
    }
    json_decref(root);
    return status;
}

/* --- all of it --------------------------------------------------------------------------------------------------- */

static cm3_status write_page(const cm3__report *r) {
    cm3_output *output;
    CM3_TRY(cm3_output_open(cm3_path_join(r->recipe->run.out, "report.html").text, &output));
    const cm3_status status = cm3__report_page(cm3_output_stream(output), r);
    if (status == CM3_OK) return cm3_output_commit(output);
    cm3_output_discard(output);
    return status;
}

cm3_status cm3_report_write(const cm3_recipe *recipe, const char *config_text) {
    cm3__report r = {.recipe = recipe, .config_text = config_text};
    const cm3_path album = cm3_path_join(recipe->run.out, "evaluation");
    cm3_status status = read_stages(&r);
    if (status == CM3_OK) status = load_json(recipe, "evaluation.json", &r.evaluation);
    if (status == CM3_OK) status = read_curve(&r);
    if (status == CM3_OK && cm3_path_exists(album.text)) status = cm3_album_read(album.text, &r.album);
    if (status == CM3_OK) status = write_page(&r);
    for (int i = 0; i < CM3__CURVES; i++) cm3_series_free(&r.curves[i]);
    json_decref(r.evaluation);
    cm3_album_free(&r.album);
    return status;
}
