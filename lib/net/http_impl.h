/* What the HTTP server's files share: http_server.c (daemons, connections), http_exchange.c
 * (requests), http_answer.c (answers), http_linger.c (closing without a reset). */
#ifndef NET_HTTP_IMPL_H
#define NET_HTTP_IMPL_H

#include <microhttpd.h>

#include "net/http_server.h"
#include "net/listener.h"

enum { HTTP_LISTENERS = 16 };

/* One libmicrohttpd daemon; all of a server's live in the same thread. */
struct http_daemon {
    struct http_server *server;
    struct MHD_Daemon *mhd;
    struct loop_fd watch; /* its epoll descriptor */
    size_t connections;
    bool due;        /* MHD_run has something to do: an event, a resumed or a new connection */
    uint64_t due_ms; /* when it has next without that: only a run moves it */
};

/* Who comes with a connection. */
struct http_arrival {
    struct net_addr peer;
    struct tls_client *client; /* NULL: not through TLS */
    int64_t uid;               /* of a UNIX socket's other end; -1: it is none */
    bool stranger;
};

struct http_server {
    struct loop *loop;
    struct http_server_options o;
    struct http_handler h;
    void *arg;
    struct loop_hook hook;
    struct http_daemon *daemons;
    struct net_listener *listeners[HTTP_LISTENERS];
    bool closing; /* every answer is the last one of its connection */
    size_t listener_count;
    struct tls_front *front;        /* NULL: clients speak plain text */
    struct http_arrival *accepting; /* the connection that MHD is being given */
    struct list exchanges;
    size_t exchange_count, connection_count;
    size_t stranger_count; /* of connection_count */
    struct list lingering;
    size_t linger_count;
    uint64_t refused;   /* connections above the limit */
    struct buf frame;   /* the chunk being written past MHD */
    uint64_t log_lines; /* of MHD's, dropped */
};

struct http_conn {
    struct http_daemon *daemon;
    struct MHD_Connection *mhd;
    int fd; /* MHD's: never closed here */
    struct http_arrival from;
    struct loop_fd watch; /* the client's first bytes and its FIN, also while MHD does not look */
    struct loop_timer header_timer; /* runs from the first byte to the whole header block */
    struct buf uri;                 /* of the present request, as sent */
    struct http_exchange *ex;
    bool gone;
};

/* Where MHD stands in the request. Only at the end can an answer leave the connection open. */
enum http_at { HTTP_AT_HEADERS, HTTP_AT_BODY, HTTP_AT_END };

struct http_exchange {
    struct http_conn *conn;
    struct list link;
    void *user;

    struct span method;
    size_t header_bytes;
    int64_t content_length; /* as http_content_length says */
    uint64_t started_us;

    enum http_at at;
    bool headed;     /* `head` was called */
    bool receive;    /* http_receive was called */
    bool body_ended; /* `body_end` was called */
    bool in_part;    /* `body` is running */
    bool suspended;  /* in MHD */
    bool gone;       /* nobody listens any more, and the handler knows */
    uint64_t received, body_from_ms;
    struct loop_timer body_timer;

    bool answered, aborted;
    bool queued; /* MHD has the answer */
    bool early;  /* it was given before the whole request was read */
    bool raw;    /* it was written past MHD */
    bool shut;   /* the socket was shut down by us */
    struct MHD_Response *response;
    unsigned status;
    struct buf body;

    bool stream, ended;
    bool chunked;        /* the client speaks HTTP/1.1: a stream is cut into chunks */
    bool resting;        /* MHD has sent all it was given of the stream and asks for no more */
    bool gathering;      /* the kernel holds back what does not fill a packet */
    struct list chunks;  /* not given to MHD yet */
    struct buf rest;     /* of a chunk written past MHD: what the socket had no room for */
    size_t queued_bytes; /* of both */
};

/* ---- http_server.c ---- */

/* The daemon of ex runs in this turn, or in the next one at once. */
void http_wake(struct http_exchange *ex);

/* ---- http_exchange.c ---- */

enum MHD_Result http_on_request(void *cls, struct MHD_Connection *mhd, const char *url,
                                const char *method, const char *version, const char *data,
                                size_t *size, void **con_cls);
void http_on_completed(void *cls, struct MHD_Connection *mhd, void **con_cls,
                       enum MHD_RequestTerminationCode toe);
/* The client is gone or is sent away: the handler is told once, what MHD does next fails. */
void http_exchange_gone(struct http_exchange *ex);
/* An answer came while the body is being received and no callback of ours runs. */
void http_body_answered(struct http_exchange *ex);

/* ---- http_answer.c ---- */

/* The socket of ex has room again for what was left of a chunk. */
void http_stream_writable(struct http_exchange *ex);
/* Gives the answer to MHD; only inside its access handler. */
enum MHD_Result http_queue(struct http_exchange *ex);
/* Writes the answer to the socket past MHD, which cannot take one while a body comes in. */
void http_write_raw(struct http_exchange *ex);
void http_answer_free(struct http_exchange *ex);

/* ---- http_linger.c ---- */

/* Keeps the socket open for a while behind MHD's close and reads on, so that the client's unread
 * bytes do not make the kernel reset the connection before the client has read its answer (RFC 9112
 * §9.6). */
void http_linger(struct http_server *s, int fd);
/* Takes a connection above the limit: answers it and closes. */
void http_refuse(struct http_server *s, int fd);
void http_linger_stop_all(struct http_server *s);

#endif
