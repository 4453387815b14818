/* The RS-485 line: UART0 on port A, driver enable on port F. Bytes received wait in a ring that
 * an interrupt fills; sending goes on in the main loop, so that nothing ever waits for a byte. */
#include "board.h"

#include "registers.h"

enum { CLOCK_HZ = 50000000, RING = 256, DRIVER_PIN = 0x08, LONGEST = 64 };

static volatile uint8_t ring[RING];
static volatile uint8_t ring_in; /* wraps around by itself */
static uint8_t ring_out;

static uint8_t sending[LONGEST];
static size_t send_next;
static size_t send_end;

void line_init(uint32_t baud)
{
    const uint32_t divisor = (uint32_t)CLOCK_HZ * 4U / baud; /* in 64ths */
    SYSCTL_RCGC1 |= 0x1U;
    (void)SYSCTL_RCGC1;
    GPIO_AFSEL(GPIO_A) = 0x3U;
    GPIO_DEN(GPIO_A) = 0x3U;
    UART0_CTL = 0;
    UART0_IBRD = divisor >> 6;
    UART0_FBRD = divisor & 0x3FU;
    UART0_LCRH = 0x70U; /* 8N1, FIFOs */
    UART0_IM = UART_RX_AND_TIMEOUT;
    UART0_CTL = 0x301U;
    NVIC_ISER0 = 1U << 5;
}

void uart0_isr(void);
void uart0_isr(void)
{
    UART0_ICR = UART_RX_AND_TIMEOUT;
    while ((UART0_FR & UART_FR_RXFE) == 0) {
        const uint32_t received = UART0_DR;
        const uint8_t next = (uint8_t)(ring_in + 1U);
        /* A byte with a line error is left out; the frame's CRC notices. So it does overflow. */
        if ((received & UART_DR_ERRORS) == 0 && next != ring_out) {
            ring[ring_in] = (uint8_t)received;
            ring_in = next;
        }
    }
}

bool line_read(uint8_t *byte)
{
    if (ring_out == ring_in) {
        return false;
    }
    *byte = ring[ring_out];
    ring_out++;
    return true;
}

bool line_is_sending(void)
{
    return send_end != 0;
}

void line_send(const uint8_t *bytes, size_t length)
{
    if (line_is_sending() || length == 0 || length > LONGEST) {
        return;
    }
    for (size_t i = 0; i < length; i++) {
        sending[i] = bytes[i];
    }
    send_next = 0;
    send_end = length;
    GPIO_DATA(GPIO_F, DRIVER_PIN) = DRIVER_PIN;
}

void line_pump(void)
{
    while (send_next < send_end && (UART0_FR & UART_FR_TXFF) == 0) {
        UART0_DR = sending[send_next];
        send_next++;
    }
    if (send_end != 0 && send_next == send_end && (UART0_FR & UART_FR_BUSY) == 0) {
        GPIO_DATA(GPIO_F, DRIVER_PIN) = 0;
        send_end = 0;
    }
}
