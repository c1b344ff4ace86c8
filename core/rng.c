#include "core/rng.h"

#include <math.h>

enum { ROUNDS = 10 };

static void philox_round(uint32_t c[4], const uint32_t k[2]) {
    const uint64_t p0 = (uint64_t)0xD2511F53u * c[0];
    const uint64_t p1 = (uint64_t)0xCD9E8D57u * c[2];
    const uint32_t next[4] = {(uint32_t)(p1 >> 32) ^ c[1] ^ k[0], (uint32_t)p1, (uint32_t)(p0 >> 32) ^ c[3] ^ k[1],
                              (uint32_t)p0};
    for (int i = 0; i < 4; i++) c[i] = next[i];
}

void cm3_rng_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t k[2] = {key[0], key[1]};
    for (int i = 0; i < 4; i++) out[i] = counter[i];
    for (int round = 0; round < ROUNDS; round++) {
        philox_round(out, k);
        k[0] += 0x9E3779B9u;
        k[1] += 0xBB67AE85u;
    }
}

static uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

cm3_rng cm3_rng_stream(uint64_t seed, cm3_rng_purpose purpose, uint64_t a, uint64_t b) {
    /* Key from seed and purpose, the upper counter words from (a, b): distinct keys cannot share counters by
     * accident. */
    const uint64_t key = mix(seed + 0x9E3779B97F4A7C15u * (uint64_t)purpose);
    const uint64_t stream = mix(mix(a + 0x632BE59BD9B4E019u) + b);
    return (cm3_rng){.key = {(uint32_t)key, (uint32_t)(key >> 32)},
                     .counter = {0, 0, (uint32_t)stream, (uint32_t)(stream >> 32)},
                     .used = 4};
}

uint32_t cm3_rng_u32(cm3_rng *rng) {
    if (rng->used == 4) {
        cm3_rng_philox(rng->counter, rng->key, rng->block);
        if (++rng->counter[0] == 0) rng->counter[1]++;
        rng->used = 0;
    }
    return rng->block[rng->used++];
}

uint64_t cm3_rng_u64(cm3_rng *rng) {
    const uint64_t low = cm3_rng_u32(rng);
    return low | (uint64_t)cm3_rng_u32(rng) << 32;
}

float cm3_rng_float(cm3_rng *rng) {
    return (float)(cm3_rng_u32(rng) >> 8) * 0x1p-24f;
}

double cm3_rng_double(cm3_rng *rng) {
    return (double)(cm3_rng_u64(rng) >> 11) * 0x1p-53;
}

uint64_t cm3_rng_below(cm3_rng *rng, uint64_t bound) {
    if (bound < 2) return 0;
    const uint64_t limit = UINT64_MAX - UINT64_MAX % bound; /* values from here on would favour the small ones */
    uint64_t x;
    do x = cm3_rng_u64(rng);
    while (x >= limit);
    return x % bound;
}

double cm3_rng_normal(cm3_rng *rng) {
    const double u = 1.0 - cm3_rng_double(rng); /* (0, 1]: the logarithm is finite */
    const double v = cm3_rng_double(rng);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

unsigned cm3_rng_poisson(cm3_rng *rng, double mean) {
    const double limit = exp(-mean);
    double product = 1.0;
    unsigned count = 0;
    while ((product *= cm3_rng_double(rng)) > limit) count++;
    return count;
}

uint64_t cm3_rng_permute(uint64_t seed, cm3_rng_purpose purpose, uint64_t epoch, uint64_t index, uint64_t size) {
    if (size < 2) return 0;
    unsigned bits = 64u - (unsigned)__builtin_clzll(size - 1);
    if (bits < 2) bits = 2;
    const unsigned half = (bits + 1) / 2;
    const uint32_t mask = half >= 32 ? UINT32_MAX : (1u << half) - 1;
    const uint64_t key = mix(mix(seed + 0x9E3779B97F4A7C15u * (uint64_t)purpose) + epoch);
    const uint32_t k[2] = {(uint32_t)key, (uint32_t)(key >> 32)};
    uint64_t x = index;
    do { /* walk the cycle until the value falls inside; at most four times the size is covered, so this is short */
        uint32_t left = (uint32_t)(x >> half) & mask, right = (uint32_t)x & mask;
        for (uint32_t round = 0; round < 6; round++) {
            const uint32_t counter[4] = {right, round, 0, 0};
            uint32_t out[4];
            cm3_rng_philox(counter, k, out);
            const uint32_t next = (left ^ out[0]) & mask;
            left = right;
            right = next;
        }
        x = (uint64_t)left << half | right;
    } while (x >= size);
    return x;
}
