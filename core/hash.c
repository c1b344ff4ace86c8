#include "core/hash.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* --- XXH3-128 ---------------------------------------------------------------------------------------------------- */

struct cm3_hasher {
    XXH3_state_t *state;
};

static cm3_hash from_xxh(XXH128_hash_t hash) {
    return (cm3_hash){.high = hash.high64, .low = hash.low64};
}

cm3_hash cm3_hash_bytes(const void *data, size_t length) {
    return from_xxh(XXH3_128bits(data, length));
}

bool cm3_hash_equal(cm3_hash a, cm3_hash b) {
    return a.high == b.high && a.low == b.low;
}

cm3_hasher *cm3_hasher_new(void) {
    cm3_hasher *hasher = malloc(sizeof *hasher);
    if (!hasher) return NULL;
    hasher->state = XXH3_createState();
    if (!hasher->state) {
        free(hasher);
        return NULL;
    }
    XXH3_128bits_reset(hasher->state);
    return hasher;
}

void cm3_hasher_add(cm3_hasher *hasher, const void *data, size_t length) {
    if (hasher && length) XXH3_128bits_update(hasher->state, data, length);
}

cm3_hash cm3_hasher_value(const cm3_hasher *hasher) {
    return hasher ? from_xxh(XXH3_128bits_digest(hasher->state)) : (cm3_hash){0, 0};
}

void cm3_hasher_free(cm3_hasher *hasher) {
    if (!hasher) return;
    XXH3_freeState(hasher->state);
    free(hasher);
}

/* --- hexadecimal ------------------------------------------------------------------------------------------------- */

void cm3_hash_to_hex(cm3_hash hash, char hex[CM3_HASH_HEX]) {
    snprintf(hex, CM3_HASH_HEX, "%016" PRIx64 "%016" PRIx64, hash.high, hash.low);
}

bool cm3_hash_from_hex(const char *hex, cm3_hash *hash) {
    if (strlen(hex) != 32 || strspn(hex, "0123456789abcdefABCDEF") != 32) return false;
    return sscanf(hex, "%16" SCNx64 "%16" SCNx64, &hash->high, &hash->low) == 2;
}

/* --- CRC-32C ----------------------------------------------------------------------------------------------------- */

enum { CRC32C_POLYNOMIAL = 0x82F63B78 };

/* Eight tables, so that eight bytes are looked up at once ("slicing by 8"): about 2 GB/s on any machine. */
static uint32_t crc_tables[8][256];
static pthread_once_t crc_once = PTHREAD_ONCE_INIT;

static void make_crc_tables(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? (uint32_t)CRC32C_POLYNOMIAL : 0);
        crc_tables[0][byte] = crc;
    }
    for (int t = 1; t < 8; t++)
        for (int byte = 0; byte < 256; byte++)
            crc_tables[t][byte] = crc_tables[t - 1][byte] >> 8 ^ crc_tables[0][crc_tables[t - 1][byte] & 255];
}

uint32_t cm3_crc32c(uint32_t crc, const void *data, size_t length) {
    pthread_once(&crc_once, make_crc_tables);
    const unsigned char *bytes = data;
    crc = ~crc;
    for (; length >= 8; length -= 8, bytes += 8) {
        const uint32_t low =
            crc ^ ((uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24);
        crc = crc_tables[7][low & 255] ^ crc_tables[6][low >> 8 & 255] ^ crc_tables[5][low >> 16 & 255] ^
              crc_tables[4][low >> 24] ^ crc_tables[3][bytes[4]] ^ crc_tables[2][bytes[5]] ^ crc_tables[1][bytes[6]] ^
              crc_tables[0][bytes[7]];
    }
    for (; length; length--, bytes++) crc = crc >> 8 ^ crc_tables[0][(crc ^ *bytes) & 255];
    return ~crc;
}
