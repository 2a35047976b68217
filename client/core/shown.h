/* What the gateway's answer says of itself in its head: fields that may be handed on to the
 * application (api.md §3.1, §3.2), and those that receipt and record are held against. */
#ifndef CLIENT_CORE_SHOWN_H
#define CLIENT_CORE_SHOWN_H

#include "net/http_client.h"

enum { SHOWN_FIELDS = 18, SHOWN_CALL_LEN = 32 };

/* {0} is none. Nothing of it is authenticated. */
struct shown {
    char *fields[SHOWN_FIELDS];    /* NULL: absent, too long, or not printable */
    char call[SHOWN_CALL_LEN + 1]; /* lower-case hex; "" when there is none */
    char price[40];
    bool has_price;
};

/* Name of the i-th field, in lower case. */
const char *shown_name(size_t i);
/* Takes those of this answer in place of an earlier one's. */
void shown_take(struct shown *s, const struct http_transfer *t);
void shown_fini(struct shown *s);

#endif
