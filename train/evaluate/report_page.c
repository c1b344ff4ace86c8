/* The page: text, figures, tables and curves. */
#include "train/evaluate/report_internal.h"

#include "core/progress.h"
#include "train/evaluate/chart.h"
#include "train/evaluate/html.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

/* --- small things ------------------------------------------------------------------------------------------------ */

/* "12.3 M": three digits and a prefix. */
static const char *amount(double value, char text[32]) {
    static const char *const prefixes[] = {"", " k", " M", " G", " T", " P", " E"};
    int p = 0;
    while (fabs(value) >= 999.5 && p < 6) {
        value /= 1000;
        p++;
    }
    snprintf(text, 32, "%.*f%s", p == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2, value, prefixes[p]);
    return text;
}

static const char *duration(double seconds, char text[32]) {
    cm3_progress_format_seconds(seconds, text, 32);
    return text;
}

static void missing(FILE *file, const cm3__report *r, const char *what, const char *command) {
    fprintf(file, "<p class=\"missing\">%s Run <code>cm3leon %s ", what, command);
    cm3_html_text(file, r->recipe->run.out);
    fputs("</code>.</p>\n", file);
}

static double number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static const json_t *validation_of(const cm3__report *r) {
    const json_t *validation = json_object_get(r->evaluation, "heldout");
    return json_is_object(validation) ? validation : NULL;
}

/* The last part of a path: what the run is called. */
static const char *run_name(const cm3__report *r) {
    const char *out = r->recipe->run.out, *slash = strrchr(out, '/');
    return slash && slash[1] ? slash + 1 : out;
}

/* --- head -------------------------------------------------------------------------------------------------------- */

static void fact(FILE *file, const char *value, const char *meaning) {
    fprintf(file, "<li><b>%s</b><span>%s</span></li>\n", value, meaning);
}

static void share_fact(FILE *file, const json_t *object, const char *key, const char *meaning) {
    char text[32];
    const double value = number(object, key);
    if (!isfinite(value)) return;
    snprintf(text, sizeof text, "%.0f %%", 100 * value);
    fact(file, text, meaning);
}

static void write_facts(FILE *file, const cm3__report *r) {
    char text[32];
    fputs("<ul class=\"facts\">\n", file);
    share_fact(file, r->evaluation, "text_to_image_top1",
               "of the images generated for seen captions are nearest to the true one, among all images");
    share_fact(file, validation_of(r), "text_to_image_top1", "of those generated for validation captions");
    share_fact(file, r->evaluation, "caption_exact", "of the captions generated for images are exactly right");
    if (r->model.trained) {
        fact(file, duration(r->image.seconds + r->model.seconds, text), "of training, both networks");
        fact(file, amount((double)(r->image.parameters + r->model.parameters), text), "parameters, both networks");
    }
    fputs("</ul>\n", file);
}

static void write_head(FILE *file, const cm3__report *r) {
    char text[32];
    fputs("<header><h1>", file);
    cm3_html_text(file, run_name(r));
    fputs("</h1>\n<p class=\"lead\">", file);
    if (r->model.trained) {
        fprintf(file, "A CM3Leon model of %s parameters, trained from scratch on ",
                amount((double)r->model.parameters, text));
        const double images = number(r->evaluation, "pictures");
        if (isfinite(images))
            fprintf(file, "a set of %.0f images and their captions", images);
        else
            fputs("images and their captions", file);
        fputs(". It generates images for captions and captions for images.", file);
    } else {
        fputs("A CM3Leon run that has not trained its model yet.", file);
    }
    fputs("</p>\n", file);
    write_facts(file, r);
    fputs("</header>\n", file);
}

/* --- curves ------------------------------------------------------------------------------------------------------ */

static cm3_status write_curves(FILE *file, const cm3__report *r) {
    const cm3_series *c = r->curves;
    const cm3_chart loss = {.title = "Transformer: cross-entropy, nats per token",
                            .decimals = 3,
                            .unit = "",
                            .count = 4,
                            .lines = {{"text", "a", false, &c[CM3__TEXT_LOSS]},
                                      {"image", "b", false, &c[CM3__IMAGE_LOSS]},
                                      {"text, validation", "a", true, &c[CM3__VALIDATION_TEXT_LOSS]},
                                      {"image, validation", "b", true, &c[CM3__VALIDATION_IMAGE_LOSS]}}};
    const cm3_chart psnr = {
        .title = "Image tokenizer: images from their codes, PSNR",
        .decimals = 2,
        .unit = " dB",
        .count = 2,
        .lines = {{"training", "b", false, &c[CM3__PSNR]}, {"validation", "b", true, &c[CM3__VALIDATION_PSNR]}}};
    const cm3_chart curve = {.title = "Checkpoints: share that is right",
                             .decimals = 3,
                             .unit = "",
                             .from_zero = true,
                             .count = 4,
                             .lines = {{"images", "b", true, &c[CM3__TOP1]},
                                       {"captions", "a", true, &c[CM3__CAPTIONS]},
                                       {"images, validation", "c", true, &c[CM3__VALIDATION_TOP1]},
                                       {"captions, validation", "d", true, &c[CM3__VALIDATION_CAPTIONS]}}};
    fputs("<h2>Training curves</h2>\n", file);
    if (!r->image.trained && !r->model.trained) missing(file, r, "No network has been trained yet.", "run RECIPE out=");
    fputs("<div class=\"charts\">\n", file);
    if (r->model.trained) CM3_TRY(cm3_chart_write(file, &loss));
    if (r->image.trained) CM3_TRY(cm3_chart_write(file, &psnr));
    if (c[CM3__TOP1].count) CM3_TRY(cm3_chart_write(file, &curve));
    fputs("</div>\n", file);
    return CM3_OK;
}

/* --- tables ------------------------------------------------------------------------------------------------------ */

static void share_cell(FILE *file, const json_t *object, const char *key, const char *right) {
    const double value = number(object, key);
    if (!isfinite(value))
        fputs("<td>–</td>", file);
    else
        fprintf(file, "<td>%.1f %% <em>%.0f of %.0f</em></td>", 100 * value, number(object, right),
                number(object, "pairs"));
}

static void value_cell(FILE *file, const json_t *object, const char *key, int decimals, const char *unit) {
    const double value = number(object, key);
    if (!isfinite(value))
        fputs("<td>–</td>", file);
    else
        fprintf(file, "<td>%.*f%s</td>", decimals, value, unit);
}

static void write_evaluation(FILE *file, const cm3__report *r) {
    fputs("<h2>Evaluation</h2>\n", file);
    if (!r->evaluation) {
        missing(file, r, "This run has not been evaluated yet.", "evaluate");
        return;
    }
    const json_t *columns[] = {r->evaluation, validation_of(r)};
    const int count = columns[1] ? 2 : 1;
    char text[32];
    fprintf(file, "<div class=\"wide\"><table><thead><tr><th></th><th>seen in training</th>%s</tr></thead><tbody>\n",
            count > 1 ? "<th>validation</th>" : "");
    fputs("<tr><th>Generated image is nearest to its own, among all</th>", file);
    for (int i = 0; i < count; i++) share_cell(file, columns[i], "text_to_image_top1", "drawn_right");
    fputs("</tr>\n<tr><th>Caption is exactly the true one</th>", file);
    for (int i = 0; i < count; i++) share_cell(file, columns[i], "caption_exact", "captions_right");
    fputs("</tr>\n<tr><th>Images from their codes, PSNR</th>", file);
    for (int i = 0; i < count; i++) value_cell(file, columns[i], "vq_psnr", 2, " dB");
    fputs("</tr>\n<tr><th>Loss of text, nats per token</th>", file);
    for (int i = 0; i < count; i++) value_cell(file, columns[i], "loss_text", 3, "");
    fputs("</tr>\n<tr><th>Loss of images, nats per token</th>", file);
    for (int i = 0; i < count; i++) value_cell(file, columns[i], "loss_image", 3, "");
    const json_t *decode = json_object_get(r->evaluation, "decode");
    fprintf(file,
            "</tr>\n</tbody></table></div>\n<p><em>One image per caption at step %.0f, compared by squared differences "
            "of pixels with all %.0f images; ",
            number(r->evaluation, "step"), number(r->evaluation, "pictures"));
    fprintf(file,
            "guidance %g, top-p %g, temperature %g. Captions are generated greedily. Losses are of whole samples in "
            "causal order. The evaluation took %s.</em></p>\n",
            number(decode, "guidance"), number(decode, "top_p"), number(decode, "temperature"),
            duration(number(r->evaluation, "seconds"), text));
}

static void stage_row(FILE *file, const char *name, const char *unit, const cm3__report_stage *s) {
    char a[32], b[32], c[32], d[32];
    fprintf(file, "<tr><th>%s</th>", name);
    if (!s->trained) {
        fputs("<td colspan=\"6\"><em>not trained yet</em></td></tr>\n", file);
        return;
    }
    fprintf(file, "<td>%s</td><td>%.0f</td><td>%s <em>%s</em></td>", amount((double)s->parameters, a), s->steps,
            amount((double)s->items, b), unit);
    fprintf(file, "<td>%s</td><td>%s <em>%s/s</em></td><td>%s</td></tr>\n", duration(s->seconds, c),
            amount(s->items_per_second, d), unit, amount(s->flops, a));
}

static void write_run(FILE *file, const cm3__report *r) {
    const cm3_recipe *recipe = r->recipe;
    fputs("<h2>The run</h2>\n<div "
          "class=\"wide\"><table><thead><tr><th></th><th>parameters</th><th>steps</th><th>seen</th><th>time</th>"
          "<th>speed</th><th>FLOPs</th></tr></thead><tbody>\n",
          file);
    stage_row(file, "Image tokenizer", "images", &r->image);
    stage_row(file, "Transformer", "tokens", &r->model);
    fputs("</tbody></table></div>\n", file);
    fprintf(file,
            "<p>The transformer has %lld layers of width %lld with %lld heads and a context of %lld tokens; a step "
            "trains on "
            "%lld sequences, with the CM3 objective. ",
            (long long)recipe->model.layers, (long long)recipe->model.width, (long long)recipe->model.heads,
            (long long)recipe->pretrain.data.context, (long long)recipe->pretrain.data.batch);
    const long long side = (long long)cm3_vqgan_code_side(&recipe->image_tokenizer.network),
                    image = (long long)recipe->image_tokenizer.network.image_size;
    fprintf(file, "An image of %lld × %lld pixels is %lld × %lld codes out of %lld. The peak learning rate was %g.",
            image, image, side, side, (long long)recipe->image_tokenizer.network.codes,
            recipe->pretrain.optimizer.learning_rate);
    /* Above 1, the peak was measured while other work used the machine: no figure to show. */
    if (r->model.mfu > 0 && r->model.mfu <= 1)
        fprintf(file, " Its training reached %.0f %% of the peak that was measured on this machine.",
                100 * r->model.mfu);
    fputs("</p>\n<details><summary>The whole recipe</summary><pre>", file);
    cm3_html_text(file, r->config_text);
    fputs("</pre></details>\n", file);
}

/* --- images ------------------------------------------------------------------------------------------------------ */

static cm3_status write_images(FILE *file, const cm3__report *r) {
    fputs("<h2>Captions to images</h2>\n", file);
    if (r->album.count == 0) {
        missing(file, r, "There are no generated images yet.", "evaluate");
        return CM3_OK;
    }
    fprintf(file,
            "<p>One image was generated for each caption, at step %lld; beside it is the true one. "
            "<span class=\"right\">✓</span>: of all images of the source, the true one is the nearest to it. "
            "The pairs are not chosen by hand: they are spread evenly over the set.</p>\n",
            (long long)r->album.step);
    CM3_TRY(cm3__report_generated(file, r));
    if (r->album.row_count) {
        fprintf(
            file,
            "<h2>One caption, several samples</h2>\n<p>Images sampled for the same caption, at temperature %g.</p>\n",
            r->album.temperature);
        CM3_TRY(cm3__report_samples(file, r));
    }
    fputs("<h2>Images to captions</h2>\n<p>The caption that the model generates for an image, greedily; right only if "
          "it equals the true one.</p>\n",
          file);
    CM3_TRY(cm3__report_captions(file, r));
    fputs("<h2>Images and their codes</h2>\n<p>The upper bound of what the model can see and generate: each image "
          "encoded and decoded by the image tokenizer.</p>\n",
          file);
    return cm3__report_reconstructions(file, r);
}

cm3_status cm3__report_page(FILE *file, const cm3__report *r) {
    fputs("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
          "content=\"width=device-width,initial-scale=1\">\n<title>",
          file);
    cm3_html_text(file, run_name(r));
    fputs(" · cm3leon</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n", file);
    fputs(cm3__report_style, file);
    fputs("</style>\n</head>\n<body>\n<main>\n", file);
    write_head(file, r);
    CM3_TRY(write_images(file, r));
    CM3_TRY(write_curves(file, r));
    write_evaluation(file, r);
    write_run(file, r);
    fputs("<footer>Made by <code>cm3leon report ", file);
    cm3_html_text(file, r->recipe->run.out);
    fputs("</code>. To generate more: <code>cm3leon generate ", file);
    cm3_html_text(file, r->recipe->run.out);
    fputs(" --prompt &quot;…&quot;</code></footer>\n</main>\n</body>\n</html>\n", file);
    return CM3_OK;
}
