#include "turnstile.h"

#include <string.h>

#include "osdp_codes.h"

static bool closed(const struct turnstile *t, unsigned input)
{
    return ((unsigned)t->loops >> input & 1U) != 0;
}

static uint8_t inputs_now(const struct turnstile *t)
{
    unsigned bits = t->loops & ((1U << INPUT_PASSAGE_A) | (1U << INPUT_PASSAGE_B) |
                                (1U << INPUT_TAMPER));
    bits |= (unsigned)(closed(t, INPUT_READY) && !t->fire) << INPUT_READY;
    bits |= (unsigned)!t->fire << INPUT_FIRE;
    bits |= (unsigned)t->tailgated << REPORT_TAILGATED;
    bits |= (unsigned)t->unused << REPORT_UNUSED;
    return (uint8_t)bits;
}

uint8_t turnstile_outputs(const struct turnstile *t)
{
    return (uint8_t)((unsigned)t->entry << OUTPUT_ENTRY |
                     (unsigned)t->fire << OUTPUT_FIRE_RELEASE);
}

uint8_t turnstile_report_local(const struct turnstile *t)
{
    return (uint8_t)((unsigned)!closed(t, INPUT_TAMPER) << LOCAL_TAMPER |
                     (unsigned)!closed(t, INPUT_POWER) << LOCAL_POWER);
}

static void remove_change(struct turnstile *t, size_t index)
{
    t->changes_used--;
    memmove(t->changes + index, t->changes + index + 1,
            (t->changes_used - index) * sizeof t->changes[0]);
}

static void note_change(struct turnstile *t, uint8_t reply, uint8_t bits)
{
    if (t->changes_used == CHANGES_MAX) {
        remove_change(t, 0); /* nobody asked for long: the newest are worth more */
    }
    t->changes[t->changes_used].reply = reply;
    t->changes[t->changes_used].bits = bits;
    t->changes_used++;
}

bool turnstile_next_change(struct turnstile *t, struct turnstile_change *change)
{
    if (t->changes_used == 0) {
        return false;
    }
    *change = t->changes[0];
    remove_change(t, 0);
    return true;
}

void turnstile_forget_changes(struct turnstile *t)
{
    t->changes_used = 0;
}

uint8_t turnstile_report_inputs(struct turnstile *t)
{
    for (size_t i = 0; i < t->changes_used; i++) {
        if (t->changes[i].reply == OSDP_ISTATR) {
            const uint8_t bits = t->changes[i].bits;
            remove_change(t, i);
            return bits;
        }
    }
    return inputs_now(t);
}

uint8_t turnstile_report_outputs(struct turnstile *t)
{
    for (size_t i = t->changes_used; i > 0; i--) {
        if (t->changes[i - 1].reply == OSDP_OSTATR) {
            remove_change(t, i - 1);
        }
    }
    return turnstile_outputs(t);
}

void turnstile_init(struct turnstile *t, uint8_t sample)
{
    memset(t, 0, sizeof *t);
    t->loops = sample & INPUT_MASK;
    t->fire_clear_ms = FIRE_CLEAR_MS;
}

/* --- relays ------------------------------------------------------------------------------- */

void turnstile_close(struct turnstile *t)
{
    if (t->entry) {
        t->entry = false;
        t->entry_left_ms = 0;
        t->rest_left_ms = ENTRY_REST_MS;
        note_change(t, OSDP_OSTATR, turnstile_outputs(t));
    }
}

enum turnstile_drive turnstile_drive(struct turnstile *t, uint8_t output, uint8_t control,
                                     uint16_t timer_count)
{
    if (output != OUTPUT_ENTRY || control != OSDP_OUT_TIMED_ON || timer_count == 0) {
        return DRIVE_REFUSED;
    }
    if (t->fire || t->fire_samples > 0 || !closed(t, INPUT_TAMPER) || !closed(t, INPUT_READY)) {
        return DRIVE_REFUSED;
    }
    if (t->entry || t->rest_left_ms > 0) {
        return DRIVE_REFUSED;
    }
    t->entry = true;
    t->entry_left_ms = ENTRY_MAX_MS;
    if (timer_count < ENTRY_MAX_MS / 100) {
        t->entry_left_ms = (uint16_t)(timer_count * 100U);
    }
    t->opening_left_ms = OPENING_MS;
    t->persons = 0;
    note_change(t, OSDP_OSTATR, turnstile_outputs(t));
    if (t->tailgated || t->unused) {
        t->tailgated = false;
        t->unused = false;
        note_change(t, OSDP_ISTATR, inputs_now(t));
    }
    return DRIVE_OBEYED;
}

/* --- inputs ------------------------------------------------------------------------------- */

static void take_fire(struct turnstile *t, bool loop_closed, uint32_t elapsed_ms)
{
    if (!loop_closed) {
        t->fire_clear_ms = FIRE_CLEAR_MS;
        if (t->fire_samples < FIRE_SAMPLES) {
            t->fire_samples++;
        }
        if (t->fire_samples == FIRE_SAMPLES) {
            t->fire = true;
        }
        return;
    }
    t->fire_samples = 0;
    if (t->fire) {
        const uint32_t step = elapsed_ms < SAMPLE_MS_MAX ? elapsed_ms : SAMPLE_MS_MAX;
        t->fire_clear_ms = (uint16_t)(step < t->fire_clear_ms ? t->fire_clear_ms - step : 0);
        t->fire = t->fire_clear_ms > 0;
    }
}

static void person_crossed(struct turnstile *t)
{
    if (t->opening_left_ms == 0) {
        return;
    }
    t->persons++;
    if (t->persons > 1) {
        t->tailgated = true;
    }
    t->opening_left_ms = FOLLOW_MS; /* each one behind another belongs to the same opening */
}

static void take_loop(struct turnstile *t, unsigned input, bool loop_closed, uint32_t elapsed_ms)
{
    if (loop_closed == closed(t, input)) {
        t->unsteady_ms[input] = 0;
        return;
    }
    const uint32_t step = elapsed_ms < SAMPLE_MS_MAX ? elapsed_ms : SAMPLE_MS_MAX;
    t->unsteady_ms[input] = (uint8_t)(t->unsteady_ms[input] + step);
    if (t->unsteady_ms[input] >= DEBOUNCE_MS) {
        t->unsteady_ms[input] = 0;
        t->loops ^= (uint8_t)(1U << input);
        if (input == INPUT_PASSAGE_A && loop_closed) {
            person_crossed(t);
        }
    }
}

static uint16_t count_down(uint16_t left_ms, uint32_t elapsed_ms)
{
    return elapsed_ms < left_ms ? (uint16_t)(left_ms - elapsed_ms) : 0;
}

static void take_time(struct turnstile *t, uint32_t elapsed_ms)
{
    t->rest_left_ms = count_down(t->rest_left_ms, elapsed_ms);
    if (t->entry) {
        t->entry_left_ms = count_down(t->entry_left_ms, elapsed_ms);
        if (t->entry_left_ms == 0) {
            turnstile_close(t);
        }
    }
    if (t->opening_left_ms > 0) {
        t->opening_left_ms = count_down(t->opening_left_ms, elapsed_ms);
        if (t->opening_left_ms == 0 && t->entry) {
            t->opening_left_ms = 1; /* as long as the relay says "come in", it is not over */
        } else if (t->opening_left_ms == 0) {
            t->unused = t->persons == 0;
        }
    }
}

void turnstile_advance(struct turnstile *t, uint8_t sample, uint32_t elapsed_ms)
{
    const uint8_t inputs = inputs_now(t);
    const uint8_t local = turnstile_report_local(t);
    const bool fire = t->fire;

    take_time(t, elapsed_ms);
    for (unsigned input = 0; input < INPUT_COUNT; input++) {
        const bool loop_closed = ((unsigned)sample >> input & 1U) != 0;
        if (input == INPUT_FIRE) {
            take_fire(t, loop_closed, elapsed_ms);
        } else {
            take_loop(t, input, loop_closed, elapsed_ms);
        }
    }
    if (t->fire || !closed(t, INPUT_TAMPER)) {
        turnstile_close(t);
    }
    if (t->fire) {
        t->opening_left_ms = 0; /* whoever walks now walks out of danger */
    }

    if (fire != t->fire) {
        note_change(t, OSDP_OSTATR, turnstile_outputs(t));
    }
    if (inputs != inputs_now(t)) {
        note_change(t, OSDP_ISTATR, inputs_now(t));
    }
    if (local != turnstile_report_local(t)) {
        note_change(t, OSDP_LSTATR, turnstile_report_local(t));
    }
}
