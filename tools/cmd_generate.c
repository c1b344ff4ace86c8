/* `generate`: text in, images out; images in, text out. */
#include "core/auto.h"
#include "core/log.h"
#include "core/progress.h"
#include "tools/session.h"
#include "core/utf8.h"
#include "train/generate/pipeline.h"

#include <stdlib.h>
#include <string.h>

static const cm3_option options[] = {
    {"prompt", "TEXT", "a caption to generate an image for; may be repeated"},
    {"image", "PATH", "an image (JPEG, PNG, WebP) to caption; may be repeated"},
    {"samples", "N", "images for every prompt, or captions for every image (1)"},
    {"out", "FOLDER", "where images are written (RUN/generated)"},
    {"checkpoint", "PATH", "a checkpoint of the run, or best (the lowest validation loss); the newest is the default"},
    {"temperature", "T", "of sampling; 0: greedy"},
    {"top-p", "P", "nucleus sampling: probability mass of the tokens that are sampled from"},
    {"guidance", "A", "classifier-free guidance; 1 is none"},
    {"seed", "N", "of sampling"},
    CM3_OPTION_END};

const cm3_usage cm3_usage_generate = {
    .arguments = "RUN",
    .min_arguments = 1,
    .max_arguments = 1,
    .takes_overrides = true,
    .options = options,
    .explanation =
        "Generates images for captions and captions for images, with the model of a run.\n"
        "Without --prompt and --image it reads captions from standard input, one a line.\n\n"
        "    cm3leon generate out/emoji-quick --prompt 'red apple' --prompt 'waving hand: dark skin tone' --samples 4\n"
        "    cm3leon generate out/emoji-quick --image cat.png\n"};

enum { PROMPTS_MAX = 4096 };

typedef struct inputs {
    char *prompts[PROMPTS_MAX];
    int64_t count;
} inputs;

static cm3_status add_prompt(inputs *in, const char *text, int64_t samples) {
    size_t bad;
    if (!cm3_utf8_is_valid(text, strlen(text), &bad))
        return cm3_fail(CM3_ERR_USAGE, "a prompt is not UTF-8 at byte %zu", bad);
    for (int64_t i = 0; i < samples; i++) {
        if (in->count == PROMPTS_MAX)
            return cm3_fail(CM3_ERR_USAGE, "prompts times --samples: more than %d images", PROMPTS_MAX);
        in->prompts[in->count] = strdup(text);
        if (!in->prompts[in->count++]) return cm3_fail(CM3_ERR_MEMORY, "out of memory for prompts");
    }
    return CM3_OK;
}

static cm3_status read_prompts(inputs *in, int64_t samples) {
    char line[65536];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\r\n")] = 0;
        if (*line) CM3_TRY(add_prompt(in, line, samples));
    }
    return CM3_OK;
}

/* "red apple" -> "red-apple": a file name that any system takes. */
static void file_name(const char *prompt, int64_t number, char name[96]) {
    size_t used = 0;
    for (const char *c = prompt; *c && used < 60; c++) {
        const bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9');
        if (plain)
            name[used++] = *c;
        else if (used && name[used - 1] != '-')
            name[used++] = '-';
    }
    snprintf(name + used, 96 - used, "%s%lld.png", used && name[used - 1] == '-' ? "" : "-", (long long)number);
}

static cm3_status write_images(const inputs *in, const cm3_image *images, const char *folder) {
    CM3_TRY(cm3_folder_make(folder));
    for (int64_t i = 0; i < in->count; i++) {
        char name[96];
        file_name(in->prompts[i], i, name);
        const cm3_path path = cm3_path_join(folder, name);
        CM3_TRY(cm3_image_write_png(&images[i], path.text));
        printf("%s\t%s\n", path.text, in->prompts[i]);
    }
    return CM3_OK;
}

static void advanced(void *context, int64_t done) {
    cm3_progress_update(context, (uint64_t)done);
}

static cm3_status generate_images(cm3_pipeline *p, const cm3_decode_config *config, const inputs *in,
                                  const char *folder) {
    const int64_t per_image = cm3_vqgan_codes_per_image(&p->recipe->image_tokenizer.network);
    CM3_AUTO_FREE int32_t *codes = calloc((size_t)(in->count * per_image), sizeof *codes);
    CM3_AUTO_FREE cm3_image *images = calloc((size_t)in->count, sizeof *images);
    if (!codes || !images) return cm3_fail(CM3_ERR_MEMORY, "out of memory for %lld images", (long long)in->count);
    cm3_progress progress = cm3_progress_start("generate", "images", (uint64_t)in->count);
    cm3_status status = cm3_pipeline_generate_codes(p, config, (const char *const *)in->prompts, in->count, 0, codes,
                                                    advanced, &progress);
    cm3_progress_end(&progress);
    if (status == CM3_OK) status = cm3_pipeline_decode_images(p, codes, in->count, images);
    if (status == CM3_OK) status = write_images(in, images, folder);
    for (int64_t i = 0; i < in->count; i++) cm3_image_free(&images[i]);
    return status;
}

/* The codes of an image file. */
static cm3_status encode_image(const cm3_pipeline *p, const char *path, int32_t *codes) {
    const int side = (int)p->recipe->image_tokenizer.network.image_size;
    const cm3_source_config *source = &p->recipe->source;
    cm3_colour background = {255, 255, 255};
    if (*source->background) CM3_TRY(cm3_colour_parse(source->background, &background));
    CM3_AUTO(cm3_image_free) cm3_image image = {0};
    CM3_AUTO(cm3_image_free) cm3_image square = {0};
    CM3_AUTO_FREE float *pixels = calloc((size_t)(side * side * 3), sizeof *pixels);
    if (!pixels) return cm3_fail(CM3_ERR_MEMORY, "out of memory for an image");
    CM3_TRY(cm3_image_read(path, side, &image));
    cm3_image_flatten(&image, background);
    CM3_TRY(cm3_image_fit(&image, side, (cm3_fit)source->fit, background, &square));
    cm3_image_to_float(&square, pixels);
    return cm3_image_codec_encode(p->tokenizers.codec, pixels, 1, codes);
}

static cm3_status generate_captions(cm3_pipeline *p, const cm3_decode_config *config, const char *path,
                                    int64_t samples) {
    const int64_t per_image = cm3_vqgan_codes_per_image(&p->recipe->image_tokenizer.network);
    CM3_AUTO_FREE int32_t *codes = calloc((size_t)(samples * per_image), sizeof *codes);
    CM3_AUTO_FREE char **captions = calloc((size_t)samples, sizeof *captions);
    if (!codes || !captions) return cm3_fail(CM3_ERR_MEMORY, "out of memory for captions");
    CM3_TRY(encode_image(p, path, codes));
    for (int64_t i = 1; i < samples; i++) memcpy(codes + i * per_image, codes, (size_t)per_image * sizeof *codes);
    const cm3_status status = cm3_pipeline_caption(p, config, codes, samples, 0, captions, NULL, NULL);
    for (int64_t i = 0; i < samples; i++) {
        if (status == CM3_OK) printf("%s\t%s\n", path, captions[i]);
        free(captions[i]);
    }
    return status;
}

static cm3_status read_inputs(const cm3_command_line *line, int64_t samples, inputs *in) {
    for (int n = 0; cm3_option_nth(line, "prompt", n); n++)
        CM3_TRY(add_prompt(in, cm3_option_nth(line, "prompt", n), samples));
    return in->count || cm3_option_given(line, "image") ? CM3_OK : read_prompts(in, samples);
}

static void inputs_free(inputs *in) {
    for (int64_t i = 0; i < in->count; i++) free(in->prompts[i]);
}

static cm3_status generate(const cm3_command_line *line, const cm3_session *session, inputs *in) {
    cm3_decode_config config = session->recipe.generate;
    int64_t samples = 1;
    CM3_TRY(cm3_option_int(line, "samples", 1, PROMPTS_MAX, &samples));
    CM3_TRY(cm3_option_double(line, "temperature", 0, 100, &config.temperature));
    CM3_TRY(cm3_option_double(line, "top-p", 1e-6, 1, &config.top_p));
    CM3_TRY(cm3_option_double(line, "guidance", 0, 100, &config.guidance));
    CM3_TRY(cm3_option_int(line, "seed", 0, INT64_MAX, &config.seed));
    CM3_TRY(read_inputs(line, samples, in));
    CM3_AUTO(cm3_pipeline_close) cm3_pipeline pipeline = {0};
    cm3_device device;
    CM3_TRY(cm3_session_open_device(session, &device));
    CM3_TRY(
        cm3_pipeline_open(&session->recipe, device.backend, cm3_option_string(line, "checkpoint", NULL), &pipeline));
    cm3_log_info("generate: checkpoint of step %lld, on the %s", (long long)pipeline.step, device.text);
    const cm3_path folder = cm3_path_join(session->recipe.run.out, "generated");
    if (in->count) CM3_TRY(generate_images(&pipeline, &config, in, cm3_option_string(line, "out", folder.text)));
    if (!cm3_option_given(line, "temperature") && samples == 1) config.temperature = 0; /* the likeliest caption */
    for (int n = 0; cm3_option_nth(line, "image", n); n++)
        CM3_TRY(generate_captions(&pipeline, &config, cm3_option_nth(line, "image", n), samples));
    return CM3_OK;
}

cm3_status cm3_cmd_generate(const cm3_command_line *line) {
    CM3_AUTO(cm3_session_close) cm3_session session = {0};
    CM3_AUTO(inputs_free) inputs in = {0};
    CM3_TRY(cm3_session_of_run(line->arguments[0], line->overrides, line->override_count, &session));
    return generate(line, &session, &in);
}
