/* What this side knows of an answer, gathered for client/core/evidence.c and for saving.c. */
#include "client/core/exchange_impl.h"

#include "base/clock.h"
#include "client/core/evidence.h"

const char *exchange_judge(struct exchange *x)
{
    const struct sealed_answer *a = &x->answer;
    struct evidence e = {
        .keyset = &x->verified->keyset,
        .env = attest_env_name(x->verified->verdict.env),
        .kfp = SPAN_OF(x->verified->config.kfp),
        .model = span_str(x->served),
        .rid = span_str(x->rid),
        .call = span_str(x->shown.call),
        .price = x->shown.has_price ? span_str(x->shown.price) : (struct span){0},
        .sent_ms = x->sent_ms,
        .received_ms = clock_wall_ms(),
        .max_tokens = x->bounds.max_tokens,
    };
    memcpy(e.request, x->request, SHA256_LEN);
    memcpy(e.response, a->sealed, SHA256_LEN);
    memcpy(e.body, x->body, SHA256_LEN);
    memcpy(e.content, a->opened, SHA256_LEN);
    const struct span shown = a->whole ? buf_span(&a->kept) : buf_span(&a->usage);
    const int error = shown.len > 0 ? counts_read(shown, &e.counts) : E_NOT_FOUND;
    if (error == E_INVALID)
        return "The answer's token counts cannot be read.";
    e.has_counts = error == 0;
    if (!e.has_counts && (a->whole || x->ask.rq->include_usage))
        return "The answer shows no token counts.";
    x->has_used = e.has_counts;
    x->used = e.counts;
    return evidence_judge(&e, a->receipt.len > 0 ? buf_span(&a->receipt) : (struct span){0},
                          buf_span(&x->record.jws));
}

void exchange_save(struct exchange *x)
{
    const struct saving_proof proof = {.call = x->shown.call,
                                       .stream = !x->answer.whole,
                                       .receipt = buf_span(&x->answer.receipt),
                                       .record = buf_span(&x->record.jws),
                                       .worker = x->verified};

    if (!x->client->save_receipts)
        return;
    saving_answer(&x->saving, buf_span(&x->answer.kept));
    saving_write(x->client, &x->saving, &proof);
}
