/* GET /v1/billing/receipts/{call}, which may come to know the record a moment later than the
 * answer's end. */
#include "client/core/record.h"

#include <stdio.h>

#include "client/core/foreign.h"

enum { TRIES = 4, AGAIN_MS = 250, ASK_MS = 5000, ANSWER_MAX = 64 * 1024, PATH_MAX_LEN = 80 };

static void ask(void *arg);

static void answered(void *arg, struct http_transfer *t, int error)
{
    struct record_search *s = arg;

    (void)t;
    if (error == 0 && s->answer.status == 200)
        (void)!receipts_read(buf_span(&s->answer.body), &s->jws);
    if (s->jws.len > 0 || ++s->tries >= TRIES)
        s->done(s->arg);
    else
        loop_timer_set(s->client->loop, &s->again, AGAIN_MS, ask, s);
}

static void ask(void *arg)
{
    struct record_search *s = arg;
    const char *fields[1] = {s->authorization};
    char path[PATH_MAX_LEN];
    const struct client_ask what = {.path = path,
                                    .fields = fields,
                                    .field_count = s->authorization ? 1 : 0,
                                    .total_ms = ASK_MS};

    snprintf(path, sizeof(path), "/v1/billing/receipts/%s", s->call);
    if (client_get(s->client, &what, &s->answer) < 0)
        s->done(s->arg);
}

void record_search_begin(struct record_search *s)
{
    s->answer = (struct http_whole){.max = ANSWER_MAX, .done = answered, .arg = s};
    s->tries = 0;
    ask(s);
}

void record_search_stop(struct record_search *s)
{
    if (!s->client)
        return;
    http_whole_cancel(&s->answer);
    loop_timer_cancel(s->client->loop, &s->again);
    buf_fini(&s->jws);
}
