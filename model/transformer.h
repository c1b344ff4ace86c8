/* The transformer: one decoder over one stream of text and image tokens.
 *
 * Two architectures, chosen by a recipe's `model.architecture`:
 *
 *   cm3leon     Yu et al., "Scaling Autoregressive Multi-Modal Models", 2023 (arXiv 2309.02591): OPT's decoder without
 *               biases, dropout and learnable norms; LayerNorm before attention and FFN, ReLU, learned positions, tied
 *               embeddings.
 *   chameleon   Chameleon Team, "Mixed-Modal Early-Fusion Foundation Models", 2024 (arXiv 2405.09818): RMSNorm, SwiGLU,
 *               rotary positions, normalised queries and keys, an output table of its own, z-loss.
 *
 * cm3_network_open() declares its parameters; the functions below record it on a tape for training, scoring or
 * generation. Buckets: 0 the embeddings, 1..layers the blocks, layers + 1 the output.
 * B sequences, S tokens each, d width, V vocabulary. */
#ifndef CM3_MODEL_TRANSFORMER_H
#define CM3_MODEL_TRANSFORMER_H

#include "model/network.h"

typedef enum cm3_architecture { CM3_ARCHITECTURE_CM3LEON, CM3_ARCHITECTURE_CHAMELEON } cm3_architecture;

/* How a token knows where it stands: a learned table added to the embeddings, or rotated queries and keys. AUTO is
 * the architecture's own. */
typedef enum cm3_positions { CM3_POSITIONS_AUTO, CM3_POSITIONS_LEARNED, CM3_POSITIONS_ROTARY } cm3_positions;

typedef struct cm3_transformer_config {
    int architecture; /* cm3_architecture */
    int positions;    /* cm3_positions */
    int64_t layers, width, heads;
    int64_t kv_heads; /* 0: as many as heads */
    int64_t ffn;      /* 0: 4 x width */
    int64_t context;  /* tokens the model can see: rows of the learned position table */
    double init_std, position_std;
    double norm_epsilon;
    double rotary_theta;
    double z_loss; /* chameleon */
    int recompute; /* cm3_recompute */
} cm3_transformer_config;

extern const cm3_field cm3_transformer_fields[];

/* The kind "transformer"; a cm3_network of it has a cm3_transformer as its model. `vocabulary` of its options: rows of
 * the embedding table. */
extern const cm3_network_kind cm3_transformer_kind;
typedef struct cm3_transformer cm3_transformer;

const cm3_transformer_config *cm3_transformer_get_config(const cm3_transformer *model);
int64_t cm3_transformer_vocabulary(const cm3_transformer *model);
const cm3_params *cm3_transformer_params(const cm3_transformer *model);

/* A step of training or scoring: B sequences of S tokens. The arrays are the caller's, and are read at every run of the
 * tape. */
typedef struct cm3_sequence_batch {
    int64_t batch, sequence;
    int32_t *ids, *targets, *positions; /* (B S); a negative target is ignored */
    float *weights;                     /* (B S), of the targets' losses; NULL: all are 1 */
    float *scale;                       /* (1): what the sum of losses is multiplied with, usually 1 / sum of weights */
} cm3_sequence_batch;

/* Records the network and its loss. `per_token`, when not NULL, receives the (B S) cross-entropies, kept. The caller
 * makes the loss a root with cm3_tape_loss (training) or keeps it (scoring). */
cm3_var *cm3_transformer_loss(const cm3_transformer *model, cm3_tape *tape, const cm3_sequence_batch *batch,
                              cm3_var **per_token);

/* Keys and values of the tokens so far, for generation: where the model's parameters are, in their type there. */
typedef struct cm3_kv_cache {
    const cm3_memory *memory;
    cm3_dtype type;
    int64_t batch, positions, layers, width;
    void *keys, *values; /* (layers, B, P, width) */
} cm3_kv_cache;

cm3_status cm3_kv_cache_create(const cm3_transformer *model, int64_t batch, int64_t positions, cm3_kv_cache *cache);
void cm3_kv_cache_free(cm3_kv_cache *cache);

/* T more tokens of rows first..first+rows-1 of the cache, whose lengths so far are in `start`. The arrays are the
 * caller's, in the memory where the cache is, and read at every run. */
typedef struct cm3_cached_step {
    const cm3_kv_cache *cache;
    int64_t first_row, rows, tokens;
    int32_t *ids, *positions; /* (rows T) */
    int32_t *start;           /* (rows) */
} cm3_cached_step;

/* Records T tokens with the cache, up to the last hidden state; with `logits`, which needs T = 1, gives the logits
 * (rows, V) in f32, kept, otherwise the hidden state. */
cm3_var *cm3_transformer_step(const cm3_transformer *model, cm3_tape *tape, const cm3_cached_step *step, bool logits);

/* Bytes that a step of one token reads at least: every parameter but the tables of which it takes rows, and keys and
 * values of `positions` tokens of each row. */
double cm3_transformer_step_bytes(const cm3_transformer *model, cm3_dtype type, int64_t rows, double positions);

#endif
