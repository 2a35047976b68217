/* What the answers of one round say of the workers that gave them. Pure. */
#ifndef TOOLS_CANARY_MARKS_H
#define TOOLS_CANARY_MARKS_H

#include "tools/canary_judge.h"

enum { CANARY_WID_LEN = 32 };

enum canary_mark {
    MARK_NONE, /* it gave no answer that could be judged */
    MARK_GOOD,
    MARK_BAD,
    MARK_UNPROVEN, /* wrong, but nobody has ever given the known answer with these weights */
    MARK_DOUBTED   /* wrong, as every machine that was asked for this model */
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
    char tag[CANARY_TAG_LEN + 1];
    bool proven;   /* somebody gave the known answer */
    char why[400]; /* where it was not judged */
    enum canary_mark mark;
};

/* Sets every row's mark, once `proven` is known of all. */
void canary_marks_set(struct canary_row *rows, size_t count);

#endif
