/* The count of starts in a small I2C EEPROM (two address bytes, as 24C32 and larger have). */
#include "../../core/nonce.h"
#include "board.h"
#include "registers.h"

enum { DEVICE = 0x50, COPY_STEP = 64, PATIENCE = 5000, WRITE_TRIES = 50 };
/* Together less than the watchdog allows: a dead chip must not keep the fire loop from working. */

static bool step(uint32_t command)
{
    I2C0_MCS = command;
    for (uint32_t i = 0; i < PATIENCE; i++) {
        const uint32_t status = I2C0_MCS;
        if ((status & I2C_MCS_BUSY) == 0) {
            return (status & (I2C_MCS_ERROR | I2C_MCS_ARBLST)) == 0;
        }
    }
    return false;
}

static void stop(void)
{
    (void)step(I2C_MCS_STOP);
}

static bool send(uint8_t byte, uint32_t command)
{
    I2C0_MDR = byte;
    return step(command | I2C_MCS_RUN);
}

/* Address the chip and set its pointer; the chip does not answer while it is writing. */
static bool point(unsigned copy)
{
    for (uint32_t i = 0; i < WRITE_TRIES; i++) {
        I2C0_MSA = DEVICE << 1;
        if (send(0, I2C_MCS_START) && send((uint8_t)(copy * COPY_STEP), 0)) {
            return true;
        }
        stop();
    }
    return false;
}

static bool read_record(unsigned copy, uint8_t record[BOOT_RECORD_LENGTH])
{
    if (!point(copy)) {
        return false;
    }
    I2C0_MSA = DEVICE << 1 | 1U;
    for (uint32_t i = 0; i < BOOT_RECORD_LENGTH; i++) {
        const uint32_t start = i == 0 ? I2C_MCS_START : 0;
        const uint32_t end = i == BOOT_RECORD_LENGTH - 1U ? I2C_MCS_STOP : I2C_MCS_ACK;
        if (!step(I2C_MCS_RUN | start | end)) {
            stop();
            return false;
        }
        record[i] = (uint8_t)I2C0_MDR;
    }
    return true;
}

static bool write_record(unsigned copy, const uint8_t record[BOOT_RECORD_LENGTH])
{
    if (!point(copy)) {
        return false;
    }
    for (uint32_t i = 0; i < BOOT_RECORD_LENGTH; i++) {
        if (!send(record[i], i == BOOT_RECORD_LENGTH - 1U ? I2C_MCS_STOP : 0)) {
            stop();
            return false;
        }
    }
    return true;
}

static void init_bus(void)
{
    SYSCTL_RCGC1 |= 0x1000U;
    (void)SYSCTL_RCGC1;
    GPIO_AFSEL(GPIO_B) |= 0x0CU;
    GPIO_ODR(GPIO_B) |= 0x08U;
    GPIO_DEN(GPIO_B) |= 0x0CU;
    I2C0_MCR = 0x10U;
    I2C0_MTPR = 24U; /* 100 kHz at 50 MHz */
}

uint32_t count_this_start(void)
{
    uint8_t records[2][BOOT_RECORD_LENGTH];
    uint8_t written[BOOT_RECORD_LENGTH];
    uint32_t boots = 0;
    unsigned copy = 0;
    init_bus();
    if (!read_record(0, records[0]) || !read_record(1, records[1])) {
        return 0;
    }
    if (!boot_record_choose((const uint8_t(*)[BOOT_RECORD_LENGTH])records, &boots, &copy)) {
        return 0;
    }
    boot_record_encode(boots, records[copy]);
    if (!write_record(copy, records[copy]) || !read_record(copy, written)) {
        return 0;
    }
    for (uint32_t i = 0; i < BOOT_RECORD_LENGTH; i++) {
        if (written[i] != records[copy][i]) {
            return 0; /* write-protected or worn out */
        }
    }
    return boots;
}
