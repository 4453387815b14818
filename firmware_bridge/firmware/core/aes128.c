#include "aes128.h"

#include "bytes.h"

enum { COLUMNS = 4, ROUNDS = 10 };

/* Four bytes of the field GF(2^8) side by side in one word. */
static const uint32_t LOW_BITS = 0x01010101U;
static const uint32_t HIGH_BITS = 0x80808080U;

static uint32_t times_x(uint32_t a)
{
    return ((a & ~HIGH_BITS) << 1) ^ (((a & HIGH_BITS) >> 7) * 0x1BU);
}

static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (unsigned bit = 0; bit < 8; bit++) {
        product ^= a & (((b >> bit) & LOW_BITS) * 0xFFU);
        a = times_x(a);
    }
    return product;
}

/* x^254, which is 1/x, and 0 for 0. */
static uint32_t invert(uint32_t x)
{
    const uint32_t x2 = multiply(x, x);
    const uint32_t x3 = multiply(x2, x);
    const uint32_t x6 = multiply(x3, x3);
    const uint32_t x12 = multiply(x6, x6);
    uint32_t power = multiply(x12, x3);
    for (unsigned i = 0; i < 4; i++) {
        power = multiply(power, power); /* x^15 up to x^240 */
    }
    return multiply(multiply(power, x12), x2);
}

/* Rotate each byte left by itself. */
static uint32_t rotate_bytes(uint32_t x, unsigned n)
{
    const uint32_t low = LOW_BITS * ((1U << n) - 1U);
    return ((x << n) & ~low) | ((x >> (8U - n)) & low);
}

/* S-box, FIPS 197 5.1.1 */
static uint32_t substitute(uint32_t x)
{
    const uint32_t y = invert(x);
    return y ^ rotate_bytes(y, 1) ^ rotate_bytes(y, 2) ^ rotate_bytes(y, 3) ^ rotate_bytes(y, 4) ^
           0x63636363U;
}

static uint32_t substitute_back(uint32_t x)
{
    return invert(rotate_bytes(x, 1) ^ rotate_bytes(x, 3) ^ rotate_bytes(x, 6) ^ 0x05050505U);
}

/* The byte of row r moves down: word rotation by r bytes. */
static uint32_t rotate(uint32_t x, unsigned bytes)
{
    return x >> (8U * bytes) | x << (32U - 8U * bytes);
}

static uint32_t mix(uint32_t x)
{
    const uint32_t x2 = times_x(x);
    return x2 ^ rotate(x ^ x2, 1) ^ rotate(x, 2) ^ rotate(x, 3);
}

static uint32_t mix_back(uint32_t x)
{
    /* Inverse matrix = matrix * (5, 0, 4, 0): FIPS 197 5.3.3 */
    const uint32_t x4 = times_x(times_x(x));
    return mix(x ^ x4 ^ rotate(x4, 2));
}

/* Row r of the new column c comes from column c + r * `step` (mod 4). */
static void shift_rows(uint32_t state[COLUMNS], unsigned step)
{
    uint32_t old[COLUMNS];
    for (unsigned c = 0; c < COLUMNS; c++) {
        old[c] = state[c];
    }
    for (unsigned c = 0; c < COLUMNS; c++) {
        state[c] = 0;
        for (unsigned row = 0; row < 4; row++) {
            state[c] |= old[(c + row * step) % COLUMNS] & (0xFFU << (8U * row));
        }
    }
}

static void add_round_key(uint32_t state[COLUMNS], const struct aes128 *aes, unsigned round)
{
    for (unsigned c = 0; c < COLUMNS; c++) {
        state[c] ^= aes->round_keys[COLUMNS * round + c];
    }
}

static void load(uint32_t state[COLUMNS], const uint8_t *in)
{
    for (unsigned c = 0; c < COLUMNS; c++) {
        state[c] = bytes_u32(in + 4U * c);
    }
}

static void store(uint8_t *out, const uint32_t state[COLUMNS])
{
    for (unsigned c = 0; c < COLUMNS; c++) {
        bytes_put_u32(out + 4U * c, state[c]);
    }
}

void aes128_expand(struct aes128 *aes, const uint8_t key[AES128_BLOCK])
{
    uint32_t *w = aes->round_keys;
    uint32_t constant = 1;
    load(w, key);
    for (unsigned i = COLUMNS; i < COLUMNS * (ROUNDS + 1); i++) {
        uint32_t word = w[i - 1];
        if (i % COLUMNS == 0) {
            word = substitute(rotate(word, 1)) ^ constant;
            constant = times_x(constant);
        }
        w[i] = w[i - COLUMNS] ^ word;
    }
}

void aes128_encrypt(const struct aes128 *aes, const uint8_t in[AES128_BLOCK],
                    uint8_t out[AES128_BLOCK])
{
    uint32_t state[COLUMNS];
    load(state, in);
    add_round_key(state, aes, 0);
    for (unsigned round = 1; round <= ROUNDS; round++) {
        for (unsigned c = 0; c < COLUMNS; c++) {
            state[c] = substitute(state[c]);
        }
        shift_rows(state, 1);
        for (unsigned c = 0; c < COLUMNS && round < ROUNDS; c++) {
            state[c] = mix(state[c]);
        }
        add_round_key(state, aes, round);
    }
    store(out, state);
}

void aes128_decrypt(const struct aes128 *aes, const uint8_t in[AES128_BLOCK],
                    uint8_t out[AES128_BLOCK])
{
    uint32_t state[COLUMNS];
    load(state, in);
    for (unsigned round = ROUNDS; round >= 1; round--) {
        add_round_key(state, aes, round);
        for (unsigned c = 0; c < COLUMNS && round < ROUNDS; c++) {
            state[c] = mix_back(state[c]);
        }
        shift_rows(state, 3);
        for (unsigned c = 0; c < COLUMNS; c++) {
            state[c] = substitute_back(state[c]);
        }
    }
    add_round_key(state, aes, 0);
    store(out, state);
}
