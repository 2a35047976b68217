/* Reads a body for somebody who may be gone. */
#include "openai/request_reading.h"

void request_reading_init(struct request_reading *r, enum endpoint endpoint,
                          const struct request_rules *rules, struct buf *body)
{
    *r = (struct request_reading){.endpoint = endpoint, .rules = *rules};
    buf_take(&r->body, body);
}

void request_reading_run(struct request_reading *r)
{
    r->error = request_parse(&r->rq, r->endpoint, buf_span(&r->body), &r->rules, &r->fault);
}

int request_reading_take(struct request_reading *r, struct buf *body, struct request *rq,
                         struct api_fault *fault)
{
    buf_take(body, &r->body);
    *rq = r->rq;
    *fault = r->fault;
    r->rq = (struct request){0};
    return r->error;
}

void request_reading_fini(struct request_reading *r)
{
    request_fini(&r->rq);
    buf_wipe(&r->body);
}
