/* Small things that every part needs: constant-time compare, wiping, little-endian numbers. */
#ifndef BYTES_H
#define BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* True when both hold the same bytes. The time taken does not depend on where they differ. */
static inline bool bytes_equal(const uint8_t *a, const uint8_t *b, size_t length)
{
    uint8_t difference = 0;
    for (size_t i = 0; i < length; i++) {
        difference = (uint8_t)(difference | (a[i] ^ b[i]));
    }
    return difference == 0;
}

/* Overwrite a secret. `volatile`: the compiler may not drop writes that nobody reads. */
static inline void bytes_wipe(void *secret, size_t length)
{
    volatile uint8_t *p = secret;
    while (length-- > 0) {
        *p++ = 0;
    }
}

static inline uint32_t bytes_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline void bytes_put_u32(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
    p[2] = (uint8_t)(value >> 16);
    p[3] = (uint8_t)(value >> 24);
}

#endif
