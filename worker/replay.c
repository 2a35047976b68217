/* A set of hashes by linear probing, never more than half full. */
#include "worker/replay.h"

#include <stdlib.h>

#include "base/random.h"

enum { FIRST_CAP = 1024 };

static bool is_free(const uint8_t slot[static REPLAY_LEN])
{
    static const uint8_t zero[REPLAY_LEN];

    return memcmp(slot, zero, REPLAY_LEN) == 0;
}

/* The slot that holds the hash, or the free one where it belongs. */
static uint8_t *slot_of(const struct replay_set *s, const uint8_t hash[static REPLAY_LEN])
{
    uint64_t word = 0;

    memcpy(&word, hash, sizeof(word));
    word = (word ^ s->seed) * UINT64_C(0x9E3779B97F4A7C15);
    for (size_t at = (size_t)(word >> 20) & (s->cap - 1);; at = (at + 1) & (s->cap - 1))
        if (is_free(s->slots[at]) || memcmp(s->slots[at], hash, REPLAY_LEN) == 0)
            return s->slots[at];
}

static void grow(struct replay_set *s)
{
    const struct replay_set old = *s;

    s->cap = old.cap ? 2 * old.cap : FIRST_CAP;
    s->slots = mem_zero(s->cap * REPLAY_LEN);
    random_bytes(&s->seed, sizeof(s->seed));
    for (size_t i = 0; i < old.cap; i++)
        if (!is_free(old.slots[i]))
            memcpy(slot_of(s, old.slots[i]), old.slots[i], REPLAY_LEN);
    free(old.slots);
}

bool replay_has(const struct replay_set *s, const uint8_t hash[static REPLAY_LEN])
{
    return s->cap > 0 && !is_free(slot_of(s, hash));
}

int replay_insert(struct replay_set *s, const uint8_t hash[static REPLAY_LEN])
{
    if (2 * s->len >= s->cap)
        grow(s);
    uint8_t *slot = slot_of(s, hash);
    if (!is_free(slot))
        return E_EXISTS;
    memcpy(slot, hash, REPLAY_LEN);
    s->len++;
    return 0;
}

void replay_fini(struct replay_set *s)
{
    free(s->slots);
    *s = (struct replay_set){0};
}
