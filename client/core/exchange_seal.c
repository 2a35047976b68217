/* One attempt's message: nothing but what is written here leaves this machine. */
#include "client/core/exchange_impl.h"

#include "base/clock.h"

int exchange_seal(struct exchange *x, struct buf *sealed, struct outer_lines *l,
                  void (*content)(void *arg, struct span bytes))
{
    AUTO(ohttp_client_free) struct ohttp_client *ohttp = NULL;
    AUTO(buf_wipe) struct buf body = {0};
    AUTO(buf_wipe) struct buf plain = {0};
    const struct key_config *to = &x->verified->config;
    const enum aead_id aead = to->aes_256_gcm ? AEAD_AES_256_GCM : AEAD_CHACHA20_POLY1305;

    TRY(request_forward(x->ask.rq, span_str(x->served), &body));
    const struct inner_ask ask = {
        .rq = x->ask.rq,
        .served_model = span_str(x->served),
        .body = buf_span(&body),
        .rid = span_str(x->rid),
        .bounds = x->bounds,
        .padding = x->client->padding,
        .ping_ms = x->client->ping_ms,
        .client_key = SPAN_OF(x->client->key),
        .affinity = x->affinity,
        .date = (time_t)(clock_wall_ms() / 1000),
    };
    inner_write(&ask, &plain);
    TRY(ohttp_client_new(&ohttp, to, x->verified->public, aead));
    TRY(ohttp_client_seal(ohttp, buf_span(&plain), sealed));
    outer_write(l, &ask, to->kfp, x->authorization, x->require_line, x->traceparent);
    sha256(x->body, buf_span(&body));
    if (x->client->save_receipts)
        saving_body(&x->saving, buf_span(&body));
    sha256(x->request, buf_span(sealed));
    sealed_answer_begin(&x->answer, ohttp, x->rid, x->ask.rq->stream, content, x);
    ohttp = NULL;
    return 0;
}
