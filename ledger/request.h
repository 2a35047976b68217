/* One request of the admin API: who asks, what for, and what is answered. */
#ifndef LEDGER_REQUEST_H
#define LEDGER_REQUEST_H

#include "ledger/books/audit.h"
#include "ledger/ledger.h"
#include "net/http_server.h"

enum {
    REQUEST_WHO = 260, /* the longest name in a certificate that may have a role, with NUL */
    REQUEST_PARAMS = 2,
    REQUEST_WORD = 129,
    REQUEST_BODY_MAX = 1 << 20,
    PAGE_MAX = 1000
};

struct request {
    struct ledger *ledger;
    struct http_exchange *ex; /* NULL: the client has left */
    const struct route *route;
    char who[REQUEST_WHO];
    struct actor actor;
    char params[REQUEST_PARAMS][REQUEST_WORD]; /* of the path, decoded */
    struct buf body;
    json_t *json;   /* of the body; NULL when there is none, or another type */
    unsigned waits; /* what still names the request: it is freed with the last */

    /* The answer: a JSON value, or bytes of `type`. */
    unsigned status;
    json_t *out;
    struct buf text;
    const char *type;
};

/* A parameter of the query, percent-decoded, into out with NUL; "" when absent. E_INVALID: twice,
 * not decodable, too long, or control characters. */
MUST_CHECK int request_word(const struct request *r, const char *name,
                            char out[static REQUEST_WORD]);
/* The same as a number, `absent` without it. */
MUST_CHECK int request_number(const struct request *r, const char *name, int64_t min, int64_t max,
                              int64_t absent, int64_t *out);
/* Reads a query (fuzzed): as request_word, of the bytes behind '?'. */
MUST_CHECK int query_word(struct span query, const char *name, char *out, size_t size);

#endif
