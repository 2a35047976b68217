/* One request to the admin listener of a worker or gateway, and its answer. */
#ifndef TOOLS_ADMIN_H
#define TOOLS_ADMIN_H

#include "base/json.h"

/* Where it is asked, and with https:// as whom. */
struct admin_place {
    const char *where;
    const char *ca, *cert, *key; /* PEM files; NULL: the system's CAs, no certificate */
};

/* where: unix:/path, /path, http://host:port or host:port. body NULL: none; else JSON. The answer
 * (at most 32 MiB) is appended to out. E_INVALID: where is no address; E_UNAVAILABLE: nobody
 * listens there; E_TIMEOUT; E_TOO_LARGE; E_CLOSED and E_PROTOCOL. */
MUST_CHECK int admin_request(const char *where, const char *method, const char *path,
                             const char *body, unsigned *status, struct buf *out);
/* The same with https:// too, and with a body of another type, such as "application/yaml"; NULL:
 * JSON. */
MUST_CHECK int admin_send(const struct admin_place *at, const char *method, const char *path,
                          const char *type, struct span body, unsigned *status, struct buf *out);
/* What is wrong when no answer came from there: "does not listen" and the like. */
const char *admin_problem(const char *where, int error);

/* GET of any http:// or https:// URL; E_… as above. */
MUST_CHECK int url_get(const char *url, unsigned *status, struct buf *out);

struct command;

/* The same for a command: says what is wrong and what to do, returns its exit code; -1 and *doc
 * (may be NULL: an answer that is no JSON object) when it was answered with 2xx. `option` names
 * what gave `where`. */
MUST_CHECK int admin_ask(const struct command *c, const char *where, const char *option,
                         const char *method, const char *path, const char *body, json_t **doc);

#endif
