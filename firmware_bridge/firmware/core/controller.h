/* The controller: an OSDP peripheral device (PD) in front of a turnstile. Pure: bytes of the line,
 * samples of the inputs and time go in, replies and relay states come out. No allocation.
 *
 * It answers only frames for its own address. Outside a session it says who it is (ID, CAP), lets
 * a panel that holds the door's key build the Secure Channel, and refuses all else. Inside a
 * session everything that is not authentic is dropped; only a handshake that proves the key can
 * take a session's place. KEYSET, COMSET and file transfer do not exist here. */
#ifndef CONTROLLER_H
#define CONTROLLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "key_page.h"
#include "nonce.h"
#include "osdp_frame.h"
#include "secure_channel.h"
#include "turnstile.h"

enum {
    /* Without a valid command for so long the session is over and the entry relay falls. The
     * standard would allow 8 s; a frame that somebody held back may open for as long. */
    LINK_LOSS_MS = 1000,
    HANDSHAKE_MS = 1000, /* a challenge waits so long for its proof */
    FRAME_GAP_MS = 100,  /* a frame that does not go on for so long is given up */
};

/* The frame answered last, and the answer: asked again, it is said again, and nothing is done. */
struct controller_exchange {
    bool known;
    uint8_t sqn;
    uint8_t command[OSDP_FRAME_MAX];
    size_t command_length;
    uint8_t reply[OSDP_REPLY_MAX];
    size_t reply_length;
};

struct controller {
    struct turnstile turnstile;
    struct osdp_decoder decoder;
    uint16_t frame_gap_ms;

    uint8_t address;
    uint32_t serial;
    bool may_answer;    /* has a door's key */
    bool may_handshake; /* and can make fresh nonces */
    struct aes128 scbk;
    struct nonce_source nonces;

    bool in_session;
    uint16_t link_left_ms;
    struct sc_session session;
    struct controller_exchange secured;

    uint16_t handshake_left_ms; /* 0: none under way */
    struct sc_session handshake;
    uint8_t server_proof[AES128_BLOCK];
    struct controller_exchange clear;
};

/* `page` is NULL in a device that has no key: it never answers, but still obeys the fire loop.
 * `boots` is 0 when the count of starts cannot be trusted: no sessions then. */
void controller_init(struct controller *controller, const struct key_page *page, uint32_t boots,
                     uint8_t sample);

/* Take one byte from the line. Returns the length of the reply to send, mostly 0. */
size_t controller_receive(struct controller *controller, uint8_t byte, uint32_t noise,
                          uint8_t reply[OSDP_REPLY_MAX]);

/* Take one sample of the inputs, `elapsed_ms` after the one before. Returns the relays' states. */
uint8_t controller_advance(struct controller *controller, uint8_t sample, uint32_t elapsed_ms);

#endif
