/* Step recv: the body, bounded for itself and for all calls together. */
#include "gateway/call.h"

static const struct gateway_config *settings(const struct call *c)
{
    return c->config->values;
}

enum step_result call_recv(struct call *c)
{
    if (c->body_whole)
        return STEP_NEXT;
    http_receive(c->ex);
    return STEP_WAIT;
}

void recv_part(struct call *c, struct span part)
{
    struct gateway *g = c->gateway;

    if (c->answered || c->gone)
        return;
    if (c->body.len + part.len > (size_t)settings(c)->body_bytes) {
        call_fail(c, &ERR_REQUEST_TOO_LARGE);
        return;
    }
    if (g->bodies_in_flight + part.len > (size_t)settings(c)->bodies_in_flight_bytes) {
        call_fail(c, &ERR_OVERLOADED);
        return;
    }
    g->bodies_in_flight += part.len;
    c->body_counted += part.len;
    c->body_len += part.len;
    buf_append(&c->body, part);
}

void recv_forget(struct call *c)
{
    request_forget_body(&c->rq);
    buf_wipe(&c->body);
    buf_wipe(&c->sealed_body);
    c->gateway->bodies_in_flight -= c->body_counted;
    c->body_counted = 0;
}
