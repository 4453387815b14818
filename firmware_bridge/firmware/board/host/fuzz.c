/* Everything that comes over the line, at random, with a monitor beside it (libFuzzer).
 *
 * The input is a list of steps. Some are raw bytes; some are commands that the fuzzer seals with
 * the session's own keys, so that it gets past the MAC as well. */
#include <stdlib.h>
#include <string.h>

#include "../../core/bytes.h"
#include "../../core/controller.h"
#include "../../core/osdp_codes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { QUIET = 1 << INPUT_READY | 1 << INPUT_TAMPER | 1 << INPUT_FIRE | 1 << INPUT_POWER };

static struct controller controller;
static uint8_t reply[OSDP_REPLY_MAX];
static size_t reply_length;
static uint32_t on_ms;
static unsigned open_fire_samples;
static bool may_rise;

static void must(bool holds)
{
    if (!holds) {
        abort();
    }
}

static bool entry(void)
{
    return (turnstile_outputs(&controller.turnstile) >> OUTPUT_ENTRY & 1) != 0;
}

static void feed(const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        const bool before = entry();
        const size_t said = controller_receive(&controller, bytes[i], 0, reply);
        must(said <= OSDP_REPLY_MAX);
        if (said > 0) {
            reply_length = said;
        }
        must(before || !entry() || may_rise);
        if (!before) {
            on_ms = 0;
        }
    }
}

/* One frame from the panel's side. `session` is NULL for clear text. */
static void feed_frame(const struct sc_session *session, uint8_t sqn, const uint8_t *security,
                       size_t security_length, uint8_t code, const uint8_t *body, size_t length)
{
    uint8_t frame[OSDP_FRAME_MAX] = {0x53, 0x00};
    const size_t block = security_length > 0 ? security_length + 1 : 0;
    const size_t mac_length = session != NULL ? OSDP_MAC_LENGTH : 0;
    const size_t total = 5 + block + 1 + length + mac_length + 2;
    frame[2] = (uint8_t)total;
    frame[3] = (uint8_t)(total >> 8);
    frame[4] = (uint8_t)(sqn | 4 | (block > 0 ? 8 : 0));
    if (block > 0) {
        frame[5] = (uint8_t)block;
        memcpy(frame + 6, security, security_length);
    }
    frame[5 + block] = code;
    memcpy(frame + 6 + block, body, length);
    size_t end = 6 + block + length;
    if (session != NULL) {
        uint8_t mac[AES128_BLOCK];
        memcpy(mac, session->reply_mac, sizeof mac);
        for (size_t at = 0; at < end; at += AES128_BLOCK) {
            const size_t part = end - at < AES128_BLOCK ? end - at : AES128_BLOCK;
            for (size_t i = 0; i < part; i++) {
                mac[i] ^= frame[at + i];
            }
            if (part < AES128_BLOCK) {
                mac[part] ^= 0x80;
            }
            const bool last = at + AES128_BLOCK >= end;
            aes128_encrypt(last ? &session->mac2 : &session->mac1, mac, mac);
        }
        memcpy(frame + end, mac, OSDP_MAC_LENGTH);
        end += OSDP_MAC_LENGTH;
    }
    const uint16_t crc = osdp_crc16(frame, end);
    frame[end] = (uint8_t)crc;
    frame[end + 1] = (uint8_t)(crc >> 8);
    feed(frame, total);
}

static void advance(uint8_t sample, uint32_t ms)
{
    const bool before = entry();
    open_fire_samples = (sample >> INPUT_FIRE & 1) != 0 ? 0 : open_fire_samples + 1;
    const uint8_t outputs = controller_advance(&controller, sample, ms);
    on_ms += ms;
    must(!entry() || (before && on_ms < ENTRY_MAX_MS && controller.in_session));
    must(open_fire_samples < FIRE_SAMPLES || outputs == 1 << OUTPUT_FIRE_RELEASE);
}

static void connect(void)
{
    static const uint8_t CHALLENGE[] = {SCS_11, OSDP_KEY_TYPE_SCBK};
    static const uint8_t PROOF[] = {SCS_13, OSDP_KEY_TYPE_SCBK};
    static const uint8_t RND_A[SC_RANDOM] = {1, 2, 3};
    uint8_t proof[AES128_BLOCK];
    advance(QUIET, FRAME_GAP_MS); /* what was fed before is given up */
    feed_frame(NULL, 0, CHALLENGE, sizeof CHALLENGE, OSDP_CHLNG, RND_A, sizeof RND_A);
    memcpy(proof, controller.server_proof, sizeof proof);
    feed_frame(NULL, 1, PROOF, sizeof PROOF, OSDP_SCRYPT, proof, sizeof proof);
    must(controller.in_session);
}

static void secured(uint8_t code, const uint8_t *body, size_t length)
{
    uint8_t blocks[AES128_BLOCK * 3] = {0};
    const uint8_t security = length > 0 ? SCS_17 : SCS_15;
    if (!controller.in_session) {
        return;
    }
    const size_t padded = length > 0 ? (length / AES128_BLOCK + 1) * AES128_BLOCK : 0;
    memcpy(blocks, body, length);
    if (length > 0) {
        blocks[length] = 0x80;
    }
    uint8_t vector[AES128_BLOCK];
    for (size_t i = 0; i < AES128_BLOCK; i++) {
        vector[i] = (uint8_t)~controller.session.reply_mac[i];
    }
    for (size_t at = 0; at < padded; at += AES128_BLOCK) {
        for (size_t i = 0; i < AES128_BLOCK; i++) {
            blocks[at + i] ^= vector[i];
        }
        aes128_encrypt(&controller.session.enc, blocks + at, blocks + at);
        memcpy(vector, blocks + at, sizeof vector);
    }
    /* The only way: a timed pulse of the entry relay, with nothing against it. */
    may_rise = code == OSDP_OUT && length == 4 && body[0] == OUTPUT_ENTRY &&
               body[1] == OSDP_OUT_TIMED_ON && (body[2] | body[3]) != 0 && open_fire_samples == 0;
    const uint8_t sqn = (uint8_t)(controller.secured.sqn % 3 + 1);
    feed_frame(&controller.session, sqn, &security, 1, code, blocks, padded);
    may_rise = false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct key_page page = {.serial = 1, .scbk = {1, 2, 3}, .device_secret = {4, 5, 6}};
    size_t at = 0;
    controller_init(&controller, &page, 1, QUIET);
    on_ms = 0;
    open_fire_samples = 0;
    while (at + 2 <= size) {
        const uint8_t step = data[at] & 7;
        size_t length = data[at] >> 3;
        at++;
        if (length > size - at) {
            length = size - at;
        }
        if (step == 0) {
            connect();
            continue;
        }
        if (step <= 2 && length >= 1) {
            secured(data[at], data + at + 1, length - 1);
        } else if (step == 3) {
            secured(OSDP_OUT, data + at, length);
        } else if (step == 4 && length >= 3) {
            advance(data[at], (uint32_t)(data[at + 1] | data[at + 2] << 8) % 6000);
        } else if (step == 5) {
            feed(reply, reply_length); /* our own words, come back */
        } else if (step == 6 && length >= 3) {
            feed_frame(NULL, data[at] & 3, data + at + 1, data[at] >> 2 & 1 ? 2 : 0, data[at + 2],
                       data + at + 3, length - 3);
        } else {
            feed(data + at, length);
        }
        at += length;
    }
    return 0;
}
