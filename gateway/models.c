/* GET /v1/models and /v1/models/{id}: what the key may use, from the pool's own knowledge. */
#include "gateway/money.h"
#include "gateway/reply.h"
#include "gateway/services.h"

struct listing {
    struct call *call;
    struct buf body;
    bool any;
};

static void model_write(struct money *m, struct buf *out, const struct pool_model_view *v)
{
    static const char *const endpoints[] = {"chat", "completions", "embeddings"};
    const char *comma = "";

    buf_append_str(out, "{\"id\":\"");
    buf_json_escape(out, span_str(v->model.name));
    buf_printf(out,
               "\",\"object\":\"model\",\"created\":%llu,\"owned_by\":\"cocoon\",\"cocoon\":{"
               "\"context_length\":%lld,",
               (unsigned long long)v->since_s, (long long)v->model.context);
    buf_printf(out, "\"max_output\":%lld,\"endpoints\":[", (long long)v->model.max_output);
    for (unsigned e = 0; e < sizeof(endpoints) / sizeof(*endpoints); e++)
        if (v->model.endpoints & (1u << e)) {
            buf_printf(out, "%s\"%s\"", comma, endpoints[e]);
            comma = ",";
        }
    buf_printf(out,
               "],\"ready_workers\":%zu,\"lowest_ask\":%lld,\"privacy\":\"sealed\",\"attestation\":"
               "\"%s\"",
               v->ready, (long long)v->lowest_ask, attest_env_name(v->attestation));
    prices_of_model(m, v->model.name, out);
    buf_append_str(out, "}}");
}

static void list_one(void *arg, const struct pool_model_view *v)
{
    struct listing *l = arg;

    if (!call_allows_model(l->call, span_str(v->model.name)))
        return;
    buf_append_str(&l->body, l->any ? "," : "");
    model_write(l->call->gateway->money, &l->body, v);
    l->any = true;
}

void models_list(struct call *c)
{
    struct listing l = {.call = c};

    buf_append_str(&l.body, "{\"object\":\"list\",\"data\":[");
    pool_models_each(c->gateway->pool, list_one, &l);
    buf_append_str(&l.body, "]}");
    reply_whole(c, 200, "application/json", &l.body);
}

void models_get(struct call *c)
{
    struct pool_model_view v;
    struct buf body = {0};
    char shown[80];

    if (!call_allows_model(c, c->tail) || !pool_model(c->gateway->pool, c->tail, &v)) {
        snprintf(shown, sizeof(shown), "%.*s", (int)(c->tail.len > 64 ? 64 : c->tail.len),
                 (const char *)c->tail.data);
        api_fault_set(&c->fault, &ERR_MODEL_NOT_FOUND, "model", shown);
        reply_fault(c);
        return;
    }
    model_write(c->gateway->money, &body, &v);
    reply_whole(c, 200, "application/json", &body);
}
