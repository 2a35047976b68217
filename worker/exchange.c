/* Answers of the tunnel's endpoints. */
#include "worker/exchange.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/encode.h"

void exchange_fields_init(struct exchange_fields *f, const struct worker *w)
{
    const struct engine_load *load = engine_load(w->engine);

    *f = (struct exchange_fields){0};
    clock_http_format(f->date, (time_t)(clock_wall_ms() / 1000));
    hex_encode(f->keyset, span_of(keys_digest(w->keys), SHA256_LEN));
    snprintf(f->load, sizeof(f->load), "running=%u,waiting=%lld,max=%lld,kv=%.2f",
             worker_running(w), (long long)load->waiting, (long long)w->settings.max_requests,
             load->kv);
    exchange_fields_add(f, "date", span_str(f->date));
    exchange_fields_add(f, "cocoon-keyset", span_str(f->keyset));
    exchange_fields_add(f, "cocoon-load", span_str(f->load));
}

void exchange_fields_add(struct exchange_fields *f, const char *name, struct span value)
{
    CHECK(f->count < EXCHANGE_FIELDS);
    f->list[f->count++] = (struct tunnel_field){span_str(name), value};
}

void exchange_reply(struct exchange *x, unsigned status, const char *content_type,
                    struct buf *take_body)
{
    struct exchange_fields f;

    exchange_fields_init(&f, x->worker);
    if (content_type)
        exchange_fields_add(&f, "content-type", span_str(content_type));
    tunnel_reply(x->stream, status, f.list, f.count, take_body);
}

void exchange_problem_on(struct worker *w, struct tunnel_stream *s, const struct problem *p)
{
    struct exchange x = {.worker = w, .stream = s};
    AUTO(buf_fini) struct buf body = {0};

    problem_write(p, &body);
    exchange_reply(&x, p->status, "application/problem+json", &body);
}

void exchange_problem(struct exchange *x, const struct problem *p)
{
    exchange_problem_on(x->worker, x->stream, p);
}

struct span exchange_query(const struct exchange *x, const char *name)
{
    struct span rest = x->query;

    while (rest.len > 0) {
        struct span value = span_split(&rest, '&');
        const struct span key = span_split(&value, '=');
        if (span_is(key, name))
            return span_of(value.data ? value.data : (const uint8_t *)"", value.len);
    }
    return (struct span){0};
}
