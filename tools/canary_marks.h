/* Which canary each worker of one round is sent, and what the answers say of who gave them. */
#ifndef TOOLS_CANARY_MARKS_H
#define TOOLS_CANARY_MARKS_H

#include "tools/canary_judge.h"

enum { CANARY_WID_LEN = 32 };

enum canary_mark {
    MARK_NONE, /* it gave no answer that could be judged */
    MARK_GOOD,
    MARK_BAD,
    MARK_UNPROVEN, /* wrong, but nobody has ever given the known answer with these weights */
    MARK_DOUBTED   /* wrong, but no machine gave this canary's known answer in this round */
};
const char *canary_mark_name(enum canary_mark m); /* "-", "good", "bad", "unproven", "in doubt" */

/* One worker that was asked. */
struct canary_row {
    char label[68], iid[33];
    const struct canary *canary; /* NULL: none was sent; borrowed */
    const char *model;           /* borrowed */
    size_t number;               /* of the canary: canaries[number] of its file */
    bool judged;                 /* an answer came, and was verified */
    bool mistaken;               /* ours, not the worker's: key, balance, file, gateway, Redis */
    enum canary_finding finding;
    struct usage used;
    char wid[CANARY_WID_LEN + 1];
    char machine[33]; /* by keyset_machine: one whatever the payouts of its workers */
    char tag[CANARY_TAG_LEN + 1];
    bool proven;   /* somebody gave the known answer */
    char why[400]; /* where it was not judged */
    enum canary_mark mark;
};

/* Sets every row's canary: one of its model's that have a known answer, drawn at random for two
 * rows at a time, and never for one alone where the model has more. NULL: none has an answer. */
void canary_deal(struct canary_row *rows, size_t count, const struct canaries_config *f);
/* Sets every row's mark, once `proven` is known of all. whole: all who were to be asked were. */
void canary_marks_set(struct canary_row *rows, size_t count, bool whole);

#endif
