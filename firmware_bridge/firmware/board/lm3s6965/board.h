/* What the main loop needs of this board. */
#ifndef BOARD_H
#define BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* First of all: relays at rest, then clock, inputs, tick and watchdog. */
void board_init(void);

/* Milliseconds since the last call that returned more than 0. */
uint32_t board_elapsed_ms(void);

/* Present state of the input loops, one bit an input, 1 = closed. */
uint8_t board_inputs(void);

/* Drive the relays, one bit an output. */
void board_outputs(uint8_t bits);

/* Tell the watchdog that the main loop lives. Without this the chip is reset within 0.5 s. */
void board_alive(void);

/* Do nothing until the next interrupt: at most one tick. */
void board_sleep(void);

/* Something that differs from start to start a little; nothing that security rests on. */
uint32_t board_noise(void);

/* RS-485 line on UART0. */
void line_init(uint32_t baud);
bool line_read(uint8_t *byte);
bool line_is_sending(void);
void line_send(const uint8_t *bytes, size_t length);
void line_pump(void);

/* Count this start in the EEPROM (24C32 or larger, address 0x50 on I2C0). 0: it cannot be
 * trusted. */
uint32_t count_this_start(void);

#endif
