#include "nonce.h"

#include <string.h>

#include "bytes.h"
#include "osdp_frame.h"

static const uint8_t MAGIC[4] = {'C', 'G', 'B', '1'};

void nonce_init(struct nonce_source *source, const uint8_t secret[AES128_BLOCK], uint32_t boots)
{
    aes128_expand(&source->secret, secret);
    source->boots = boots;
    source->challenges = 0;
}

bool nonce_next(struct nonce_source *source, uint32_t noise, uint8_t nonce[NONCE_LENGTH])
{
    uint8_t block[AES128_BLOCK] = {'R', 'N', 'D', 'B'};
    if (source->challenges == UINT32_MAX) {
        return false;
    }
    source->challenges++;
    bytes_put_u32(block + 4, source->boots);
    bytes_put_u32(block + 8, source->challenges);
    bytes_put_u32(block + 12, noise);
    aes128_encrypt(&source->secret, block, block);
    memcpy(nonce, block, NONCE_LENGTH);
    return true;
}

void boot_record_encode(uint32_t boots, uint8_t record[BOOT_RECORD_LENGTH])
{
    memcpy(record, MAGIC, sizeof MAGIC);
    bytes_put_u32(record + 4, boots);
    const uint16_t crc = osdp_crc16(record, 8);
    record[8] = (uint8_t)crc;
    record[9] = (uint8_t)(crc >> 8);
    record[10] = (uint8_t)~record[8];
    record[11] = (uint8_t)~record[9];
}

static bool is_valid(const uint8_t record[BOOT_RECORD_LENGTH])
{
    uint8_t expected[BOOT_RECORD_LENGTH];
    boot_record_encode(bytes_u32(record + 4), expected);
    return memcmp(record, expected, sizeof expected) == 0;
}

static bool is_blank(const uint8_t record[BOOT_RECORD_LENGTH])
{
    for (size_t i = 0; i < BOOT_RECORD_LENGTH; i++) {
        if (record[i] != record[0]) {
            return false;
        }
    }
    return record[0] == 0xFF || record[0] == 0x00;
}

bool boot_record_choose(const uint8_t records[2][BOOT_RECORD_LENGTH], uint32_t *boots,
                        unsigned *copy)
{
    const bool valid[2] = {is_valid(records[0]), is_valid(records[1])};
    if (!valid[0] && !valid[1]) {
        *boots = 1;
        *copy = 0;
        return is_blank(records[0]) && is_blank(records[1]);
    }
    const uint32_t count[2] = {bytes_u32(records[0] + 4), bytes_u32(records[1] + 4)};
    const unsigned newest = valid[0] && (!valid[1] || count[0] > count[1]) ? 0 : 1;
    if (count[newest] == UINT32_MAX) {
        return false;
    }
    *boots = count[newest] + 1U;
    *copy = 1U - newest;
    return true;
}
