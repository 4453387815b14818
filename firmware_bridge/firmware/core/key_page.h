/* What the installer writes into one controller: its door's key and its place on the line. One
 * page of flash of its own, so that the program and the key can be written apart. */
#ifndef KEY_PAGE_H
#define KEY_PAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "aes128.h"

#define KEY_PAGE_USED 48U

struct key_page {
    uint8_t address; /* 0..126 */
    uint32_t baud;   /* 9600 or 115200 */
    uint32_t serial;
    uint8_t scbk[AES128_BLOCK];
    uint8_t device_secret[AES128_BLOCK];
};

/* Read a page. False: not written, damaged, of another version, out of range, or a key that is
 * the standard's printed default or one repeated byte. Such a device must stay off the line. */
bool key_page_read(const uint8_t bytes[KEY_PAGE_USED], struct key_page *page);

#endif
