/* Clock, relays, inputs, tick, watchdog.
 *
 * Port D, bits 0..5: input loops, each between 3.3 V and the pin with a pull-down: a broken wire
 * reads as an open loop. Port F, bit 0: entry relay, bit 2: fire release, bit 3: RS-485 driver. */
#include "board.h"

#include "../../core/turnstile.h"
#include "registers.h"

enum {
    CLOCK_HZ = 50000000,
    ENTRY_PIN = 0x01,
    FIRE_RELEASE_PIN = 0x04,
    WATCHDOG_MS = 200, /* the first lapse marks, the second resets: at most 400 ms */
};

static volatile uint32_t ticks;
static volatile uint32_t entry_on_ms;
static uint32_t ticks_taken;

/* A second guard, apart from the core and from the main loop: whatever they do, the entry relay
 * falls at its maximum, and stays down until it was switched off. */
static void guard_entry(void)
{
    if (GPIO_DATA(GPIO_F, ENTRY_PIN) == 0) {
        return;
    }
    if (entry_on_ms < ENTRY_MAX_MS) {
        entry_on_ms++;
    } else {
        GPIO_DATA(GPIO_F, ENTRY_PIN) = 0;
    }
}

void tick_isr(void);
void tick_isr(void)
{
    ticks++;
    guard_entry();
}

static void init_clock(void)
{
    /* 8 MHz crystal, PLL, 200 MHz / 4; the order is the data sheet's (5.3) */
    enum {
        BYPASS = 1 << 11,
        PLL_OFF = 1 << 13,
        DIVIDE_BY_4 = 1 << 22 | 3 << 23,
        CRYSTAL_8_MHZ = 0xE << 6,
    };
    SYSCTL_RCC = BYPASS | PLL_OFF | CRYSTAL_8_MHZ;
    SYSCTL_RCC = BYPASS | CRYSTAL_8_MHZ | DIVIDE_BY_4;
    uint32_t patience = 100000;
    while ((SYSCTL_RIS & SYSCTL_RIS_PLL_LOCKED) == 0) {
        if (--patience == 0) {
            SCB_AIRCR = AIRCR_SYSRESETREQ; /* without a clock no time would be right */
        }
    }
    SYSCTL_RCC = CRYSTAL_8_MHZ | DIVIDE_BY_4;
    SYSCTL_PBORCTL = 0x2U; /* brown-out resets */
}

static void init_pins(void)
{
    SYSCTL_RCGC2 |= 0x2BU; /* GPIO A, B, D, F */
    (void)SYSCTL_RCGC2;
    /* Data before direction: the relay pins go from floating straight to low. */
    GPIO_DATA(GPIO_F, 0x0DU) = 0;
    GPIO_DIR(GPIO_F) = 0x0DU;
    GPIO_DEN(GPIO_F) = 0x0DU;
    GPIO_PDR(GPIO_D) = INPUT_MASK;
    GPIO_DEN(GPIO_D) = INPUT_MASK;
}

static void init_watchdog(void)
{
    SYSCTL_RCGC0 |= 0x08U;
    (void)SYSCTL_RCGC0;
    WDT_LOCK = WDT_UNLOCK;
    WDT_LOAD = CLOCK_HZ / 1000 * WATCHDOG_MS;
    WDT_TEST = 0x100U; /* a debugger that halts the core halts it as well */
    WDT_CTL = 0x3U;
    WDT_LOCK = 0;
}

void board_init(void)
{
    init_pins();
    init_clock();
    init_watchdog();
    SYST_RVR = CLOCK_HZ / 1000 - 1;
    SYST_CVR = 0;
    SYST_CSR = 0x7U;
}

uint32_t board_elapsed_ms(void)
{
    const uint32_t now = ticks;
    const uint32_t elapsed = now - ticks_taken; /* right across the wrap-around as well */
    ticks_taken = now;
    return elapsed;
}

uint8_t board_inputs(void)
{
    return (uint8_t)GPIO_DATA(GPIO_D, INPUT_MASK);
}

void board_outputs(uint8_t bits)
{
    const bool entry = (bits >> OUTPUT_ENTRY & 1U) != 0;
    if (!entry) {
        GPIO_DATA(GPIO_F, ENTRY_PIN) = 0;
        entry_on_ms = 0;
    } else if (entry_on_ms < ENTRY_MAX_MS) {
        GPIO_DATA(GPIO_F, ENTRY_PIN) = ENTRY_PIN;
    }
    const bool release = (bits >> OUTPUT_FIRE_RELEASE & 1U) != 0;
    GPIO_DATA(GPIO_F, FIRE_RELEASE_PIN) = release ? FIRE_RELEASE_PIN : 0;
}

void board_alive(void)
{
    WDT_LOCK = WDT_UNLOCK;
    WDT_ICR = 1;
    WDT_LOAD = CLOCK_HZ / 1000 * WATCHDOG_MS;
    WDT_LOCK = 0;
}

void board_sleep(void)
{
    __asm__ volatile("wfi");
}

uint32_t board_noise(void)
{
    return SYST_CVR ^ ticks << 16;
}
