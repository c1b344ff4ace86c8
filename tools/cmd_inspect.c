/* `inspect`: the content of any file of a run, as text or JSON. */
#include "core/auto.h"
#include "core/json.h"
#include "data/inspect_block.h"
#include "tools/inspect_store.h"
#include "tools/session.h"
#include "train/generate/tokenizers.h"
#include "train/run_folder.h"
#include "train/token_store.h"

#include <stdlib.h>
#include <string.h>

static const cm3_option options[] = {
    {"step", "S", "of a recipe: the block of this step (the first is 0)"},
    {"slot", "L", "of a recipe: the block of this sequence slot (0)"},
    {"sample", "I", "of a token store: segments, token ids and strings of this sample (the first is 0)"},
    {"digest", NULL, "of a checkpoint: one hash of names, shapes and values of its parameters"},
    {"moments", NULL, "with --digest: of the optimizer's moments, too"},
    CM3_OPTION_JSON,
    CM3_OPTION_END};

const cm3_usage cm3_usage_inspect = {
    .arguments = "PATH [section.key=value ...]",
    .min_arguments = 1,
    .max_arguments = 1,
    .takes_overrides = true,
    .options = options,
    .explanation =
        "Prints what a file or folder of a run holds: a checkpoint (or a stage's folder: its newest one), a token "
        "store, a vocabulary, a text\n"
        "tokenizer. Of a recipe it prints what the model sees at a step: which samples, which spans were masked.\n\n"
        "    cm3leon inspect out/emoji-quick/pretrain --digest\n"
        "    cm3leon inspect out/emoji-quick/tokenize/store.h5 --sample 7\n"
        "    cm3leon inspect configs/emoji-quick.yaml --step 100 --slot 3\n"};

static bool ends_with(const char *text, const char *end) {
    const size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

/* --- checkpoints ------------------------------------------------------------------------------------------------- */

static void print_checkpoint(const char *path, const cm3_checkpoint_info *info, const cm3_network_kind *kind) {
    printf("%s\n  %s, step %lld, %lld %ss seen, seed %llu\n", path, kind->name, (long long)info->state.step,
           (long long)info->state.tokens, kind->item, (unsigned long long)info->state.seed);
    printf("  %lld parameters in %lld tensors, %d shard%s, %.1f MiB\n", (long long)info->parameters,
           (long long)info->tensor_count, info->shards, info->shards == 1 ? "" : "s", (double)info->bytes / 0x1p20);
    for (int64_t i = 0; i < info->tensor_count; i++) {
        char shape[96];
        printf("    %-36s %s\n", info->tensors[i].name, cm3_shape_text(info->tensors[i].shape, shape));
    }
}

static cm3_status inspect_checkpoint(const cm3_command_line *line, const char *path) {
    static const char *const buffers[] = {"parameters", "m", "v"}, *const keys[] = {"digest", "digest_m", "digest_v"};
    const bool json = cm3_option_given(line, "json"), moments = cm3_option_given(line, "moments");
    const int count = !cm3_option_given(line, "digest") && !json ? 0 : moments ? 3 : 1;
    CM3_AUTO(cm3_checkpoint_info_free) cm3_checkpoint_info info = {0};
    const cm3_network_kind *kind;
    char hex[3][CM3_HASH_HEX];
    CM3_TRY(cm3_checkpoint_read_info(path, &info));
    CM3_TRY(cm3_network_find(info.state.kind, &kind));
    for (int i = 0; i < count; i++) {
        cm3_hash hash;
        CM3_TRY(cm3_checkpoint_digest(path, buffers[i], &hash));
        cm3_hash_to_hex(hash, hex[i]);
    }
    if (json) {
        cm3_json_writer w = cm3_json_writer_on(stdout);
        cm3_json_begin_object(&w, NULL);
        cm3_json_put_string(&w, "path", path);
        cm3_json_put_string(&w, "kind", info.state.kind);
        cm3_json_put_int(&w, "step", info.state.step);
        cm3_json_put_int(&w, "tokens", info.state.tokens);
        cm3_json_put_int(&w, "parameters", info.parameters);
        cm3_json_put_int(&w, "shards", info.shards);
        for (int i = 0; i < count; i++) cm3_json_put_string(&w, keys[i], hex[i]);
        cm3_json_end_object(&w);
        cm3_json_end_line(&w);
    } else if (count) {
        for (int i = 0; i < count; i++) printf(count > 1 ? "%s %s\n" : "%s\n", hex[i], buffers[i]);
    } else {
        print_checkpoint(path, &info, kind);
    }
    return CM3_OK;
}

/* --- what the model sees ----------------------------------------------------------------------------------------- */

CM3_AUTO_CLOSE(cm3_store_close, cm3_store)
CM3_AUTO_CLOSE(cm3_packer_free, cm3_packer)

static cm3_status print_block(const cm3_command_line *line, const cm3_session *session, cm3_tokenizers *tokenizers) {
    const cm3_data_config *config = &session->recipe.pretrain.data;
    int64_t step = 0, slot = 0;
    CM3_TRY(cm3_option_int(line, "step", 0, INT64_MAX, &step));
    CM3_TRY(cm3_option_int(line, "slot", 0, config->batch - 1, &slot));
    CM3_AUTO(cm3_store_close_auto) cm3_store *store = NULL;
    CM3_AUTO(cm3_packer_free_auto) cm3_packer *packer = NULL;
    CM3_AUTO(cm3_block_free) cm3_block block = {0};
    CM3_TRY(cm3_token_store_open(&session->recipe, &tokenizers->vocab, &store));
    CM3_TRY(cm3_packer_new(config, &tokenizers->vocab, store, &packer));
    CM3_TRY(cm3_block_init(&block, config));
    CM3_TRY(cm3_block_rebuild(packer, config, slot, step, &block));
    return cm3_block_print(stdout, &block, config, &tokenizers->vocab, store,
                           &(cm3_text_decoder){cm3_tokenizers_decode_text, tokenizers});
}

static cm3_status inspect_recipe(const cm3_command_line *line) {
    CM3_AUTO(cm3_session_close) cm3_session session = {0};
    CM3_AUTO(cm3_tokenizers_close) cm3_tokenizers tokenizers = {0};
    CM3_TRY(cm3_session_load(line, &session));
    if (!cm3_option_given(line, "step") && !cm3_option_given(line, "slot")) {
        fputs(session.config_text, stdout);
        return CM3_OK;
    }
    CM3_TRY(cm3_tokenizers_open(&session.recipe, cm3_backend_cpu(), &tokenizers));
    return print_block(line, &session, &tokenizers);
}

/* --- other files ------------------------------------------------------------------------------------------------- */

static cm3_status inspect_vocab(const char *path) {
    static const char *const names[] = {
#define X(role, name, text) name,
        CM3_REGION_LIST(X)
#undef X
    };
    cm3_vocab vocab;
    CM3_TRY(cm3_vocab_load(path, &vocab));
    printf("%s\n  %d ids\n", path, vocab.size);
    for (int r = 0; r < CM3_REGION_COUNT; r++)
        printf("    %-10s %d .. %d\n", names[r], vocab.region[r].first,
               vocab.region[r].first + vocab.region[r].count - 1);
    return CM3_OK;
}

static cm3_status inspect_tokenizer(const char *path) {
    cm3_bpe *bpe;
    CM3_TRY(cm3_bpe_load(path, &bpe));
    printf("%s\n  byte-level BPE of %zu tokens, fingerprint %016llx\n", path, cm3_bpe_size(bpe),
           (unsigned long long)cm3_bpe_fingerprint(bpe));
    cm3_bpe_free(bpe);
    return CM3_OK;
}

cm3_status cm3_cmd_inspect(const cm3_command_line *line) {
    const char *path = line->arguments[0];
    if (!cm3_path_exists(path)) return cm3_fail(CM3_ERR_NOT_FOUND, "%s: does not exist", path);
    if (ends_with(path, ".yaml") || ends_with(path, ".yml")) return inspect_recipe(line);
    if (ends_with(path, "store.h5")) return cm3_inspect_store(line, path);
    if (ends_with(path, "vocab.json")) return inspect_vocab(path);
    if (ends_with(path, "tokenizer.json")) return inspect_tokenizer(path);
    const cm3_path stage = cm3_path_join(path, "pretrain");
    cm3_path checkpoint;
    CM3_TRY(cm3_checkpoint_find(cm3_path_is_folder(stage.text) ? stage.text : path, &checkpoint));
    return inspect_checkpoint(line, checkpoint.text);
}
