#include "key_page.h"

#include <string.h>

#include "bytes.h"
#include "osdp_codes.h"
#include "osdp_frame.h"

/* magic 4, version 1, address 1, baud 1, zero 1, serial 4, scbk 16, secret 16, crc 2, ~crc 2 */
enum { VERSION_AT = 4, ADDRESS_AT, BAUD_AT, ZERO_AT, SERIAL_AT, SCBK_AT = 12, SECRET_AT = 28,
       CRC_AT = 44 };

static const uint8_t MAGIC[4] = {'C', 'G', 'K', 'P'};

static bool is_public(const uint8_t key[AES128_BLOCK])
{
    bool repeated = true;
    bool printed = true;
    for (uint8_t i = 0; i < AES128_BLOCK; i++) {
        repeated = repeated && key[i] == key[0];
        printed = printed && key[i] == 0x30 + i; /* SCBK-D */
    }
    return repeated || printed;
}

bool key_page_read(const uint8_t bytes[KEY_PAGE_USED], struct key_page *page)
{
    const uint16_t crc = osdp_crc16(bytes, CRC_AT);
    const uint8_t check[] = {(uint8_t)crc, (uint8_t)(crc >> 8), (uint8_t)~crc,
                             (uint8_t)(~crc >> 8)};
    if (memcmp(bytes, MAGIC, sizeof MAGIC) != 0 || bytes[VERSION_AT] != 1 ||
        memcmp(bytes + CRC_AT, check, sizeof check) != 0) {
        return false;
    }
    if (bytes[ADDRESS_AT] >= OSDP_BROADCAST || bytes[BAUD_AT] > 1 || bytes[ZERO_AT] != 0) {
        return false;
    }
    if (is_public(bytes + SCBK_AT) || is_public(bytes + SECRET_AT) ||
        memcmp(bytes + SCBK_AT, bytes + SECRET_AT, AES128_BLOCK) == 0) {
        return false;
    }
    page->address = bytes[ADDRESS_AT];
    page->baud = bytes[BAUD_AT] == 0 ? 9600 : 115200;
    page->serial = bytes_u32(bytes + SERIAL_AT);
    memcpy(page->scbk, bytes + SCBK_AT, AES128_BLOCK);
    memcpy(page->device_secret, bytes + SECRET_AT, AES128_BLOCK);
    return true;
}
