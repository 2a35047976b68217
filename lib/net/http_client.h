/* HTTP/1.1 client over curl's multi_socket interface: the worker towards its engine, cocoon-client
 * towards the gateway. Over https (TLS 1.2 or later) the peer's certificate and name are checked.
 */
#ifndef NET_HTTP_CLIENT_H
#define NET_HTTP_CLIENT_H

#include "base/buf.h"
#include "net/loop.h"

struct http_client;
struct http_transfer;

struct http_client_options {
    unsigned max_connections; /* more than so many: idle ones are closed; 0: none is kept alive */
    uint64_t connect_ms;
    bool public_only; /* for URLs of strangers: connections to addresses that are not public fail,
                         whatever name led there (E_UNAVAILABLE) */
};

MUST_CHECK int http_client_new(struct http_client **out, struct loop *l,
                               const struct http_client_options *o);
/* Every transfer is cancelled first (its `done` is not called). */
void http_client_free(struct http_client *c);

struct http_transfer_events {
    void (*head)(void *arg, struct http_transfer *t, unsigned status, struct span content_type);
    void (*data)(void *arg, struct http_transfer *t, struct span bytes);
    /* The last call. error 0: the answer is complete; E_CLOSED cut short, E_UNAVAILABLE no
     * connection, E_TIMEOUT, E_PROTOCOL. */
    void (*done)(void *arg, struct http_transfer *t, int error);
};

/* Whether it was put on a connection: its peer may have it. Until `done` has returned. */
bool http_transfer_is_out(const struct http_transfer *t);
/* The first field of that name (case-insensitive) in the answer's head, and among the trailers that
 * came behind its body; data NULL when absent. The spans live until `done` has returned. */
struct span http_transfer_field(const struct http_transfer *t, const char *name);
struct span http_transfer_trailer(const struct http_transfer *t, const char *name);

struct http_fetch {
    const char *url;         /* http:// or https://; numbers or names in the URL as configured */
    const char *unix_socket; /* NULL, or the path of a UNIX socket to connect to */
    const char *ca_file;     /* https: PEM file of the CAs to trust; NULL: the system's */
    const char *cert_file, *key_file; /* https: PEM files of our own certificate; NULL: none */
    const char *method;
    const char *const *headers; /* "Name: value", count of them */
    size_t header_count;
    struct buf *take_body; /* NULL: none */
    uint64_t total_ms;     /* deadline of the whole transfer; 0: none */
    uint64_t silent_ms;    /* no byte for so long ends it with E_TIMEOUT; 0: none */
};

/* Callbacks run from the loop, never inside this call. A stale kept connection that died before any
 * byte came back is retried once on a fresh one. */
MUST_CHECK int http_client_start(struct http_client *c, const struct http_fetch *f,
                                 const struct http_transfer_events *ev, void *arg,
                                 struct http_transfer **out);
/* Closes the transfer's connection before the call returns (engines stop on close; libraries.md
 * §3); `done` is not called. Allowed in callbacks. */
void http_transfer_cancel(struct http_transfer *t);
/* Back-pressure: stop and go on reading. While paused nothing is called but `done` with E_TIMEOUT
 * of total_ms; silent_ms rests. */
void http_transfer_pause(struct http_transfer *t, bool paused);

#endif
