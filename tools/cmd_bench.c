/* `bench`: speed beside this machine's own measured limits. */
#include "core/auto.h"
#include "core/json.h"
#include "core/kernels/cpu/machine.h"
#include "core/log.h"
#include "data/bench_data.h"
#include "tools/bench_ops.h"
#include "tools/session.h"
#include "train/bench_generate.h"
#include "train/bench_images.h"
#include "train/bench_step.h"

#include <string.h>

static const cm3_option options[] = {
    {"seconds", "S", "how long to measure (3)"},
    {"tokens", "N", "bench generate: tokens of an image (as the recipe has them)"},
    {"samples", "N", "bench data: pairs in the store, 2 KiB each (4096)"},
    {"device", "D", "bench ops: auto, cpu or cuda (auto); elsewhere the recipe's device"},
    CM3_OPTION_JSON,
    CM3_OPTION_END};

const cm3_usage cm3_usage_bench = {
    .arguments = "ops|step|generate|image-tokenizer|data [RECIPE] [section.key=value ...]",
    .min_arguments = 1,
    .max_arguments = 2,
    .takes_overrides = true,
    .options = options,
    .explanation =
        "bench ops [NAME]    every operation (or those whose name contains NAME) beside its floor: FLOPs over "
        "the rate of sgemm, bytes over\n"
        "                    that of copying, both measured in the same run\n"
        "bench step RECIPE   one training step of the recipe's transformer on random tokens: tokens/s, "
        "model FLOPs/s, and their ratio to\n"
        "                    the rate of sgemm measured in the same run; memory measured and planned\n"
        "bench generate RECIPE\n"
        "                    1 image and 16 together with random parameters, with guidance: tokens/s, beside the "
        "floor of reading parameters,\n"
        "                    keys and values at the rate at which memory is copied\n"
        "bench image-tokenizer RECIPE\n"
        "                    images/s that the VQ network encodes, decodes and is trained on\n"
        "bench data          the token store (adding, reading in random order), packing and masking of blocks, "
        "tokens/s on one core\n\n"
        "    cm3leon bench step configs/paper-350m.yaml pretrain.data.batch=1 pretrain.train.micro_batch=1\n"
        "    cm3leon bench generate configs/paper-350m.yaml --tokens 64\n"
        "    cm3leon bench data --json\n"};

/* What --json prints of a benchmark: one object of numbers. */
typedef struct figure {
    const char *key;
    double value;
} figure;

static void print_json(const figure *figures, size_t count) {
    cm3_json_writer w = cm3_json_writer_on(stdout);
    cm3_json_begin_object(&w, NULL);
    for (size_t i = 0; i < count; i++) cm3_json_put_double(&w, figures[i].key, figures[i].value);
    cm3_json_end_object(&w);
    cm3_json_end_line(&w);
}
#define PRINT_JSON(...) print_json((figure[]){__VA_ARGS__}, sizeof((figure[]){__VA_ARGS__}) / sizeof(figure))

static void print_step(const cm3_bench_step_result *r) {
    printf("step             %lld tokens in %.3f s: gradients %.3f s, norm and AdamW %.3f s "
           "(fastest of %lld steps; mean %.3f s)\n",
           (long long)r->tokens, r->seconds_gradients + r->seconds_update, r->seconds_gradients, r->seconds_update,
           (long long)r->steps, r->mean_seconds);
    printf("speed            %.0f tokens/s\n", r->tokens_per_second);
    printf("model FLOPs      %.1f GFLOP/s of all steps, %.3f of the %.1f GFLOP/s of sgemm between them\n",
           r->flops_per_second / 1e9, r->ratio, r->sgemm_flops_per_second / 1e9);
    if (r->peak_flops_per_second > 0)
        printf(
            "share of peak    %.3f of the multipliers' %.1f GFLOP/s; sgemm (OpenBLAS's kernel on a CPU: %s) has %.3f\n",
            r->share_of_peak, r->peak_flops_per_second / 1e9, cm3_machine_sgemm_kernel(),
            r->sgemm_flops_per_second / r->peak_flops_per_second);
    printf("memory           %.1f MiB measured, %.1f MiB planned\n", r->peak_bytes / 0x1p20, r->planned_bytes / 0x1p20);
}

/* The recipe of `bench NAME RECIPE` and its device. */
static cm3_status open_recipe(const cm3_command_line *line, cm3_session *session, cm3_device *device) {
    if (line->argument_count < 2) return cm3_fail(CM3_ERR_USAGE, "bench %s: the recipe is missing", line->arguments[0]);
    cm3_command_line rest = *line;
    rest.arguments[0] = line->arguments[1];
    CM3_TRY(cm3_session_load(&rest, session));
    CM3_TRY(cm3_session_open_device(session, device));
    cm3_log_info("bench %s: on the %s", line->arguments[0], device->text);
    return CM3_OK;
}

static cm3_status bench_step(const cm3_command_line *line, double seconds) {
    CM3_AUTO(cm3_session_close) cm3_session session = {0};
    cm3_bench_step_result r;
    cm3_device device;
    CM3_TRY(open_recipe(line, &session, &device));
    CM3_TRY(cm3_bench_step(&session.recipe, device.backend, seconds, &r));
    if (cm3_option_given(line, "json"))
        PRINT_JSON({"tokens_per_second", r.tokens_per_second}, {"flops_per_second", r.flops_per_second},
                   {"sgemm_flops_per_second", r.sgemm_flops_per_second}, {"ratio", r.ratio},
                   {"peak_flops_per_second", r.peak_flops_per_second}, {"share_of_peak", r.share_of_peak},
                   {"peak_bytes", r.peak_bytes}, {"planned_bytes", r.planned_bytes},
                   {"seconds_gradients", r.seconds_gradients}, {"seconds_update", r.seconds_update},
                   {"mean_seconds", r.mean_seconds}, {"tokens_per_step", (double)r.tokens}, {"steps", (double)r.steps});
    else
        print_step(&r);
    return CM3_OK;
}

static void print_generated(const cm3_bench_generate_result *r) {
    printf("%2lld image%s      %lld tokens each in %.3f s: %.1f tokens/s, %.3f s per image\n", (long long)r->images,
           r->images > 1 ? "s" : " ", (long long)r->tokens, r->seconds, r->tokens_per_second, r->seconds_per_image);
    printf("  floor          %.3f s: %.1f MiB per step at %.1f GB/s; %.3f of it reached\n", r->floor_seconds,
           r->step_bytes / 0x1p20, r->copy_bytes_per_second / 1e9, r->ratio);
}

static cm3_status bench_generate(const cm3_command_line *line, double seconds) {
    enum { RUNS = 2 };
    cm3_bench_generate_result r[RUNS] = {{.images = 1}, {.images = 16}};
    CM3_AUTO(cm3_session_close) cm3_session session = {0};
    cm3_device device;
    CM3_TRY(open_recipe(line, &session, &device));
    int64_t tokens = cm3_vqgan_codes_per_image(&session.recipe.image_tokenizer.network);
    CM3_TRY(cm3_option_int(line, "tokens", 1, 1 << 20, &tokens));
    CM3_TRY(cm3_bench_generate(&session.recipe, device.backend, tokens, seconds, r, RUNS));
    if (cm3_option_given(line, "json"))
        PRINT_JSON({"tokens", (double)tokens}, {"copy_bytes_per_second", r[0].copy_bytes_per_second},
                   {"tokens_per_second_1", r[0].tokens_per_second}, {"seconds_per_image_1", r[0].seconds_per_image},
                   {"step_bytes_1", r[0].step_bytes}, {"floor_seconds_1", r[0].floor_seconds}, {"ratio_1", r[0].ratio},
                   {"tokens_per_second_16", r[1].tokens_per_second}, {"seconds_per_image_16", r[1].seconds_per_image},
                   {"step_bytes_16", r[1].step_bytes}, {"floor_seconds_16", r[1].floor_seconds},
                   {"ratio_16", r[1].ratio});
    else
        for (int i = 0; i < RUNS; i++) print_generated(&r[i]);
    return CM3_OK;
}

static cm3_status bench_images(const cm3_command_line *line, double seconds) {
    cm3_bench_images_result r;
    CM3_AUTO(cm3_session_close) cm3_session session = {0};
    cm3_device device;
    CM3_TRY(open_recipe(line, &session, &device));
    CM3_TRY(cm3_bench_images(&session.recipe, device.backend, seconds, &r));
    if (cm3_option_given(line, "json")) {
        PRINT_JSON({"batch", (double)r.batch}, {"encoded_per_second", r.encoded_per_second},
                   {"decoded_per_second", r.decoded_per_second}, {"trained_per_second", r.trained_per_second},
                   {"flops_per_second", r.flops_per_second}, {"product_flops_per_second", r.product_flops_per_second},
                   {"ratio", r.ratio});
        return CM3_OK;
    }
    printf("images/s       %.1f encoded, %.1f decoded, %.1f trained on (%lld at a time)\n", r.encoded_per_second,
           r.decoded_per_second, r.trained_per_second, (long long)r.batch);
    printf("model FLOPs      %.1f GFLOP/s of training, %.3f of the %.1f GFLOP/s of f32 matrix products\n",
           r.flops_per_second / 1e9, r.ratio, r.product_flops_per_second / 1e9);
    return CM3_OK;
}

static void print_data(const cm3_bench_data_result *r, double copy) {
    printf("from the file    %.2f M tokens/s: read, unpack, pack, mask (one core; %.2f bytes per token on disk)\n",
           r->tokens_per_second / 1e6, r->store_bytes_per_token);
    printf(
        "samples          %.2f us to add one, %.2f M tokens/s read in random order (256 MiB of the store in memory)\n",
        r->add_seconds * 1e6, r->random_tokens_per_second / 1e6);
    printf("from memory      %.2f M tokens/s\n", r->memory_tokens_per_second / 1e6);
    printf("masks alone      %.2f M tokens/s\n", r->mask_tokens_per_second / 1e6);
    printf("skipping blocks  %.2f M blocks/s\n", r->skip_blocks_per_second / 1e6);
    printf("memory copy      %.2f GB/s\n", copy / 1e9);
}

static cm3_status bench_data(const cm3_command_line *line, double seconds) {
    cm3_bench_data_config config = cm3_bench_data_default();
    config.seconds = seconds;
    CM3_TRY(cm3_option_int(line, "samples", 1, INT64_MAX / 2, &config.samples));
    cm3_bench_data_result r;
    CM3_TRY(cm3_bench_data(&config, &r));
    const double copy = cm3_machine_copy_rate(0.5);
    if (cm3_option_given(line, "json"))
        PRINT_JSON({"tokens_per_second", r.tokens_per_second}, {"memory_tokens_per_second", r.memory_tokens_per_second},
                   {"mask_tokens_per_second", r.mask_tokens_per_second},
                   {"skip_blocks_per_second", r.skip_blocks_per_second}, {"add_seconds", r.add_seconds},
                   {"random_tokens_per_second", r.random_tokens_per_second},
                   {"store_bytes_per_token", r.store_bytes_per_token}, {"copy_bytes_per_second", copy});
    else
        print_data(&r, copy);
    return CM3_OK;
}

static cm3_status bench_ops(const cm3_command_line *line, double seconds) {
    static const char *const names[] = {"auto", "cpu", "cuda"};
    const char *wanted = cm3_option_string(line, "device", names[CM3_DEVICE_AUTO]);
    int choice = CM3_DEVICE_AUTO;
    while (choice <= CM3_DEVICE_CUDA && strcmp(wanted, names[choice])) choice++;
    if (choice > CM3_DEVICE_CUDA)
        return cm3_fail(CM3_ERR_USAGE, "bench: --device is %s, expected auto, cpu or cuda", wanted);
    cm3_device device;
    CM3_TRY(cm3_device_open((cm3_device_choice)choice, 0, &device));
    return cm3_bench_ops(device.backend, cm3_option_given(line, "seconds") ? seconds : 0.3,
                         cm3_option_given(line, "json"), line->argument_count > 1 ? line->arguments[1] : NULL);
}

cm3_status cm3_cmd_bench(const cm3_command_line *line) {
    double seconds = 3;
    CM3_TRY(cm3_option_double(line, "seconds", 0.01, 3600, &seconds));
    if (strcmp(line->arguments[0], "ops") == 0) return bench_ops(line, seconds);
    if (strcmp(line->arguments[0], "step") == 0) return bench_step(line, seconds);
    if (strcmp(line->arguments[0], "generate") == 0) return bench_generate(line, seconds);
    if (strcmp(line->arguments[0], "image-tokenizer") == 0) return bench_images(line, seconds);
    if (strcmp(line->arguments[0], "data") == 0) return bench_data(line, seconds);
    return cm3_fail(CM3_ERR_USAGE, "bench %s: expected ops, step, generate, image-tokenizer or data",
                    line->arguments[0]);
}
