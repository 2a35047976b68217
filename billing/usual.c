/* A table model → machine → kind of text: how many tokens a piece and a byte have at most in 99 of
 * a hundred calls. Not the mean, since one call's text differs from the next one's; and not the
 * highest, since one odd text would let everybody claim more for long. */
#include "billing/usual.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/map.h"

enum {
    ONE = 1 << 16, /* ratios are in 1/65536 */
    RISE = 16,
    FALL = 1600, /* steps up and down, as 1 to 100: they meet at 99 of a hundred */
    FORGET = 256,
    UNSAID_LONG = ONE / 16,  /* what is left of ONE after some 700 calls */
    UNSAID_OFTEN = ONE / 64, /* of a machine's calls with text */
    SPLIT = 2, /* times what the bytes allow: in more pieces than tokens no text comes, and one
                  caller's texts may have half the bytes a token that the others' have */
    FAR = 4,   /* times it: a single text's, as far as any of the same kind is from the others */
    SIZES = 8, /* of sealed answers in few pieces, each twice the one before: the smaller, the
                  more of it is frame */
    SIZE_LEAST = 1024,
    CELLS = SAID_KINDS + SIZES - 1
};

/* Of one kind of text. */
struct cell {
    uint32_t per_piece, per_byte; /* tokens */
    uint16_t streams, calls;      /* learned from, up to USUAL_CALLS */
};

struct machine {
    char name[USUAL_MACHINE_LEN + 1];
    uint64_t heard; /* usual.turn */
    struct cell cells[CELLS];
    uint32_t unsaid;  /* ONE at a call with reasoning of which nothing was shown, then less */
    uint32_t unshown; /* the share of such calls, of ONE */
    uint16_t read;    /* calls whose text was seen, up to USUAL_CALLS */
};

struct model {
    char *name;
    uint64_t heard;
    size_t count;
    struct machine *machines;
};

struct usual {
    struct map models; /* name → struct model */
    uint64_t turn;
};

struct usual *usual_new(void)
{
    return mem_zero(sizeof(struct usual));
}

static void model_free(struct usual *u, struct model *m)
{
    (void)map_del(&u->models, span_str(m->name));
    free(m->machines);
    free(m->name);
    free(m);
}

void usual_free(struct usual *u)
{
    struct span name;
    void *value;
    size_t at = 0;

    if (!u)
        return;
    while (map_next(&u->models, &at, &name, &value))
        model_free(u, value);
    map_fini(&u->models);
    free(u);
}

size_t usual_models(const struct usual *u)
{
    return u->models.len;
}

/* ---- Who is remembered ---- */

static void forget_oldest(struct usual *u)
{
    struct model *oldest = NULL;
    struct span name;
    void *value;
    size_t at = 0;

    while (map_next(&u->models, &at, &name, &value)) {
        struct model *m = value;
        if (!oldest || m->heard < oldest->heard)
            oldest = m;
    }
    if (oldest)
        model_free(u, oldest);
}

static struct model *model_of(struct usual *u, struct span name)
{
    struct model *m = map_get(&u->models, name);

    if (!m) {
        if (u->models.len >= USUAL_MODELS)
            forget_oldest(u);
        m = mem_zero(sizeof(*m));
        m->name = mem_zero(name.len + 1);
        memcpy(m->name, name.data, name.len);
        (void)map_put(&u->models, span_str(m->name), m);
    }
    m->heard = ++u->turn;
    return m;
}

static struct machine *place_for(struct model *m)
{
    struct machine *oldest = m->machines;

    if (m->count < USUAL_MACHINES) {
        m->machines = mem_grow(m->machines, (m->count + 1) * sizeof(*m->machines));
        return &m->machines[m->count++];
    }
    for (size_t i = 1; i < m->count; i++)
        if (m->machines[i].heard < oldest->heard)
            oldest = &m->machines[i];
    return oldest;
}

/* NULL: it is not remembered. */
static struct machine *machine_find(const struct model *m, const char *name)
{
    for (size_t i = 0; i < m->count; i++)
        if (strcmp(m->machines[i].name, name) == 0)
            return &m->machines[i];
    return NULL;
}

static struct machine *machine_of(struct usual *u, struct model *m, const char *name)
{
    struct machine *w = machine_find(m, name);

    if (!w) {
        w = place_for(m);
        *w = (struct machine){0};
        (void)snprintf(w->name, sizeof(w->name), "%s", name);
    }
    w->heard = u->turn;
    return w;
}

/* ---- What is compared ---- */

static bool is_sealed(const struct usual_seen *seen)
{
    return seen->kind >= SAID_SEALED;
}

/* Which cell it is held against. */
static size_t cell_of(const struct usual_seen *seen)
{
    size_t size = 0;

    if (seen->kind == SAID_SEALED_WHOLE)
        for (uint64_t b = seen->bytes / SIZE_LEAST; b > 0 && size < SIZES - 1; b /= 2)
            size++;
    return seen->kind + size;
}

/* Whether all that is claimed was there to be seen, if the claim is true. */
static bool shows_all(const struct usual_seen *seen, const struct price_tokens *claim)
{
    return claim->reasoning == 0 || (!is_sealed(seen) && seen->thought);
}

static uint32_t ratio(int64_t tokens, uint64_t of)
{
    const unsigned __int128 r = (unsigned __int128)(uint64_t)tokens * ONE / (of > 0 ? of : 1);

    return r < UINT32_MAX ? (uint32_t)r : UINT32_MAX;
}

/* ---- Learning ---- */

static void call_note(uint16_t *calls)
{
    *calls = (uint16_t)(*calls + (*calls < USUAL_CALLS ? 1 : 0));
}

/* The highest of the first calls, then in steps whose size no single call has a say in (stochastic
 * approximation of a quantile: Robbins, Monro 1951). */
static void figure_note(uint32_t *figure, uint16_t *calls, uint32_t now)
{
    const uint32_t step = *figure / RISE + 1;

    if (now <= *figure)
        *figure -= *calls < USUAL_CALLS ? 0 : *figure / FALL;
    else if (*calls < USUAL_CALLS || now - *figure < step)
        *figure = now;
    else
        *figure += step;
    call_note(calls);
}

static void unsaid_note(struct machine *w, bool unsaid)
{
    w->unsaid = unsaid ? ONE : w->unsaid - w->unsaid / FORGET;
    w->unshown = w->unshown - w->unshown / FORGET + (unsaid ? ONE / FORGET : 0);
    call_note(&w->read);
}

void usual_learn(struct usual *u, struct span model, const char *machine,
                 const struct usual_seen *seen, const struct price_tokens *claim)
{
    const bool all = shows_all(seen, claim);
    const int64_t shown = all ? claim->out : claim->out - claim->reasoning;

    if (!machine[0] || claim->out == 0)
        return;
    struct machine *w = machine_of(u, model_of(u, model), machine);
    struct cell *c = &w->cells[cell_of(seen)];
    if (!is_sealed(seen))
        unsaid_note(w, !all);
    if (shown < USUAL_LEAST || seen->bytes == 0 || (is_sealed(seen) && !all))
        return;
    figure_note(&c->per_byte, &c->calls, ratio(shown, seen->bytes));
    if (seen->pieces > 0)
        figure_note(&c->per_piece, &c->streams, ratio(shown, seen->pieces));
}

/* ---- The bound ---- */

enum figure { PER_PIECE, PER_BYTE, UNSAID };

/* False: this machine has too little to say of it. */
static bool voice(const struct machine *w, enum figure which, size_t cell, uint32_t *out)
{
    const struct cell *c = &w->cells[cell];

    *out = which == PER_PIECE ? c->per_piece : which == PER_BYTE ? c->per_byte : w->unsaid;
    return (which == PER_PIECE  ? c->streams
            : which == PER_BYTE ? c->calls
                                : w->read) >= USUAL_CALLS;
}

/* The lower median of those who know; false: they are too few. */
static bool usual_figure(const struct model *m, enum figure which, size_t cell, uint32_t *out)
{
    uint32_t sorted[USUAL_MACHINES], one;
    size_t count = 0;

    for (size_t i = 0; i < m->count; i++) {
        if (!voice(&m->machines[i], which, cell, &one))
            continue;
        size_t at = count++;
        for (; at > 0 && sorted[at - 1] > one; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = one;
    }
    if (count < USUAL_VOICES)
        return false;
    *out = sorted[(count - 1) / 2];
    return true;
}

static int64_t tokens_at(uint32_t figure, uint64_t of)
{
    const unsigned __int128 t = ((unsigned __int128)figure * of + ONE - 1) / ONE;

    return t < (uint64_t)PRICE_TOKENS_MAX ? (int64_t)t : PRICE_TOKENS_MAX;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t with_margin(int64_t of, int64_t margin)
{
    const unsigned __int128 all = (unsigned __int128)(uint64_t)of * (100 + (uint64_t)margin) / 100;

    return all < (uint64_t)PRICE_TOKENS_MAX ? (int64_t)all : PRICE_TOKENS_MAX;
}

/* What is held against each other: the model's figures, this machine, and the margin. */
struct comparison {
    const struct model *model;
    const struct machine *own; /* NULL: it has not run the model yet */
    size_t cell;
    int64_t margin;
    uint32_t per_piece, per_byte; /* usual; of pieces, ONE at least: an engine's own step */
    bool knows_pieces;
};

/* Its own figure is above the usual one, and not by chance: it is that of 99 of its answers. */
static bool counts_more(const struct comparison *c, enum figure which, uint32_t usual)
{
    uint32_t own;

    return c->own && voice(c->own, which, c->cell, &own) && own > with_margin(usual, c->margin);
}

/* False: too little is known of the kind. */
static bool compare(struct comparison *c, const struct usual_seen *seen)
{
    c->cell = cell_of(seen);
    c->knows_pieces = usual_figure(c->model, PER_PIECE, c->cell, &c->per_piece);
    if (c->per_piece < ONE)
        c->per_piece = ONE;
    return usual_figure(c->model, PER_BYTE, c->cell, &c->per_byte) &&
           (c->knows_pieces || seen->pieces == 0);
}

/* By its pieces or by its bytes, whichever allows more: several tokens may come in one piece, and a
 * language may have few bytes a token. */
static int64_t usual_shown(const struct comparison *c, const struct usual_seen *seen, int64_t times)
{
    const int64_t by_bytes = tokens_at(c->per_byte, seen->bytes);
    int64_t by_pieces = tokens_at(c->per_piece, seen->pieces);

    if (!is_sealed(seen))
        by_pieces = least(by_pieces, SPLIT * by_bytes);
    return times * by_bytes > by_pieces ? times * by_bytes : by_pieces;
}

static int64_t most_of(const struct comparison *c, const struct usual_seen *seen, int64_t times)
{
    return least(with_margin(usual_shown(c, seen, times), c->margin) + USUAL_SLACK * seen->choices +
                     USUAL_TOOL * (int64_t)seen->tools,
                 PRICE_TOKENS_MAX);
}

/* An engine's step is a token or more whatever the text: who counts more a piece, too, has not just
 * got other texts than the rest. */
static bool pieces_tell(const struct comparison *c)
{
    return c->knows_pieces && counts_more(c, PER_BYTE, c->per_byte) &&
           counts_more(c, PER_PIECE, c->per_piece);
}

/* Whether it claims often what nobody was shown. */
static bool hides(const struct machine *own)
{
    return own && own->read >= USUAL_CALLS && own->unshown >= UNSAID_OFTEN;
}

/* How many times what its bytes usually have it may claim; 0: no bound. all: it was all shown. */
static int64_t times_usual(const struct comparison *c, const struct usual_seen *seen, bool all)
{
    if (pieces_tell(c) || (!all && hides(c->own)))
        return 1;
    if (counts_more(c, PER_BYTE, c->per_byte))
        return SPLIT;
    return is_sealed(seen) ? 0 : FAR;
}

/* Most machines of the model show its reasoning, or make none: for long none was left unsaid. */
static bool shows_reasoning(const struct model *m)
{
    uint32_t unsaid;

    return usual_figure(m, UNSAID, 0, &unsaid) && unsaid < UNSAID_LONG;
}

struct usual_bounds usual_bound(const struct usual *u, struct span model, const char *machine,
                                const struct usual_seen *seen, const struct price_tokens *claim,
                                int64_t margin)
{
    const struct model *m = map_get(&u->models, model);
    const bool all = shows_all(seen, claim);
    struct comparison c = {.model = m, .margin = margin};
    struct usual_bounds b = {0};

    if (!m || seen->bytes == 0 || !compare(&c, seen))
        return b;
    c.own = machine_find(m, machine);
    const int64_t times = times_usual(&c, seen, all);
    if (times == 0)
        return b;
    b.told = !is_sealed(seen) && pieces_tell(&c);
    if (all || shows_reasoning(m))
        b.out = most_of(&c, seen, times);
    else if (!is_sealed(seen))
        b.said = most_of(&c, seen, times);
    return b;
}
