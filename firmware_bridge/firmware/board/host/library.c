/* The core as a shared library, for tests in another language: flat functions, opaque sizes. */
#include <string.h>

#include "../../core/controller.h"

size_t host_controller_size(void);
bool host_controller_init(struct controller *controller, const uint8_t *page, uint32_t boots,
                          uint8_t sample);
bool host_in_session(const struct controller *controller);
void host_aes(const uint8_t *key, const uint8_t *in, uint8_t *out, bool decrypt);
size_t host_decoder_size(void);
bool host_decoder_next(struct osdp_decoder *decoder, uint8_t *fields, uint8_t *raw);

size_t host_controller_size(void)
{
    return sizeof(struct controller);
}

/* `page` may be NULL. False: the page was refused; the controller then runs without a key. */
bool host_controller_init(struct controller *controller, const uint8_t *page, uint32_t boots,
                          uint8_t sample)
{
    struct key_page key;
    const bool usable = page != NULL && key_page_read(page, &key);
    controller_init(controller, usable ? &key : NULL, boots, sample);
    return usable;
}

bool host_in_session(const struct controller *controller)
{
    return controller->in_session;
}

void host_aes(const uint8_t *key, const uint8_t *in, uint8_t *out, bool decrypt)
{
    struct aes128 aes;
    aes128_expand(&aes, key);
    if (decrypt) {
        aes128_decrypt(&aes, in, out);
    } else {
        aes128_encrypt(&aes, in, out);
    }
}

size_t host_decoder_size(void)
{
    return sizeof(struct osdp_decoder);
}

/* fields: address, is reply, sequence, code, has MAC, security length, covered (2), data length
 * (2), total length (2); raw: the frame. */
bool host_decoder_next(struct osdp_decoder *decoder, uint8_t *fields, uint8_t *raw)
{
    struct osdp_frame frame;
    if (!osdp_decoder_next(decoder, &frame)) {
        return false;
    }
    const uint8_t flat[] = {
        frame.address,
        frame.is_reply,
        frame.sqn,
        frame.code,
        frame.has_mac,
        (uint8_t)frame.security_length,
        (uint8_t)frame.covered,
        (uint8_t)(frame.covered >> 8),
        (uint8_t)frame.data_length,
        (uint8_t)(frame.data_length >> 8),
        (uint8_t)frame.length,
        (uint8_t)(frame.length >> 8),
    };
    memcpy(fields, flat, sizeof flat);
    memcpy(raw, frame.raw, frame.length);
    return true;
}
