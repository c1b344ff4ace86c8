/* A small recipe with a field of every kind, for the tests and the fuzz target of the binder. */
#ifndef CM3_TESTS_RECIPE_SCHEMA_H
#define CM3_TESTS_RECIPE_SCHEMA_H

#include "core/config.h"

typedef struct test_top { int64_t seed; char *out; } test_top;
typedef struct test_train { int64_t steps; double lr; int schedule; bool resume; char *note; } test_train;
typedef struct test_model { int64_t width, heads; cm3_int_list channels; cm3_string_list tags; } test_model;
typedef struct test_tune {
    test_model network;
    test_train train;
} test_tune;
typedef struct test_recipe {
    test_top top;
    test_train train;
    test_model model;
    test_tune tune;
} test_recipe;

static const char *const test_schedules[] = {"constant", "linear", "cosine", NULL};

static const cm3_field test_top_fields[] = {
    CM3_FIELD_INT(test_top, seed, "1", 0, 1e15, "", "of all randomness"),
    CM3_FIELD_STRING(test_top, out, "out/test", "where the run goes", .effect = CM3_CHANGES_REPORTS), CM3_FIELD_END};
static const cm3_field test_train_fields[] = {
    CM3_FIELD_INT(test_train, steps, NULL, 1, 1000000, "steps", "how long"),
    CM3_FIELD_FLOAT(test_train, lr, "6e-4", 0, 1, "", "highest learning rate"),
    CM3_FIELD_CHOICE(test_train, schedule, "cosine", test_schedules, "how the learning rate falls"),
    CM3_FIELD_BOOL(test_train, resume, "yes", "go on from the last checkpoint"),
    CM3_FIELD_STRING(test_train, note, "", "free text", .effect = CM3_CHANGES_REPORTS),
    CM3_FIELD_END};
static const cm3_field test_model_fields[] = {
    CM3_FIELD_INT(test_model, width, "64", 1, 65536, "channels", "of a hidden state"),
    CM3_FIELD_INT(test_model, heads, "4", 1, 1024, "", "of attention"),
    CM3_FIELD_INT_LIST(test_model, channels, "[1, 2, 2, 4]", 1, 64, "", "multipliers"),
    CM3_FIELD_STRING_LIST(test_model, tags, "[]", "labels"),
    CM3_FIELD_END};
static const cm3_field test_tune_fields[] = {
    CM3_FIELD_INT(test_train, steps, "3", 1, 1000000, "steps", "how long to tune"),
    CM3_FIELD_CHOICE(test_train, schedule, "cosine", test_schedules, "how the learning rate falls while tuning"),
    CM3_FIELD_STRING(test_train, note, "", "free text"), CM3_FIELD_END};
static const cm3_field test_no_fields[] = {CM3_FIELD_END};
static const cm3_section test_sections[] = {
    {"", test_top_fields, offsetof(test_recipe, top), "the run"},
    {"train", test_train_fields, offsetof(test_recipe, train), "the loop"},
    {"model", test_model_fields, offsetof(test_recipe, model), "the network"},
    {"tune", test_no_fields, 0, "sections inside of a section"},
    {"tune.network", test_model_fields, offsetof(test_recipe, tune.network), "its network"},
    {"tune.train", test_tune_fields, offsetof(test_recipe, tune.train), "its loop"},
    {NULL, NULL, 0, NULL}};
static const cm3_rename test_renames[] = {{"tuning.length", "tune.train.steps"},
                                          {"tuning", "tune.train"},
                                          {"model.size", "model.width"},
                                          {"tune.train.schedule=flat", "constant"},
                                          {NULL, NULL}};

static void test_check(const void *recipe, cm3_faults *faults) {
    const test_model *model = &((const test_recipe *)recipe)->model;
    if (model->width % model->heads)
        cm3_faults_add(faults, "model", "heads", "%d heads do not divide a width of %d", (int)model->heads,
                       (int)model->width);
}

static const cm3_schema test_schema = {
    .sections = test_sections, .renames = test_renames, .size = sizeof(test_recipe), .check = test_check};

#endif
