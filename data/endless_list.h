/* The training elements of all epochs, shuffled, as one endless list: samples of a token store, images of a source.
 *
 * Number g of the list is element g mod N of epoch g / N's permutation of N elements. The permutation is computed
 * (cm3_rng_permute), not stored: any number can be asked for, and a reader is resumed by the number alone. */
#ifndef CM3_DATA_ENDLESS_LIST_H
#define CM3_DATA_ENDLESS_LIST_H

#include "core/rng.h"

/* Which of `count` elements stands at `number`. */
static inline int64_t cm3_endless_list_at(int64_t seed, int64_t count, int64_t number) {
    const uint64_t n = (uint64_t)count, g = (uint64_t)number;
    return (int64_t)cm3_rng_permute((uint64_t)seed, CM3_RNG_SHUFFLE, g / n, g % n, n);
}

#endif
