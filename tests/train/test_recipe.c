#include "train/recipe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static const char tiny[] = CM3_SOURCE_DIR "/tests/functional/tiny.yaml";

/* Every key of version 0.1, where sections were not nested. */
static const char *const old_keys[] = {"out",
                                       "seed",
                                       "device",
                                       "compute",
                                       "source.kind",
                                       "source.path",
                                       "source.image_size",
                                       "source.fit",
                                       "source.background",
                                       "source.heldout",
                                       "source.seed",
                                       "source.groups",
                                       "source.filter",
                                       "source.limit",
                                       "source.text_field",
                                       "source.image_field",
                                       "text_tokenizer.vocabulary",
                                       "text_tokenizer.min_frequency",
                                       "image_tokenizer.picture",
                                       "image_tokenizer.patch",
                                       "image_tokenizer.channels",
                                       "image_tokenizer.multipliers",
                                       "image_tokenizer.encoder_blocks",
                                       "image_tokenizer.decoder_blocks",
                                       "image_tokenizer.middle_blocks",
                                       "image_tokenizer.attention",
                                       "image_tokenizer.code_width",
                                       "image_tokenizer.codes",
                                       "image_tokenizer.l1",
                                       "image_tokenizer.l2",
                                       "image_tokenizer.codebook_loss",
                                       "image_tokenizer.commitment",
                                       "image_tokenizer.dead_steps",
                                       "image_tokenizer.restart_until",
                                       "image_tokenizer.recompute",
                                       "pictures.batch",
                                       "pictures.memory",
                                       "pictures.seed",
                                       "image_train.steps",
                                       "image_train.micro_batch",
                                       "image_train.log_every",
                                       "image_train.validate_every",
                                       "image_train.validate_batches",
                                       "image_train.sample_every",
                                       "image_optimizer.learning_rate",
                                       "image_optimizer.beta1",
                                       "image_optimizer.beta2",
                                       "image_optimizer.epsilon",
                                       "image_optimizer.weight_decay",
                                       "image_optimizer.clip",
                                       "image_schedule.warmup_steps",
                                       "image_schedule.decay",
                                       "image_schedule.final_fraction",
                                       "data.context",
                                       "data.lanes",
                                       "data.seed",
                                       "data.mask_mean",
                                       "data.mask_min",
                                       "data.mask_max",
                                       "data.mask_whole",
                                       "data.keep_images_whole",
                                       "data.keep_documents_whole",
                                       "data.prefetch",
                                       "data.memory",
                                       "data.vocab_layout",
                                       "data.sentinels",
                                       "data.vocab_multiple",
                                       "model.architecture",
                                       "model.positions",
                                       "model.layers",
                                       "model.width",
                                       "model.heads",
                                       "model.kv_heads",
                                       "model.ffn",
                                       "model.context",
                                       "model.init_std",
                                       "model.position_std",
                                       "model.norm_epsilon",
                                       "model.rotary_theta",
                                       "model.z_loss",
                                       "model.recompute",
                                       "train.steps",
                                       "train.micro_batch",
                                       "train.log_every",
                                       "train.validate_every",
                                       "train.validate_batches",
                                       "train.sample_every",
                                       "optimizer.learning_rate",
                                       "optimizer.beta1",
                                       "optimizer.beta2",
                                       "optimizer.epsilon",
                                       "optimizer.weight_decay",
                                       "optimizer.clip",
                                       "schedule.warmup_steps",
                                       "schedule.decay",
                                       "schedule.final_fraction",
                                       "checkpoint.every",
                                       "checkpoint.keep",
                                       "guard.on_nonfinite",
                                       "guard.max_skips",
                                       "generate.method",
                                       "generate.temperature",
                                       "generate.top_p",
                                       "generate.guidance",
                                       "generate.cdk_k",
                                       "generate.cdk_alpha",
                                       "generate.seed",
                                       "evaluate.prompts",
                                       "evaluate.rows",
                                       "evaluate.caption_tokens",
                                       "cluster.gpus",
                                       "cluster.gpu_memory_gib",
                                       "cluster.gpu_tflops",
                                       "cluster.mfu",
                                       NULL};

static bool exists(const char *path) {
    const char *dot = strrchr(path, '.');
    const size_t length = dot ? (size_t)(dot - path) : 0;
    for (const cm3_section *section = cm3_recipe_schema.sections; section->name; section++) {
        if (strcmp(section->name, path) == 0) return true;
        if (strlen(section->name) != length || strncmp(section->name, path, length) != 0) continue;
        for (const cm3_field *field = section->fields; field->name; field++)
            if (strcmp(field->name, dot ? dot + 1 : path) == 0) return true;
    }
    return false;
}

/* The message says "OLD: renamed to NEW", in one line, and NEW is there. */
static void expect_renamed(const char *place, const char *old) {
    char expected[256], now[128];
    snprintf(expected, sizeof expected, "%s: %s: renamed to ", place, old);
    if (strncmp(cm3_message(), expected, strlen(expected)) != 0 || strchr(cm3_message(), '\n'))
        fail_msg("%s: %s", old, cm3_message());
    snprintf(now, sizeof now, "%s", cm3_message() + strlen(expected));
    if (!exists(now)) fail_msg("%s: its new name %s is no field", old, now);
}

static void every_old_key_on_a_command_line_is_answered_with_its_new_name(void **state) {
    (void)state;
    int renamed = 0;
    for (const char *const *key = old_keys; *key; key++) {
        if (exists(*key)) continue;
        char override[128];
        cm3_recipe recipe;
        snprintf(override, sizeof override, "%s=1", *key);
        assert_int_equal(cm3_config_load(&cm3_recipe_schema, tiny, &(const char *){override}, 1, &recipe),
                         CM3_ERR_RECIPE);
        expect_renamed("command line", *key);
        renamed++;
    }
    assert_int_equal(renamed, 65);
}

/* A key that moved with its section is answered by the section's new name. */
static void every_old_key_in_a_file_is_answered_with_its_new_name_and_line(void **state) {
    (void)state;
    for (const char *const *key = old_keys; *key; key++) {
        const char *dot = strchr(*key, '.');
        if (exists(*key) || !dot) continue;
        char text[256], section[64];
        const int length = (int)(dot - *key);
        const bool is_section = strncmp(*key, "image_tokenizer", (size_t)length) == 0;
        cm3_recipe recipe;
        snprintf(section, sizeof section, "%.*s", length, *key);
        snprintf(text, sizeof text, "out: x\n%s:\n  %s: 1\n%s%spretrain: {train: {steps: 1}}\n", section, dot + 1,
                 is_section ? "  " : "image_tokenizer: {", is_section ? "train: {steps: 1}\n" : "train: {steps: 1}}\n");
        const char *const path = "source.path=x";
        assert_int_equal(
            cm3_config_parse(&cm3_recipe_schema, &(cm3_config_text){"r.yaml", text, strlen(text)}, &path, 1, &recipe),
            CM3_ERR_RECIPE);
        if (exists(section)) {
            expect_renamed("r.yaml:3", *key);
        } else if (!strchr(cm3_message(), '\n')) {
            expect_renamed("r.yaml:2", section);
        } else { /* went elsewhere than its section */
            char expected[128];
            snprintf(expected, sizeof expected, "\n  r.yaml:3: %s: renamed to ", *key);
            if (!strstr(cm3_message(), expected)) fail_msg("%s: %s", *key, cm3_message());
        }
    }
}

/* The fields of every section whose change makes a stage begin again. A new field belongs here, or it is marked as
 * changing something else (core/config.h); that is for whoever adds it to decide. */
static const struct {
    const char *section, *fields;
} results[] = {
    {"", "seed"},
    {"source", "kind path image_size fit background validation seed groups filter limit text_field image_field"},
    {"vocab", "layout sentinels multiple"},
    {"text_tokenizer", "vocabulary min_frequency"},
    {"image_tokenizer", ""},
    {"image_tokenizer.network", "image_size patch channels multipliers encoder_blocks decoder_blocks middle_blocks "
                                "attention code_width codes l1 l2 "
                                "codebook_loss commitment dead_steps restart_until"},
    {"image_tokenizer.data", "batch seed"},
    {"image_tokenizer.train", ""},
    {"image_tokenizer.optimizer", "learning_rate beta1 beta2 epsilon weight_decay clip"},
    {"image_tokenizer.schedule", "warmup_steps decay final_fraction"},
    {"model", "architecture positions layers width heads kv_heads ffn context init_std position_std norm_epsilon "
              "rotary_theta z_loss"},
    {"pretrain", ""},
    {"pretrain.data",
     "context batch seed mask_mean mask_min mask_max mask_whole keep_images_whole keep_documents_whole"},
    {"pretrain.train", ""},
    {"pretrain.optimizer", "learning_rate beta1 beta2 epsilon weight_decay clip"},
    {"pretrain.schedule", "warmup_steps decay final_fraction"},
    {"checkpoint", ""},
    {"guard", ""},
    {"generate", "method temperature top_p guidance cdk_k cdk_alpha seed"},
    {"evaluate", "prompts caption_tokens"},
    {"cluster", ""},
    {NULL, NULL}};

static void what_changes_results_is_decided_for_every_field(void **state) {
    (void)state;
    size_t at = 0;
    for (const cm3_section *section = cm3_recipe_schema.sections; section->name; section++, at++) {
        char found[512] = "";
        for (const cm3_field *field = section->fields; field->name; field++)
            if (field->effect == CM3_CHANGES_RESULTS) {
                if (*found) strcat(found, " ");
                strcat(found, field->name);
            }
        assert_string_equal(section->name, results[at].section);
        if (strcmp(found, results[at].fields) != 0) fail_msg("%s: %s", section->name, found);
    }
    assert_null(results[at].section);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_old_key_on_a_command_line_is_answered_with_its_new_name),
        cmocka_unit_test(every_old_key_in_a_file_is_answered_with_its_new_name_and_line),
        cmocka_unit_test(what_changes_results_is_decided_for_every_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
