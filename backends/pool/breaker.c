/* Three states in one number: until when it is open. */
#include "backends/pool/breaker.h"

const char *breaker_state_name(enum breaker_state s)
{
    static const char *const names[BREAKER_STATES] = {"closed", "open", "half_open"};
    return names[s];
}

enum breaker_state breaker_state(const struct breaker *b, uint64_t now_ms)
{
    if (b->until_ms == 0)
        return BREAKER_CLOSED;
    return now_ms < b->until_ms ? BREAKER_OPEN : BREAKER_HALF_OPEN;
}

bool breaker_allows(const struct breaker *b, uint64_t now_ms)
{
    const enum breaker_state s = breaker_state(b, now_ms);

    return s == BREAKER_CLOSED || (s == BREAKER_HALF_OPEN && !b->probing);
}

bool breaker_start(struct breaker *b, uint64_t now_ms)
{
    if (b->probing || breaker_state(b, now_ms) == BREAKER_CLOSED)
        return false;
    b->probing = true;
    return true;
}

/* 1 s, 2 s, 4 s …, up to half as much again. */
static uint64_t back_off(unsigned openings, const struct dice *dice)
{
    const unsigned doublings = openings - 1 < 6 ? openings - 1 : 6;
    const uint64_t wait = (uint64_t)BREAKER_FIRST_MS << doublings;
    const uint64_t all = wait + dice_below(dice, wait / 2 + 1);

    return all < BREAKER_MOST_MS ? all : BREAKER_MOST_MS;
}

bool breaker_failed(struct breaker *b, bool probe, uint64_t now_ms, const struct dice *dice)
{
    if (b->until_ms > 0 && !probe)
        return false;
    b->probing = false;
    b->openings++;
    b->until_ms = now_ms + back_off(b->openings, dice);
    return true;
}

void breaker_served(struct breaker *b, bool probe)
{
    if (probe)
        *b = (struct breaker){0};
}

void breaker_dropped(struct breaker *b, bool probe)
{
    if (probe)
        b->probing = false;
}
