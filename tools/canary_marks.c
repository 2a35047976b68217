/* Marks are given once a round is over, since only then it shows whether the canary itself was
 * right: a mistake of the operator's must mark nobody. */
#include "tools/canary_marks.h"

#include <string.h>

#include "base/random.h"

const char *canary_mark_name(enum canary_mark m)
{
    static const char *const names[] = {
        [MARK_NONE] = "-",           [MARK_GOOD] = "good",
        [MARK_BAD] = "bad",          [MARK_UNPROVEN] = "unproven",
        [MARK_DOUBTED] = "in doubt",
    };

    return names[m];
}

/* ---- Who is sent which ---- */

/* One of the model's that have a known answer, each as likely; NULL: none has. */
static const struct canary *draw(const struct canaries_config *f, const char *model)
{
    const struct canary *drawn = NULL;
    uint64_t seen = 0;

    for (size_t i = 0; i < f->canaries.count; i++) {
        const struct canary *c = canary_at(f, i);
        if (strcmp(c->model, model) == 0 && c->answers.count > 0 && random_below(++seen) == 0)
            drawn = c;
    }
    return drawn;
}

/* The next row of that model at or behind `at`; count: there is none. */
static size_t next_of(const struct canary_row *rows, size_t count, size_t at, const char *model)
{
    while (at < count && strcmp(rows[at].model, model) != 0)
        at++;
    return at;
}

/* `first` is its model's first row. */
static void deal_model(struct canary_row *rows, size_t count, size_t first,
                       const struct canaries_config *f)
{
    const struct canary *drawn = NULL;
    const char *model = rows[first].model;
    size_t given = 0;

    for (size_t at = first, next; at < count; at = next) {
        next = next_of(rows, count, at + 1, model);
        if (given == 0 || (given % 2 == 0 && next < count)) /* the last one is no one's second */
            drawn = draw(f, model);
        rows[at].canary = drawn;
        given++;
    }
}

void canary_deal(struct canary_row *rows, size_t count, const struct canaries_config *f)
{
    for (size_t i = 0; i < count; i++)
        if (next_of(rows, i, 0, rows[i].model) == i)
            deal_model(rows, count, i, f);
}

/* ---- Marks ---- */

/* Others were asked for the model, or were to be, and none gave this canary's known answer, with
 * the same weights: more likely the model or its engine is another now than that all are false.
 * Another canary's right answer does not show that this one is right still. */
static bool is_doubted(const struct canary_row *rows, size_t count, bool whole,
                       const struct canary_row *of)
{
    bool others = !whole;

    for (size_t i = 0; i < count; i++) {
        if (!rows[i].judged || strcmp(rows[i].model, of->model) != 0)
            continue;
        if (rows[i].finding == CANARY_RIGHT && strcmp(rows[i].tag, of->tag) == 0)
            return false;
        others = others || strcmp(rows[i].machine, of->machine) != 0;
    }
    return others;
}

static enum canary_mark mark_of(const struct canary_row *rows, size_t count, bool whole,
                                const struct canary_row *r)
{
    if (!r->judged)
        return MARK_NONE;
    if (r->finding == CANARY_RIGHT)
        return MARK_GOOD;
    if (!r->proven)
        return MARK_UNPROVEN;
    return is_doubted(rows, count, whole, r) ? MARK_DOUBTED : MARK_BAD;
}

void canary_marks_set(struct canary_row *rows, size_t count, bool whole)
{
    for (size_t i = 0; i < count; i++)
        rows[i].mark = mark_of(rows, count, whole, &rows[i]);
}
