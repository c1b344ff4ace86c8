/* A checkpoint's manifest, sealed with the right checksum so that the parser behind the seal is reached. */
#include "train/checkpoint_internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse(const char *text, size_t length) {
    cm3__manifest manifest;
    if (cm3__manifest_parse("fuzz", text, length, &manifest) != CM3_OK) return;
    for (int d = 0; d < manifest.dataset_count; d++) {
        int64_t elements = 0; /* what was accepted must be consistent */
        for (int s = 0; s < manifest.shard_count; s++) {
            const cm3__region *region = &manifest.shards[s].regions[d];
            elements += cm3_range_length(region->range);
            if (region->bytes < 0 || region->bytes > manifest.shards[s].bytes) abort();
        }
        if (elements != manifest.datasets[d].total) abort();
    }
    cm3__manifest_free(&manifest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    parse((const char *)data, size);
    char *sealed = malloc(size + 64), hex[CM3_HASH_HEX];
    if (sealed == NULL) return 0;
    if (size > 0) memcpy(sealed, data, size);
    cm3_hash_to_hex(cm3_hash_bytes(data, size), hex);
    const int seal = snprintf(sealed + size, 64, ",\"hash\":\"%s\"}\n", hex);
    parse(sealed, size + (size_t)seal);
    free(sealed);
    return 0;
}
