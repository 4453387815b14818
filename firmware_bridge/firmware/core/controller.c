#include "controller.h"

#include <string.h>

#include "bytes.h"
#include "osdp_codes.h"
#include "version.h"

/* A locally administered vendor number: no vendor stands behind a reference design. */
static const uint8_t VENDOR[3] = {0x02, 'C', 'G'};
enum { MODEL = 1, HARDWARE = 1 };

/* Reply code and data of one command, before they are put into a frame. */
struct answer {
    uint8_t code;
    uint8_t data[AES128_BLOCK - 1];
    size_t length;
};

static void end_handshake(struct controller *c)
{
    c->handshake_left_ms = 0;
    bytes_wipe(&c->handshake, sizeof c->handshake);
    bytes_wipe(c->server_proof, sizeof c->server_proof);
}

static void end_session(struct controller *c)
{
    c->in_session = false;
    c->link_left_ms = 0;
    bytes_wipe(&c->session, sizeof c->session);
    bytes_wipe(&c->secured, sizeof c->secured);
    turnstile_close(&c->turnstile);
}

void controller_init(struct controller *c, const struct key_page *page, uint32_t boots,
                     uint8_t sample)
{
    memset(c, 0, sizeof *c);
    turnstile_init(&c->turnstile, sample);
    if (page == NULL) {
        return;
    }
    c->address = page->address;
    c->serial = page->serial;
    c->may_answer = true;
    c->may_handshake = boots != 0;
    aes128_expand(&c->scbk, page->scbk);
    nonce_init(&c->nonces, page->device_secret, boots);
}

/* --- answers, the same in clear text and in a session ---------------------------------------- */

static struct answer nak(uint8_t reason)
{
    struct answer answer = {.code = OSDP_NAK, .length = 1};
    answer.data[0] = reason;
    return answer;
}

static struct answer identity(const struct controller *c)
{
    struct answer answer = {.code = OSDP_PDID, .length = 12};
    memcpy(answer.data, VENDOR, sizeof VENDOR);
    answer.data[3] = MODEL;
    answer.data[4] = HARDWARE;
    bytes_put_u32(answer.data + 5, c->serial);
    answer.data[9] = FIRMWARE_MAJOR;
    answer.data[10] = FIRMWARE_MINOR;
    answer.data[11] = FIRMWARE_BUILD;
    return answer;
}

static struct answer capabilities(void)
{
    static const uint8_t LIST[] = {
        OSDP_CAP_CONTACT_STATUS, 1, REPORT_COUNT, OSDP_CAP_OUTPUT_CONTROL,         2, OUTPUT_COUNT,
        OSDP_CAP_CHECK_CHARACTER, 1, 0,           OSDP_CAP_COMMUNICATION_SECURITY, 1, 0,
    };
    struct answer answer = {.code = OSDP_PDCAP, .length = sizeof LIST};
    memcpy(answer.data, LIST, sizeof LIST);
    return answer;
}

/* One byte a bit, as the status replies are laid out. */
static struct answer status(uint8_t code, uint8_t bits)
{
    struct answer answer = {.code = code};
    answer.length = code == OSDP_ISTATR ? REPORT_COUNT
                    : code == OSDP_OSTATR ? OUTPUT_COUNT
                                          : LOCAL_COUNT;
    for (size_t i = 0; i < answer.length; i++) {
        answer.data[i] = (uint8_t)((unsigned)bits >> i & 1U);
    }
    return answer;
}

static struct answer drive(struct controller *c, const uint8_t *data, size_t length)
{
    if (length != 4) {
        return nak(OSDP_NAK_LENGTH); /* one output, one command */
    }
    const uint16_t timer_count = (uint16_t)(data[2] | data[3] << 8);
    if (turnstile_drive(&c->turnstile, data[0], data[1], timer_count) != DRIVE_OBEYED) {
        return nak(OSDP_NAK_UNABLE);
    }
    return (struct answer){.code = OSDP_ACK};
}

static struct answer obey(struct controller *c, uint8_t command, const uint8_t *data, size_t length)
{
    struct turnstile_change change;
    switch (command) {
    case OSDP_POLL:
        if (turnstile_next_change(&c->turnstile, &change)) {
            return status(change.reply, change.bits);
        }
        return (struct answer){.code = OSDP_ACK};
    case OSDP_OUT:
        return drive(c, data, length);
    case OSDP_ISTAT:
        return status(OSDP_ISTATR, turnstile_report_inputs(&c->turnstile));
    case OSDP_OSTAT:
        return status(OSDP_OSTATR, turnstile_report_outputs(&c->turnstile));
    case OSDP_LSTAT:
        return status(OSDP_LSTATR, turnstile_report_local(&c->turnstile));
    case OSDP_ID:
        return identity(c);
    case OSDP_CAP:
        return capabilities();
    default:
        return nak(OSDP_NAK_COMMAND);
    }
}

/* --- frames ----------------------------------------------------------------------------------- */

static size_t say(const struct controller *c, const struct osdp_frame *frame, uint8_t *reply,
                  uint8_t code, uint8_t scs, uint8_t scs_data, const uint8_t *data, size_t length)
{
    const uint8_t security[] = {scs, scs_data};
    struct osdp_writer writer;
    osdp_writer_begin(&writer, reply, c->address, frame->sqn, security,
                      scs != 0 ? sizeof security : 0, code, length);
    osdp_writer_add(&writer, data, length);
    return osdp_writer_finish(&writer);
}

static size_t say_clear(const struct controller *c, const struct osdp_frame *frame, uint8_t *reply,
                        struct answer answer)
{
    return say(c, frame, reply, answer.code, 0, 0, answer.data, answer.length);
}

static uint8_t following(uint8_t sqn)
{
    return (uint8_t)(sqn % 3U + 1U);
}

static bool is_repeat(const struct controller_exchange *exchange, const struct osdp_frame *frame)
{
    return exchange->known && frame->length == exchange->command_length &&
           memcmp(frame->raw, exchange->command, frame->length) == 0;
}

static size_t repeat(const struct controller_exchange *exchange, uint8_t *reply)
{
    memcpy(reply, exchange->reply, exchange->reply_length);
    return exchange->reply_length;
}

static void remember(struct controller_exchange *exchange, const struct osdp_frame *frame,
                     const uint8_t *reply, size_t length)
{
    exchange->known = true;
    exchange->sqn = frame->sqn;
    memcpy(exchange->command, frame->raw, frame->length);
    exchange->command_length = frame->length;
    memcpy(exchange->reply, reply, length);
    exchange->reply_length = length;
}

/* --- handshake -------------------------------------------------------------------------------- */

static bool has_block(const struct osdp_frame *frame, uint8_t scs)
{
    return frame->security_length == 2 && frame->security[0] == scs &&
           frame->security[1] == OSDP_KEY_TYPE_SCBK;
}

static size_t challenged(struct controller *c, const struct osdp_frame *frame, uint32_t noise,
                         uint8_t *reply)
{
    uint8_t data[SC_RANDOM + SC_RANDOM + AES128_BLOCK];
    uint8_t *const rnd_b = data + SC_RANDOM;
    end_handshake(c);
    if (!c->may_handshake || !has_block(frame, SCS_11)) {
        return say_clear(c, frame, reply, nak(OSDP_NAK_SECURITY_BLOCK));
    }
    if (frame->data_length != SC_RANDOM) {
        return say_clear(c, frame, reply, nak(OSDP_NAK_LENGTH));
    }
    if (!nonce_next(&c->nonces, noise, rnd_b)) {
        return say_clear(c, frame, reply, nak(OSDP_NAK_SECURITY_BLOCK));
    }
    memcpy(data, VENDOR, sizeof VENDOR);
    data[3] = MODEL;
    bytes_put_u32(data + 4, c->serial);
    sc_derive(&c->handshake, &c->scbk, frame->data);
    sc_cryptogram(&c->handshake, frame->data, rnd_b, data + 2U * SC_RANDOM);
    sc_cryptogram(&c->handshake, rnd_b, frame->data, c->server_proof);
    c->handshake_left_ms = HANDSHAKE_MS;
    return say(c, frame, reply, OSDP_CCRYPT, SCS_12, OSDP_KEY_TYPE_SCBK, data, sizeof data);
}

static size_t proven(struct controller *c, const struct osdp_frame *frame, uint8_t *reply)
{
    const bool right = c->handshake_left_ms > 0 && has_block(frame, SCS_13) &&
                       frame->data_length == AES128_BLOCK &&
                       bytes_equal(frame->data, c->server_proof, AES128_BLOCK);
    if (!right) {
        end_handshake(c);
        return say_clear(c, frame, reply, nak(OSDP_NAK_SECURITY_BLOCK));
    }
    /* A panel that lost a reply comes back within a blink: its pulse goes on. */
    memcpy(&c->session, &c->handshake, sizeof c->session);
    sc_begin(&c->session, c->server_proof);
    end_handshake(c);
    c->in_session = true;
    c->link_left_ms = LINK_LOSS_MS;
    c->secured.known = false;
    c->secured.sqn = frame->sqn;
    turnstile_forget_changes(&c->turnstile);
    return say(c, frame, reply, OSDP_RMAC_I, SCS_14, 1, c->session.reply_mac, AES128_BLOCK);
}

/* --- without a MAC ---------------------------------------------------------------------------- */

static size_t answer_clear(struct controller *c, const struct osdp_frame *frame, uint32_t noise,
                           uint8_t *reply)
{
    if (frame->code == OSDP_CHLNG) {
        return challenged(c, frame, noise, reply);
    }
    if (frame->code == OSDP_SCRYPT) {
        return proven(c, frame, reply);
    }
    if (frame->security_length > 0) {
        return say_clear(c, frame, reply, nak(OSDP_NAK_SECURITY_BLOCK));
    }
    if (frame->code == OSDP_ID || frame->code == OSDP_CAP) {
        return say_clear(c, frame, reply, obey(c, frame->code, frame->data, frame->data_length));
    }
    return say_clear(c, frame, reply, nak(OSDP_NAK_ENCRYPTION_REQUIRED));
}

static size_t take_clear(struct controller *c, const struct osdp_frame *frame, uint32_t noise,
                         uint8_t *reply)
{
    const bool handshake = frame->code == OSDP_CHLNG || frame->code == OSDP_SCRYPT;
    if (c->in_session && !handshake) {
        return 0;
    }
    if (is_repeat(&c->clear, frame)) {
        return repeat(&c->clear, reply);
    }
    /* Number 0 starts anew at any time. */
    if (frame->sqn != 0 && (!c->clear.known || frame->sqn != following(c->clear.sqn))) {
        return c->in_session ? 0 : say_clear(c, frame, reply, nak(OSDP_NAK_SEQUENCE));
    }
    const size_t length = answer_clear(c, frame, noise, reply);
    remember(&c->clear, frame, reply, length);
    return length;
}

/* --- with a MAC ------------------------------------------------------------------------------- */

static size_t take_secured(struct controller *c, const struct osdp_frame *frame, uint8_t *reply)
{
    uint8_t data[OSDP_FRAME_MAX];
    size_t length = 0;
    if (!c->in_session) {
        /* A panel whose session died with us learns it at once. */
        return say_clear(c, frame, reply, nak(OSDP_NAK_ENCRYPTION_REQUIRED));
    }
    if (is_repeat(&c->secured, frame)) {
        return repeat(&c->secured, reply); /* does not count as a sign of life: anybody can */
    }
    if (frame->sqn != following(c->secured.sqn)) {
        return 0;
    }
    if (!sc_open_command(&c->session, frame, data, &length)) {
        return 0;
    }
    c->link_left_ms = LINK_LOSS_MS;
    const struct answer answer = obey(c, frame->code, data, length);
    bytes_wipe(data, sizeof data);
    const size_t reply_length = sc_seal_reply(&c->session, reply, c->address, frame->sqn,
                                              answer.code, answer.data, answer.length);
    remember(&c->secured, frame, reply, reply_length);
    return reply_length;
}

/* --- from outside ----------------------------------------------------------------------------- */

size_t controller_receive(struct controller *c, uint8_t byte, uint32_t noise,
                          uint8_t reply[OSDP_REPLY_MAX])
{
    struct osdp_frame frame;
    size_t length = 0;
    c->frame_gap_ms = FRAME_GAP_MS;
    osdp_decoder_push(&c->decoder, byte);
    while (osdp_decoder_next(&c->decoder, &frame)) {
        if (!c->may_answer || frame.is_reply || frame.address != c->address) {
            continue;
        }
        /* Several frames at once only come out of rubbish; the last one is answered. */
        length = frame.has_mac ? take_secured(c, &frame, reply)
                               : take_clear(c, &frame, noise, reply);
    }
    return length;
}

static bool runs_out(uint16_t *left_ms, uint32_t elapsed_ms)
{
    if (*left_ms == 0) {
        return false;
    }
    *left_ms = elapsed_ms < *left_ms ? (uint16_t)(*left_ms - elapsed_ms) : 0;
    return *left_ms == 0;
}

uint8_t controller_advance(struct controller *c, uint8_t sample, uint32_t elapsed_ms)
{
    /* First the turnstile: what falls below falls now, and its rest begins now. */
    turnstile_advance(&c->turnstile, sample, elapsed_ms);
    if (runs_out(&c->frame_gap_ms, elapsed_ms)) {
        osdp_decoder_reset(&c->decoder);
    }
    if (runs_out(&c->handshake_left_ms, elapsed_ms)) {
        end_handshake(c);
    }
    if (runs_out(&c->link_left_ms, elapsed_ms)) {
        end_session(c);
    }
    return turnstile_outputs(&c->turnstile);
}
