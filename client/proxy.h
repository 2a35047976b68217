/* cocoon-client's local endpoint: OpenAI's API on loopback, everything that is said encrypted end
 * to end by client/core. */
#ifndef CLIENT_PROXY_H
#define CLIENT_PROXY_H

#include "base/arena.h"
#include "client/core/exchange.h"
#include "client/idempotency.h"
#include "config/client_config.h"
#include "net/http_server.h"

struct proxy {
    const struct client_config *config;
    struct loop *loop;
    struct offload *offload;
    struct client *client;
    struct http_server *server;
    struct list calls;
    struct idempotency idempotency;
    uint64_t began_ms; /* the loop's clock */
    bool draining;
    struct loop_timer drain;
    uint64_t drain_until_ms;
};

/* Reads key and policy; nobody can reach it yet. E_… with a sentence in why. The signals must have
 * been blocked before (loop_signals). */
MUST_CHECK int proxy_start(struct proxy *p, char why[static 300]);
/* Takes requests from now on. E_… with a sentence in why: E_IO where somebody else listens already.
 */
MUST_CHECK int proxy_listen(struct proxy *p, char why[static 300]);
/* Reads the policy again, all or nothing: says in the log what came of it. */
void proxy_reload(struct proxy *p);
/* Running requests may finish; then the loop stops. */
void proxy_drain(struct proxy *p);
/* After the loop has stopped. */
void proxy_stop(struct proxy *p);

/* ---- One request (call.c, models.c, status.c, reply.c) ---- */

struct parse_job;

struct call {
    struct proxy *proxy;
    struct http_exchange *ex;
    struct list link;
    struct arena arena;
    char id[33]; /* of this side: shown where the gateway has given none */
    enum endpoint endpoint;
    bool inference;
    struct api_fault fault;
    struct buf body;
    bool body_whole;
    struct parse_job *job;
    struct request rq;
    bool parsed;
    struct attest_require require;
    struct once *once;               /* its Idempotency-Key's, while it runs; NULL: none */
    const struct once_answer *again; /* being given in place of one of its own; NULL: none is */

    struct exchange *exchange;
    struct http_whole models; /* GET /v1/models */
    struct buf whole;         /* an answer in one piece */
    bool streaming, answered, gone;
    struct loop_timer stalled;
    uint64_t last_drain_ms;
};

extern const struct http_handler call_handler;

/* The caller's credentials as the gateway gets them: Authorization, or x-api-key in its form. In
 * the call's arena; NULL: none. */
const char *call_authorization(struct call *c);
/* Answers c->fault: as a whole answer, or as an error event when the head of a stream is out. */
void call_fault(struct call *c);
void call_fail(struct call *c, const struct api_error *e, const char *param, const char *arg);

void models_begin(struct call *c);
/* status.c: answers what is asked about the client itself; false: it is something else. */
bool status_answer(struct call *c);

void reply_preflight(struct call *c);
void reply_whole(struct call *c, unsigned status, const char *content_type, struct buf *body);
void reply_stream(struct call *c);
/* told: the stream's last event already was an error. */
void reply_fault(struct call *c, bool told);
/* May a page of this origin use it, and is the name by which it was reached one of this machine? */
bool reply_host_local(const struct call *c);

#endif
