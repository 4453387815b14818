#include "osdp_frame.h"

#include <string.h>

#include "osdp_codes.h"

enum {
    MARK = 0xFF,
    SOM = 0x53,
    HEADER = 5,
    CRC = 2,
    REPLY_BIT = 0x80,
    SQN_MASK = 0x03,
    CTRL_CRC = 0x04,
    CTRL_SCB = 0x08,
    CTRL_KNOWN = SQN_MASK | CTRL_CRC | CTRL_SCB,
};

uint16_t osdp_crc16(const uint8_t *data, size_t length)
{
    uint32_t crc = 0x1D0F;
    for (size_t i = 0; i < length; i++) {
        uint32_t x = ((crc >> 8) ^ data[i]) & 0xFFU;
        x ^= x >> 4;
        crc = ((crc << 8) ^ (x << 12) ^ (x << 5) ^ x) & 0xFFFFU;
    }
    return (uint16_t)crc;
}

void osdp_decoder_reset(struct osdp_decoder *decoder)
{
    decoder->used = 0;
    decoder->consumed = 0;
}

static void drop(struct osdp_decoder *decoder, size_t count)
{
    decoder->used -= count;
    memmove(decoder->buffer, decoder->buffer + count, decoder->used);
}

void osdp_decoder_push(struct osdp_decoder *decoder, uint8_t byte)
{
    if (decoder->used == sizeof decoder->buffer) {
        drop(decoder, 1); /* cannot happen when the caller drains; then the oldest goes */
    }
    decoder->buffer[decoder->used++] = byte;
}

static bool has_mac(uint8_t type)
{
    return type >= SCS_15 && type <= SCS_18;
}

/* Length that the header announces, 0 when it is no header. At least HEADER bytes are there. */
static size_t announced_length(const uint8_t *raw)
{
    const size_t length = (size_t)raw[2] | (size_t)raw[3] << 8;
    const uint8_t control = raw[4];
    if ((control & ~CTRL_KNOWN) != 0 || (control & CTRL_CRC) == 0) {
        return 0;
    }
    return length >= HEADER + 1 + CRC && length <= OSDP_FRAME_MAX ? length : 0;
}

static bool parse(const uint8_t *raw, size_t length, struct osdp_frame *frame)
{
    size_t end = length - CRC;
    const uint16_t crc = (uint16_t)(raw[end] | raw[end + 1] << 8);
    if (osdp_crc16(raw, end) != crc) {
        return false;
    }
    size_t position = HEADER;
    frame->security = raw + HEADER;
    frame->security_length = 0;
    frame->has_mac = false;
    if ((raw[4] & CTRL_SCB) != 0) {
        const size_t block = raw[position];
        if (block < 2 || position + block > end) {
            return false;
        }
        frame->security = raw + position + 1;
        frame->security_length = block - 1;
        frame->has_mac = has_mac(raw[position + 1]);
        position += block;
    }
    if (frame->has_mac) {
        end -= OSDP_MAC_LENGTH; /* the shortest frame is longer */
    }
    if (position >= end) {
        return false;
    }
    frame->raw = raw;
    frame->covered = end;
    frame->length = length;
    frame->address = raw[1] & (uint8_t)~REPLY_BIT;
    frame->is_reply = (raw[1] & REPLY_BIT) != 0;
    frame->sqn = raw[4] & SQN_MASK;
    frame->code = raw[position];
    frame->data = raw + position + 1;
    frame->data_length = end - position - 1;
    return true;
}

bool osdp_decoder_next(struct osdp_decoder *decoder, struct osdp_frame *frame)
{
    drop(decoder, decoder->consumed);
    decoder->consumed = 0;
    while (decoder->used > 0) {
        const uint8_t *start = memchr(decoder->buffer, SOM, decoder->used);
        if (start == NULL) {
            decoder->used = 0;
            return false;
        }
        drop(decoder, (size_t)(start - decoder->buffer));
        if (decoder->used < HEADER) {
            return false;
        }
        const size_t length = announced_length(decoder->buffer);
        if (length > decoder->used) {
            return false;
        }
        if (length > 0 && parse(decoder->buffer, length, frame)) {
            decoder->consumed = length;
            return true;
        }
        drop(decoder, 1);
    }
    return false;
}

void osdp_writer_begin(struct osdp_writer *writer, uint8_t *bytes, uint8_t address, uint8_t sqn,
                       const uint8_t *security, size_t security_length, uint8_t code, size_t body)
{
    const size_t block = security_length > 0 ? security_length + 1 : 0;
    const size_t length = HEADER + block + 1 + body + CRC;
    writer->bytes = bytes;
    writer->used = 0;
    const uint8_t header[] = {
        MARK,
        SOM,
        (uint8_t)(address | REPLY_BIT),
        (uint8_t)length,
        (uint8_t)(length >> 8),
        (uint8_t)((sqn & SQN_MASK) | CTRL_CRC | (block > 0 ? CTRL_SCB : 0)),
    };
    osdp_writer_add(writer, header, sizeof header);
    if (block > 0) {
        const uint8_t block_length = (uint8_t)block;
        osdp_writer_add(writer, &block_length, 1);
        osdp_writer_add(writer, security, security_length);
    }
    osdp_writer_add(writer, &code, 1);
}

void osdp_writer_add(struct osdp_writer *writer, const uint8_t *data, size_t length)
{
    /* Every reply fits; a program error must still not write beyond the buffer. */
    if (length > 0 && length <= OSDP_REPLY_MAX - writer->used) {
        memcpy(writer->bytes + writer->used, data, length);
        writer->used += length;
    }
}

size_t osdp_writer_finish(struct osdp_writer *writer)
{
    const uint16_t crc = osdp_crc16(writer->bytes + 1, writer->used - 1);
    const uint8_t tail[] = {(uint8_t)crc, (uint8_t)(crc >> 8)};
    osdp_writer_add(writer, tail, sizeof tail);
    return writer->used;
}
