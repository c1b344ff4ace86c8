/* The token store of a run: OUT/tokenize/store.h5, and what the run expects of it. */
#ifndef CM3_TRAIN_TOKEN_STORE_H
#define CM3_TRAIN_TOKEN_STORE_H

#include "data/store.h"
#include "train/recipe.h"

/* What token ids of this recipe depend on; the vocabulary names the tokenizers. */
cm3_store_inputs cm3_token_store_inputs(const cm3_recipe *recipe, const cm3_vocab *vocab);
/* Opens the store; CM3_ERR_FORMAT if it was made with other inputs. */
cm3_status cm3_token_store_open(const cm3_recipe *recipe, const cm3_vocab *vocab, cm3_store **store);
/* The codes of a sample that is a pair [text, image of `codes` codes]; CM3_ERR_FORMAT if it is not. */
cm3_status cm3_token_store_pair_codes(cm3_store *store, int64_t index, int64_t count, int32_t *codes);

#endif
