/* What a resource's settings may hold: one table a resource; a body of the admin API is read by it,
 * strictly, into the settings. */
#ifndef LEDGER_BOOKS_FIELDS_H
#define LEDGER_BOOKS_FIELDS_H

#include "base/json.h"

enum field_type {
    FIELD_INT,       /* min ≤ v ≤ max */
    FIELD_MONEY,     /* decimal text, 0 ≤ v ≤ max */
    FIELD_BOOL,      /* */
    FIELD_TEXT,      /* UTF-8 without control characters, at most max bytes */
    FIELD_ID,        /* record_id_valid */
    FIELD_CHOICE,    /* one of `words`, separated by spaces */
    FIELD_MODELS,    /* list of models' names; null: all */
    FIELD_ENDPOINTS, /* list of endpoints; null: all */
    FIELD_RANGES,    /* list of CIDR ranges; null: any */
    FIELD_REQUIRE,   /* as Cocoon-Require */
    FIELD_PER_MODEL /* object of a model's name -> {requests_per_minute, tokens_per_minute, streams}
                     */
};

struct field {
    const char *name; /* dotted for a member of a member: "limits.streams" */
    enum field_type type;
    int64_t min, max;
    const char *words;
};

/* Takes the members of body into settings, member by member; null goes back to what holds without
 * it. E_INVALID, with books_why naming the member: one that the table has not, or a value that is
 * not allowed; settings may be half changed then. Pure. */
MUST_CHECK int fields_take(const struct field *table, size_t count, const json_t *body,
                           json_t *settings);

/* The limits and budgets that accounts, projects and keys have alike. */
#define FIELDS_LIMITS                                                                              \
    {.name = "limits.requests_per_minute", .type = FIELD_INT, .max = FIELD_LIMIT_MAX},             \
        {.name = "limits.tokens_per_minute", .type = FIELD_INT, .max = FIELD_LIMIT_MAX},           \
        {.name = "limits.streams", .type = FIELD_INT, .max = FIELD_LIMIT_MAX},                     \
        {.name = "budgets.day", .type = FIELD_MONEY, .max = FIELD_MONEY_MAX},                      \
        {.name = "budgets.month", .type = FIELD_MONEY, .max = FIELD_MONEY_MAX},                    \
    {                                                                                              \
        .name = "budgets.total", .type = FIELD_MONEY, .max = FIELD_MONEY_MAX                       \
    }
#define FIELD_LIMIT_MAX INT64_C(1000000000000)
/* Scripts of Redis compare money with doubles' precision at most (money.md §5). */
#define FIELD_MONEY_MAX INT64_C(9007199254740991)

#endif
