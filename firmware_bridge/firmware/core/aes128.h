/* AES-128 (FIPS 197), one block at a time, without tables: no load address and no branch depends
 * on key or data, so neither cache nor flash timing tells anything. */
#ifndef AES128_H
#define AES128_H

#include <stdint.h>

#define AES128_BLOCK 16U

struct aes128 {
    uint32_t round_keys[44]; /* one word a column, first byte in the low bits */
};

void aes128_expand(struct aes128 *aes, const uint8_t key[AES128_BLOCK]);

/* `in` and `out` may be the same. */
void aes128_encrypt(const struct aes128 *aes, const uint8_t in[AES128_BLOCK],
                    uint8_t out[AES128_BLOCK]);
void aes128_decrypt(const struct aes128 *aes, const uint8_t in[AES128_BLOCK],
                    uint8_t out[AES128_BLOCK]);

#endif
