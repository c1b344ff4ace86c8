/* Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
 *
 * A stream is a pure function of (seed, purpose, a, b): nothing is stored between steps, so any draw of any step can be
 * made again anywhere. `purpose` separates uses that share a seed; a and b name the thing the draw is for (an epoch
 * and a sample, a step and a slot, a parameter's index). Streams of different keys are independent. */
#ifndef CM3_CORE_RNG_H
#define CM3_CORE_RNG_H

#include <stddef.h>
#include <stdint.h>

typedef enum cm3_rng_purpose {
    CM3_RNG_INIT = 1, /* a parameter's initial values      a: parameter index  b: chunk of 65,536     */
    CM3_RNG_SHUFFLE,  /* order of an epoch                 a: epoch            b: 0                    */
    CM3_RNG_SAMPLE,   /* what is drawn for one sample      a: epoch            b: sample               */
    CM3_RNG_SPANS,    /* CM3 masks of one block            a: sequence slot    b: block of that slot   */
    CM3_RNG_CROP,     /* images for the image tokenizer    a: step             b: position in batch    */
    CM3_RNG_RESTART,  /* codebook restarts                 a: step             b: code                 */
    CM3_RNG_SPLIT,    /* validation split                    a: 0                b: sample               */
    CM3_RNG_DECODE,   /* sampling while generating         a: sample           b: position             */
    CM3_RNG_TEST
} cm3_rng_purpose;

typedef struct cm3_rng {
    uint32_t key[2];
    uint32_t counter[4]; /* [0..1]: blocks drawn; [2..3]: which stream of the key */
    uint32_t block[4];
    unsigned used; /* words of `block` already given out */
} cm3_rng;

cm3_rng cm3_rng_stream(uint64_t seed, cm3_rng_purpose purpose, uint64_t a, uint64_t b);

uint32_t cm3_rng_u32(cm3_rng *rng);
uint64_t cm3_rng_u64(cm3_rng *rng);
/* Uniform in [0, 1), 24 and 53 bits. */
float cm3_rng_float(cm3_rng *rng);
double cm3_rng_double(cm3_rng *rng);
/* Uniform in [0, bound), exactly; bound 0 gives 0. */
uint64_t cm3_rng_below(cm3_rng *rng, uint64_t bound);
/* Standard normal. */
double cm3_rng_normal(cm3_rng *rng);
/* Poisson with the given mean (exact, for small means). */
unsigned cm3_rng_poisson(cm3_rng *rng, double mean);

/* A seeded bijection of [0, size): element `index` of the shuffled order, without a table (a Feistel network over
 * Philox rounds with cycle walking). This is the `perm` of an epoch. */
uint64_t cm3_rng_permute(uint64_t seed, cm3_rng_purpose purpose, uint64_t epoch, uint64_t index, uint64_t size);

/* The raw function, for tests against the published vectors. */
void cm3_rng_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

#endif
