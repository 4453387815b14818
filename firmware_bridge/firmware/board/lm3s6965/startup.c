/* Vector table and what happens before main. Any fault resets the chip; a reset relay is at rest. */
#include <stdint.h>

#include "registers.h"

extern uint32_t data_load[], data_start[], data_end[], bss_start[], bss_end[], stack_top[];

int main(void);
void tick_isr(void);
void uart0_isr(void);
void reset_handler(void);
void fault_handler(void);

void fault_handler(void)
{
    /* The pins become inputs at reset, and the pull-downs at the relay drivers let both fall. */
    SCB_AIRCR = AIRCR_SYSRESETREQ;
    for (;;) {
    }
}

void reset_handler(void)
{
    /* The symbols are the linker script's: the ends of one piece of memory each. */
    const uint32_t *from = data_load;
    // cppcheck-suppress comparePointers
    for (uint32_t *to = data_start; to < data_end; to++) {
        *to = *from++;
    }
    // cppcheck-suppress comparePointers
    for (uint32_t *to = bss_start; to < bss_end; to++) {
        *to = 0;
    }
    main();
    fault_handler();
}

typedef void (*vector)(void);

/* Exceptions 1..15, then interrupts from 16 on; UART0 is interrupt 5, and none above is enabled. */
// the processor reads it, no code does
__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack; // cppcheck-suppress unusedStructMember
    vector handlers[21]; // cppcheck-suppress unusedStructMember
} VECTORS = {
    .stack = stack_top,
    .handlers =
        {
            /* 1: */ reset_handler,
            /* 2..14: */ fault_handler, fault_handler, fault_handler, fault_handler, fault_handler,
            fault_handler, fault_handler, fault_handler, fault_handler, fault_handler,
            fault_handler, fault_handler, fault_handler,
            /* 15: */ tick_isr,
            /* 16..20: */ fault_handler, fault_handler, fault_handler, fault_handler, fault_handler,
            /* 21: */ uart0_isr,
        },
};
