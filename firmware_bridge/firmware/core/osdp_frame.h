/* OSDP frames: bytes to frame and back. No keys, no time.
 *
 * SOM, address, length (2, little-endian, SOM to CRC), control, [security block], code, data,
 * [MAC 4], CRC-16 (2, little-endian). One 0xFF before a frame lets the line settle. */
#ifndef OSDP_FRAME_H
#define OSDP_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OSDP_FRAME_MAX 256U
#define OSDP_REPLY_MAX 64U /* longest reply that this controller makes, mark byte included */
#define OSDP_MAC_LENGTH 4U

/* One frame whose CRC was right. Nothing in it is trusted before its MAC was checked. Points
 * into the decoder: valid until the decoder is used again. */
struct osdp_frame {
    const uint8_t *raw;
    size_t covered; /* bytes that the MAC covers, from the start; then the MAC, then the CRC */
    size_t length;
    uint8_t address;
    bool is_reply;
    uint8_t sqn;
    const uint8_t *security; /* without its length byte */
    size_t security_length;  /* 0: clear text */
    uint8_t code;
    const uint8_t *data;
    size_t data_length;
    bool has_mac;
};

/* Cuts a byte stream into frames, however it is split, and finds back after garbage: a broken
 * frame costs its first byte, and the search goes on behind it. */
struct osdp_decoder {
    uint8_t buffer[OSDP_FRAME_MAX];
    size_t used;
    size_t consumed; /* length of the frame handed out last */
};

/* CRC-16, polynomial 0x1021, start 0x1D0F, not reflected. */
uint16_t osdp_crc16(const uint8_t *data, size_t length);

void osdp_decoder_reset(struct osdp_decoder *decoder);

/* Take one byte. Call osdp_decoder_next until it returns false before pushing again. */
void osdp_decoder_push(struct osdp_decoder *decoder, uint8_t byte);
bool osdp_decoder_next(struct osdp_decoder *decoder, struct osdp_frame *frame);

/* A reply under construction: begin, add, (add a MAC), finish. */
struct osdp_writer {
    uint8_t *bytes; /* OSDP_REPLY_MAX of them; [0] is the mark */
    size_t used;
};

/* `security` may be NULL when `security_length` is 0. `body` bytes will follow the code, a MAC
 * among them: the length stands in the header, which the MAC covers. */
void osdp_writer_begin(struct osdp_writer *writer, uint8_t *bytes, uint8_t address, uint8_t sqn,
                       const uint8_t *security, size_t security_length, uint8_t code, size_t body);
void osdp_writer_add(struct osdp_writer *writer, const uint8_t *data, size_t length);
/* Append the CRC; return the number of bytes to send. */
size_t osdp_writer_finish(struct osdp_writer *writer);

#endif
