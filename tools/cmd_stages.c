/* The commands that run one stage each, and `run`, which runs them all. */
#include "tools/session.h"

static const cm3_option options[] = {CM3_STAGE_OPTIONS, CM3_OPTION_END};

#define STAGE_USAGE(text)                                                                                              \
    {                                                                                                                  \
        .arguments = "RECIPE [section.key=value ...]", .min_arguments = 1, .max_arguments = 1,                         \
        .takes_overrides = true, .options = options, .explanation = (text)                                             \
    }

#define STAGE_COMMAND(name, text)                                                                                      \
    const cm3_usage cm3_usage_##name = STAGE_USAGE(text);                                                              \
    cm3_status cm3_cmd_##name(const cm3_command_line *line) {                                                          \
        return cm3_session_run_stages(line, &(const cm3_stage_function){cm3_stage_##name}, 1);                         \
    }

STAGE_COMMAND(
    text_tokenizer,
    "Trains the byte-level BPE on the captions of the recipe's source and writes OUT/text-tokenizer/tokenizer.json,\n"
    "a file that Hugging Face's tokenizers read, too. Validation captions are not read.\n\n"
    "    cm3leon text-tokenizer configs/emoji-quick.yaml\n")

STAGE_COMMAND(
    image_tokenizer,
    "Trains the VQ network that turns a image into codes and back. Goes on from its newest checkpoint; SIGUSR1 or\n"
    "SIGTERM saves one and stops (exit code 3).\n\n"
    "    mpirun -n 2 cm3leon image-tokenizer configs/emoji-quick.yaml image_tokenizer.train.steps=500\n")

STAGE_COMMAND(tokenize, "Turns every pair of the source into text tokens and image codes: OUT/tokenize/store.h5 and "
                        "vocab.json. Needs both\n"
                        "tokenizers.\n\n"
                        "    mpirun -n 2 cm3leon tokenize configs/emoji-quick.yaml\n")

STAGE_COMMAND(
    pretrain,
    "Trains the transformer on the token store with the CM3 objective. Goes on from its newest checkpoint, on any "
    "number of\n"
    "ranks; SIGUSR1 or SIGTERM saves one and stops (exit code 3). Watch it with: tensorboard --logdir OUT/pretrain\n\n"
    "    mpirun -n 2 cm3leon pretrain configs/emoji-quick.yaml\n")

const cm3_usage cm3_usage_run =
    STAGE_USAGE("Every stage of the recipe in order: text-tokenizer, image-tokenizer, tokenize, pretrain. A stage "
                "whose settings and inputs\n"
                "have not changed is skipped, an unfinished one goes on from its newest checkpoint.\n\n"
                "    mpirun -n 2 cm3leon run configs/emoji-quick.yaml out=out/mine pretrain.train.steps=200\n");

cm3_status cm3_cmd_run(const cm3_command_line *line) {
    const cm3_stage_function stages[] = {cm3_stage_text_tokenizer, cm3_stage_image_tokenizer, cm3_stage_tokenize,
                                         cm3_stage_pretrain};
    return cm3_session_run_stages(line, stages, sizeof stages / sizeof *stages);
}
