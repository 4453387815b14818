/* The main loop: never waits, never allocates. Time first, then one byte of the line. */
#include "../../core/controller.h"
#include "board.h"

/* The last page of flash, written apart from the program. */
extern const uint8_t key_page_start[];

static struct controller controller;

int main(void)
{
    struct key_page page;
    uint8_t reply[OSDP_REPLY_MAX];
    uint8_t byte = 0;

    board_init();
    const bool has_key = key_page_read(key_page_start, &page);
    const uint32_t boots = has_key ? count_this_start() : 0;
    controller_init(&controller, has_key ? &page : NULL, boots, board_inputs());
    if (has_key) {
        line_init(page.baud);
    }
    for (;;) {
        const uint32_t elapsed_ms = board_elapsed_ms();
        if (elapsed_ms > 0) {
            board_outputs(controller_advance(&controller, board_inputs(), elapsed_ms));
            board_alive(); /* no tick, no sign of life */
        }
        line_pump();
        if (!line_is_sending() && line_read(&byte)) {
            const size_t length = controller_receive(&controller, byte, board_noise(), reply);
            if (length > 0) {
                board_outputs(turnstile_outputs(&controller.turnstile));
                line_send(reply, length);
            }
        } else if (!line_is_sending()) {
            board_sleep();
        }
    }
}
