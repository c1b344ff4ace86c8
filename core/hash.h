/* Hashes: XXH3-128 to tell contents apart, CRC-32C where a file format asks for it. Neither is for secrets. */
#ifndef CM3_CORE_HASH_H
#define CM3_CORE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cm3_hash { uint64_t high, low; } cm3_hash;

cm3_hash cm3_hash_bytes(const void *data, size_t length);
bool cm3_hash_equal(cm3_hash a, cm3_hash b);
/* 32 lower-case hexadecimal digits and a zero byte. */
enum { CM3_HASH_HEX = 33 };
void cm3_hash_to_hex(cm3_hash hash, char hex[CM3_HASH_HEX]);
/* False if `hex` is not 32 hexadecimal digits. */
bool cm3_hash_from_hex(const char *hex, cm3_hash *hash);

/* The same hash from pieces, however they are cut. NULL when memory is out; the other calls allow NULL, and give a hash
 * of 0. */
typedef struct cm3_hasher cm3_hasher;
cm3_hasher *cm3_hasher_new(void);
void cm3_hasher_add(cm3_hasher *hasher, const void *data, size_t length);
cm3_hash cm3_hasher_value(const cm3_hasher *hasher); /* of all added so far */
void cm3_hasher_free(cm3_hasher *hasher);

/* CRC-32C (Castagnoli polynomial, reflected; RFC 3720 appendix B.4). Start with 0 and pass the result on for the next
 * piece. */
uint32_t cm3_crc32c(uint32_t crc, const void *data, size_t length);

#endif
