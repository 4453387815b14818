/* The device's 8 random bytes of each handshake, for parts without a random generator.
 *
 * AES over (count of starts, count of challenges, noise) under a secret of this device: nobody
 * without the secret can foresee one, and none comes twice as long as the count of starts, which
 * lives in non-volatile memory, never goes back. That is what makes a recorded session worthless
 * after power-up. A part with a true random generator uses it instead (see the README). */
#ifndef NONCE_H
#define NONCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aes128.h"

#define NONCE_LENGTH 8U
#define BOOT_RECORD_LENGTH 12U

struct nonce_source {
    struct aes128 secret;
    uint32_t boots;
    uint32_t challenges;
};

void nonce_init(struct nonce_source *source, const uint8_t secret[AES128_BLOCK], uint32_t boots);

/* `noise`: whatever the board measures that nobody controls; may be 0. False: all used up. */
bool nonce_next(struct nonce_source *source, uint32_t noise, uint8_t nonce[NONCE_LENGTH]);

/* The count of starts is kept twice, so that power lost in the middle of a write costs one copy.
 * From the two records found, choose the count of this start and the copy to overwrite (0 or 1).
 * False: no copy is valid and not both are blank, or the count is used up; then the device must
 * not answer challenges. */
bool boot_record_choose(const uint8_t records[2][BOOT_RECORD_LENGTH], uint32_t *boots,
                        unsigned *copy);
void boot_record_encode(uint32_t boots, uint8_t record[BOOT_RECORD_LENGTH]);

#endif
