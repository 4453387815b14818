/* OSDP Secure Channel, the device's side: session keys, cryptograms, MAC chain, data encryption.
 * Source: SIA OSDP 2.2, annex D. */
#ifndef SECURE_CHANNEL_H
#define SECURE_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aes128.h"
#include "osdp_frame.h"

#define SC_RANDOM 8U

struct sc_session {
    struct aes128 enc;
    struct aes128 mac1;
    struct aes128 mac2;
    uint8_t command_mac[AES128_BLOCK];
    uint8_t reply_mac[AES128_BLOCK];
};

/* Derive the session keys from the door's key and the panel's random bytes. */
void sc_derive(struct sc_session *session, const struct aes128 *scbk,
               const uint8_t rnd_a[SC_RANDOM]);

/* The device's proof is (rnd_a, rnd_b), the panel's is (rnd_b, rnd_a). */
void sc_cryptogram(const struct sc_session *session, const uint8_t first[SC_RANDOM],
                   const uint8_t second[SC_RANDOM], uint8_t proof[AES128_BLOCK]);

/* Start the MAC chain; `reply_mac` is then R-MAC-I. */
void sc_begin(struct sc_session *session, const uint8_t server_proof[AES128_BLOCK]);

/* Check and decrypt a command. False: no MAC, a wrong one, or wrong padding; then nothing has
 * changed. `data` takes up to OSDP_FRAME_MAX bytes. */
bool sc_open_command(struct sc_session *session, const struct osdp_frame *frame, uint8_t *data,
                     size_t *length);

/* Write a reply of at most 15 bytes of data; return the number of bytes to send. */
size_t sc_seal_reply(struct sc_session *session, uint8_t reply[OSDP_REPLY_MAX], uint8_t address,
                     uint8_t sqn, uint8_t code, const uint8_t *data, size_t length);

#endif
