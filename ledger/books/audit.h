/* Who changed what: one row for every change, in the transaction of the change itself. */
#ifndef LEDGER_BOOKS_AUDIT_H
#define LEDGER_BOOKS_AUDIT_H

#include "ledger/books/books.h"

/* In growing order of what they may do; see audit_role_may. */
enum role { ROLE_NONE, ROLE_VIEWER, ROLE_SUPPORT, ROLE_TREASURER, ROLE_ADMIN };
const char *role_name(enum role r);
/* E_NOT_FOUND for another word. */
MUST_CHECK int role_read(struct span word, enum role *out);

struct actor {
    const char *who; /* "uid:1000 alice", a certificate's name */
    enum role role;
};

/* before and after may be NULL: nothing was there, nothing is left. Neither holds a secret. */
MUST_CHECK int audit_note(struct books *b, const struct actor *a, const char *action,
                          const char *object, const json_t *before, const json_t *after);
/* Newest first, before seq `before` (0: the newest); object "" is every one:
 * {data: [{seq, time, who, role, action, object, before, after}], has_more}. */
MUST_CHECK int audit_list(struct books *b, const char *object, int64_t before, size_t limit,
                          json_t **out);

#endif
