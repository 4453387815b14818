#include "secure_channel.h"

#include <string.h>

#include "bytes.h"
#include "osdp_codes.h"

enum { PAD = 0x80 };

void sc_derive(struct sc_session *session, const struct aes128 *scbk,
               const uint8_t rnd_a[SC_RANDOM])
{
    static const uint8_t PURPOSE[] = {0x82, 0x01, 0x02};
    struct aes128 *const keys[] = {&session->enc, &session->mac1, &session->mac2};
    uint8_t block[AES128_BLOCK];
    for (size_t i = 0; i < sizeof PURPOSE; i++) {
        memset(block, 0, sizeof block);
        block[0] = 0x01;
        block[1] = PURPOSE[i];
        memcpy(block + 2, rnd_a, 6);
        aes128_encrypt(scbk, block, block);
        aes128_expand(keys[i], block);
    }
    bytes_wipe(block, sizeof block);
}

void sc_cryptogram(const struct sc_session *session, const uint8_t first[SC_RANDOM],
                   const uint8_t second[SC_RANDOM], uint8_t proof[AES128_BLOCK])
{
    memcpy(proof, first, SC_RANDOM);
    memcpy(proof + SC_RANDOM, second, SC_RANDOM);
    aes128_encrypt(&session->enc, proof, proof);
}

void sc_begin(struct sc_session *session, const uint8_t server_proof[AES128_BLOCK])
{
    aes128_encrypt(&session->mac1, server_proof, session->reply_mac);
    aes128_encrypt(&session->mac2, session->reply_mac, session->reply_mac);
    memset(session->command_mac, 0, sizeof session->command_mac);
}

/* All blocks but the last under S-MAC1, the last under S-MAC2. Unlike data, a message that fills
 * its last block gets no padding. */
static void compute_mac(const struct sc_session *session, const uint8_t iv[AES128_BLOCK],
                        const uint8_t *message, size_t length, uint8_t mac[AES128_BLOCK])
{
    memcpy(mac, iv, AES128_BLOCK);
    while (length > 0) {
        size_t part = AES128_BLOCK;
        if (length < part) {
            part = length;
        }
        for (size_t i = 0; i < part; i++) {
            mac[i] ^= message[i];
        }
        if (part < AES128_BLOCK) {
            mac[part] ^= PAD;
        }
        message += part;
        length -= part;
        aes128_encrypt(length > 0 ? &session->mac1 : &session->mac2, mac, mac);
    }
}

/* CBC's first vector is the inverted MAC of the other side's last message. */
static void invert(const uint8_t mac[AES128_BLOCK], uint8_t iv[AES128_BLOCK])
{
    for (size_t i = 0; i < AES128_BLOCK; i++) {
        iv[i] = (uint8_t)~mac[i];
    }
}

/* Decrypt into `data`. False: not whole blocks, or the padding is not in the last of them. */
static bool decrypt(const struct sc_session *session, const struct osdp_frame *frame, uint8_t *data,
                    size_t *length)
{
    uint8_t vector[AES128_BLOCK];
    const size_t total = frame->data_length;
    if (total == 0 || total % AES128_BLOCK != 0) {
        return false;
    }
    invert(session->reply_mac, vector);
    for (size_t start = 0; start < total; start += AES128_BLOCK) {
        aes128_decrypt(&session->enc, frame->data + start, data + start);
        for (size_t i = 0; i < AES128_BLOCK; i++) {
            data[start + i] ^= vector[i];
        }
        memcpy(vector, frame->data + start, sizeof vector);
    }
    size_t end = total;
    while (end > total - AES128_BLOCK && data[end - 1] == 0) {
        end--;
    }
    if (end == total - AES128_BLOCK || data[end - 1] != PAD) {
        return false;
    }
    *length = end - 1;
    return true;
}

bool sc_open_command(struct sc_session *session, const struct osdp_frame *frame, uint8_t *data,
                     size_t *length)
{
    uint8_t mac[AES128_BLOCK];
    if (frame->security_length != 1 ||
        (frame->security[0] != SCS_15 && frame->security[0] != SCS_17)) {
        return false;
    }
    compute_mac(session, session->reply_mac, frame->raw, frame->covered, mac);
    if (!bytes_equal(mac, frame->raw + frame->covered, OSDP_MAC_LENGTH)) {
        return false;
    }
    if (frame->security[0] == SCS_17) {
        if (!decrypt(session, frame, data, length)) {
            return false;
        }
    } else {
        memcpy(data, frame->data, frame->data_length);
        *length = frame->data_length;
    }
    memcpy(session->command_mac, mac, sizeof mac);
    return true;
}

size_t sc_seal_reply(struct sc_session *session, uint8_t reply[OSDP_REPLY_MAX], uint8_t address,
                     uint8_t sqn, uint8_t code, const uint8_t *data, size_t length)
{
    const uint8_t security = length > 0 ? SCS_18 : SCS_16;
    struct osdp_writer writer;
    const size_t body = length > 0 ? AES128_BLOCK : 0;
    osdp_writer_begin(&writer, reply, address, sqn, &security, 1, code, body + OSDP_MAC_LENGTH);
    if (length > 0 && length < AES128_BLOCK) {
        uint8_t block[AES128_BLOCK];
        invert(session->command_mac, block);
        for (size_t i = 0; i < length; i++) {
            block[i] ^= data[i];
        }
        block[length] ^= PAD;
        aes128_encrypt(&session->enc, block, block);
        osdp_writer_add(&writer, block, sizeof block);
    }
    compute_mac(session, session->command_mac, reply + 1, writer.used - 1, session->reply_mac);
    osdp_writer_add(&writer, session->reply_mac, OSDP_MAC_LENGTH);
    return osdp_writer_finish(&writer);
}
