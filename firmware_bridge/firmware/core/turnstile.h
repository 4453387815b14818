/* The turnstile behind the controller: two relays, seven inputs, one opening at a time. Pure:
 * samples of the inputs and the time since the last sample go in, the relays' states come out.
 *
 * All times count down, so no clock can jump, wrap around or be set. */
#ifndef TURNSTILE_H
#define TURNSTILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bits of the input samples, and the order of osdp_ISTATR. 1 = loop closed. */
enum turnstile_input {
    INPUT_PASSAGE_A = 0, /* normally open: a person crosses inwards */
    INPUT_PASSAGE_B = 1, /* normally open: a person crosses outwards */
    INPUT_READY = 2,     /* normally closed: ready for an opening */
    INPUT_TAMPER = 3,    /* normally closed: housing shut */
    INPUT_FIRE = 4,      /* normally closed: no fire alarm */
    INPUT_POWER = 5,     /* normally closed: mains good; told in osdp_LSTATR */
    INPUT_COUNT = 6,
    INPUT_MASK = (1 << INPUT_COUNT) - 1,
};

/* What osdp_ISTATR tells: the five loops above, then what the controller concludes itself. */
enum turnstile_report {
    REPORT_TAILGATED = 5, /* 1 = a second person crossed in the last opening */
    REPORT_UNUSED = 6,    /* 1 = nobody crossed in the last opening */
    REPORT_COUNT = 7,
};

/* Bits of the outputs, and the order of osdp_OSTATR. */
enum turnstile_output {
    OUTPUT_ENTRY = 0,        /* lets one person in; pulsed by osdp_OUT and by nothing else */
    OUTPUT_FIRE_RELEASE = 1, /* active while there is a fire alarm; nobody can command it */
    OUTPUT_COUNT = 2,
};

/* Bits of osdp_LSTATR: 1 = trouble. */
enum turnstile_local { LOCAL_TAMPER = 0, LOCAL_POWER = 1, LOCAL_COUNT = 2 };

enum {
    ENTRY_MAX_MS = 5000,   /* the entry relay is never active for longer */
    ENTRY_REST_MS = 200,   /* after it fell, it does not rise again for so long */
    OPENING_MS = 5000,     /* how long the turnstile waits for a person */
    FOLLOW_MS = 1000,      /* after a person: how long a second one belongs to the same opening */
    DEBOUNCE_MS = 20,      /* an input is believed when it was steady for so long */
    SAMPLE_MS_MAX = 10,    /* no single sample counts for more */
    FIRE_SAMPLES = 2,      /* an open fire loop is believed after so many samples in a row */
    FIRE_CLEAR_MS = 1000,  /* a fire alarm ends when its loop was closed for so long */
    CHANGES_MAX = 32,
};

/* Why osdp_OUT is refused, or that it is not. */
enum turnstile_drive { DRIVE_OBEYED, DRIVE_REFUSED };

struct turnstile_change {
    uint8_t reply; /* OSDP_ISTATR, OSDP_OSTATR or OSDP_LSTATR */
    uint8_t bits;
};

struct turnstile {
    uint8_t loops; /* debounced inputs, without fire */
    uint8_t unsteady_ms[INPUT_COUNT];
    bool fire;
    uint8_t fire_samples;
    uint16_t fire_clear_ms;

    bool entry;
    uint16_t entry_left_ms;
    uint16_t rest_left_ms;

    uint16_t opening_left_ms; /* 0: no opening under way */
    uint8_t persons;
    bool tailgated;
    bool unused;

    struct turnstile_change changes[CHANGES_MAX];
    uint8_t changes_used;
};

/* Start with the entry relay at rest, whatever was before. `sample` is the first one. */
void turnstile_init(struct turnstile *turnstile, uint8_t sample);

/* Take one sample of the inputs, `elapsed_ms` after the one before. */
void turnstile_advance(struct turnstile *turnstile, uint8_t sample, uint32_t elapsed_ms);

/* Obey one entry of osdp_OUT: timed-on of the entry relay, `timer_count` steps of 100 ms. */
enum turnstile_drive turnstile_drive(struct turnstile *turnstile, uint8_t output, uint8_t control,
                                     uint16_t timer_count);

/* Let the entry relay fall now. */
void turnstile_close(struct turnstile *turnstile);

/* Present state of the relays, one bit an output. */
uint8_t turnstile_outputs(const struct turnstile *turnstile);

/* What the line asks for; each change of an input is told exactly once, in order. */
uint8_t turnstile_report_inputs(struct turnstile *turnstile);
uint8_t turnstile_report_outputs(struct turnstile *turnstile);
uint8_t turnstile_report_local(const struct turnstile *turnstile);
bool turnstile_next_change(struct turnstile *turnstile, struct turnstile_change *change);
void turnstile_forget_changes(struct turnstile *turnstile);

#endif
