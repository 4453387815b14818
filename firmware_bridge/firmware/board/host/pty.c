/* The core as a program of this computer: a peripheral on a pty.
 *
 *     controller KEY_PAGE BOOTS      prints the pty's path, then "outputs N" at each change;
 *                                    reads the input loops, a decimal number a line; ends with
 *                                    its input. */
#define _XOPEN_SOURCE 600

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "../../core/controller.h"

static struct controller controller;

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000U + (uint64_t)t.tv_nsec / 1000000U;
}

/* Open a raw pty; keep its other end open, so that a peer may come and go. */
static int open_line(int *other_end)
{
    struct termios raw;
    const int line = posix_openpt(O_RDWR | O_NOCTTY);
    if (line < 0 || grantpt(line) != 0 || unlockpt(line) != 0) {
        return -1;
    }
    *other_end = open(ptsname(line), O_RDWR | O_NOCTTY);
    if (*other_end < 0 || tcgetattr(*other_end, &raw) != 0) {
        return -1;
    }
    raw.c_iflag = 0;
    raw.c_oflag = 0;
    raw.c_lflag = 0;
    raw.c_cflag = CS8 | CREAD | CLOCAL;
    return tcsetattr(*other_end, TCSANOW, &raw) == 0 ? line : -1;
}

static bool load_page(const char *path, struct key_page *page)
{
    uint8_t bytes[KEY_PAGE_USED];
    FILE *file = fopen(path, "rb");
    const bool whole = file != NULL && fread(bytes, 1, sizeof bytes, file) == sizeof bytes;
    if (file != NULL) {
        (void)fclose(file);
    }
    return whole && key_page_read(bytes, page);
}

int main(int count, char **arguments)
{
    struct key_page page;
    int other_end = -1;
    const int line = open_line(&other_end);
    if (count != 3 || line < 0 || !load_page(arguments[1], &page)) {
        (void)fprintf(stderr, "usage: controller KEY_PAGE BOOTS (and a free pty)\n");
        return 2;
    }
    unsigned sample = INPUT_MASK & ~(1U << INPUT_PASSAGE_A | 1U << INPUT_PASSAGE_B);
    controller_init(&controller, &page, (uint32_t)strtoul(arguments[2], NULL, 10),
                    (uint8_t)sample);
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    (void)printf("%s\n", ptsname(line));
    struct pollfd ready[2] = {{.fd = line, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
    uint64_t before = now_ms();
    unsigned outputs = 0;
    for (;;) {
        (void)poll(ready, 2, 1);
        const uint64_t now = now_ms();
        if (now != before) {
            controller_advance(&controller, (uint8_t)sample, (uint32_t)(now - before));
            before = now;
        }
        if (ready[1].revents != 0) {
            char text[16];
            const ssize_t got = read(0, text, sizeof text - 1);
            if (got <= 0) {
                return 0;
            }
            text[got] = '\0';
            sample = (unsigned)strtoul(text, NULL, 10) & INPUT_MASK;
        }
        if ((ready[0].revents & POLLIN) != 0) {
            uint8_t bytes[256];
            uint8_t reply[OSDP_REPLY_MAX];
            const ssize_t got = read(line, bytes, sizeof bytes);
            for (ssize_t i = 0; i < got; i++) {
                const size_t length =
                    controller_receive(&controller, bytes[i], (uint32_t)now, reply);
                if (length > 0 && write(line, reply, length) < 0 && errno != EAGAIN) {
                    return 1;
                }
            }
        }
        const unsigned state = turnstile_outputs(&controller.turnstile);
        if (state != outputs) {
            outputs = state;
            (void)printf("outputs %u\n", outputs);
        }
    }
}
