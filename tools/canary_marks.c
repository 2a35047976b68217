/* Marks are given once a round is over, since only then it shows whether the canary itself was
 * right: a mistake of the operator's must mark nobody. */
#include "tools/canary_marks.h"

const char *canary_mark_name(enum canary_mark m)
{
    static const char *const names[] = {
        [MARK_NONE] = "-",           [MARK_GOOD] = "good",
        [MARK_BAD] = "bad",          [MARK_UNPROVEN] = "unproven",
        [MARK_DOUBTED] = "in doubt",
    };

    return names[m];
}

/* Two machines or more were asked for the model, and none gave a known answer: more likely the
 * model or its engine is another now than that all of them are false. */
static bool is_doubted(const struct canary_row *rows, size_t count, const struct canary_row *of)
{
    bool others = false;

    for (size_t i = 0; i < count; i++) {
        if (!rows[i].judged || strcmp(rows[i].model, of->model) != 0)
            continue;
        if (rows[i].finding == CANARY_RIGHT)
            return false;
        others = others || strcmp(rows[i].wid, of->wid) != 0;
    }
    return others;
}

static enum canary_mark mark_of(const struct canary_row *rows, size_t count,
                                const struct canary_row *r)
{
    if (!r->judged)
        return MARK_NONE;
    if (r->finding == CANARY_RIGHT)
        return MARK_GOOD;
    if (!r->proven)
        return MARK_UNPROVEN;
    return is_doubted(rows, count, r) ? MARK_DOUBTED : MARK_BAD;
}

void canary_marks_set(struct canary_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        rows[i].mark = mark_of(rows, count, &rows[i]);
}
