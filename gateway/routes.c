/* The table of paths. The first row that matches and allows the method answers; the first that
 * matches names the allowed methods; behind it stands what openai/paths.h refuses. */
#include "gateway/routes.h"

#include "base/encode.h"
#include "openai/paths.h"

static const struct route routes[] = {
    {"/chat/completions", ROUTE_EXACT, "POST", ROUTE_INFERENCE, EP_CHAT, "chat", .serve = NULL},
    {"/completions", ROUTE_EXACT, "POST", ROUTE_INFERENCE, EP_COMPLETIONS, "completions",
     .serve = NULL},
    {"/embeddings", ROUTE_EXACT, "POST", ROUTE_INFERENCE, EP_EMBEDDINGS, "embeddings",
     .serve = NULL},
    {"/models", ROUTE_EXACT, "GET", ROUTE_SERVE, .scope = "models", .serve = models_list},
    {"/models", ROUTE_UNDER, "GET", ROUTE_SERVE, .scope = "models", .serve = models_get},
    {"/confidential/ohttp", ROUTE_EXACT, "POST", ROUTE_END_TO_END, .serve = NULL},
    {"/confidential/workers", ROUTE_EXACT, "GET", ROUTE_PUBLIC, .serve = confidential_workers},
    {"/confidential/attestation", ROUTE_UNDER, "GET", ROUTE_PUBLIC,
     .serve = confidential_attestation},
    {"/confidential/status", ROUTE_EXACT, "GET", ROUTE_PUBLIC, .serve = confidential_status},
    {"/gateways", ROUTE_EXACT, "GET", ROUTE_PUBLIC, .serve = peers_list},
    {"/auth/telegram", ROUTE_EXACT, "POST", ROUTE_SIGN_IN, .serve = telegram_exchange},
    {"/organization/usage/completions", ROUTE_EXACT, "GET", ROUTE_SERVE, .serve = spending_usage},
    {"/organization/costs", ROUTE_EXACT, "GET", ROUTE_SERVE, .serve = spending_costs},
    {"/billing/receipts", ROUTE_EXACT, "GET", ROUTE_SERVE, .serve = receipts_list},
    {"/billing/receipts", ROUTE_UNDER, "GET", ROUTE_SERVE, .serve = receipts_get},
    {"/billing/balance", ROUTE_EXACT, "GET", ROUTE_SERVE, .serve = balance_serve},
    {"/prices", ROUTE_EXACT, "GET", ROUTE_PUBLIC, .serve = prices_serve},
    {"/prices", ROUTE_UNDER, "GET", ROUTE_PUBLIC, .serve = prices_version_serve},
    {"/.well-known/cocoon.json", ROUTE_EXACT, "GET", ROUTE_PUBLIC, .serve = published_serve},
    {"/.well-known/cocoon.json.sig", ROUTE_EXACT, "GET", ROUTE_PUBLIC,
     .serve = published_signature_serve},
};

static bool matches(const struct route *r, struct span path)
{
    struct span own = span_str(r->path);

    if (r->match == ROUTE_EXACT)
        return span_eq(path, own);
    return span_starts(path, own) && path.data[own.len] == '/' && path.len > own.len + 1;
}

/* What we do not have, and say so. */
static const struct route *refusal(struct span path, struct arena *a)
{
    const struct path_refusal *is = path_refusal(path);

    if (!is)
        return NULL;
    struct route *r = arena_alloc(a, sizeof(*r));
    *r = (struct route){.path = is->path, .kind = ROUTE_REFUSE, .error = is->error};
    return r;
}

/* Percent-decoding, once (RFC 3986 §2.1); what is no valid escape stays as it is. */
struct span route_decode(struct span s, struct arena *a)
{
    uint8_t *out = arena_alloc(a, s.len + 1);
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] == '%' && hex_decode(&out[n], 1, span_cut(s, i + 1, 2)) == 0)
            i += 2;
        else
            out[n] = s.data[i];
        n++;
    }
    out[n] = 0;
    return span_of(out, n);
}

struct span route_query(struct span query, const char *name, struct arena *a)
{
    while (query.len > 0) {
        struct span value = span_split(&query, '&');
        struct span key = span_split(&value, '=');
        if (span_is(key, name))
            return route_decode(value, a);
    }
    return (struct span){0};
}

const struct route *route_find(struct span path, struct arena *a, struct span *tail)
{
    if (span_starts(path, SPAN("/v1/")))
        path = span_from(path, 3);
    for (size_t i = 0; i < sizeof(routes) / sizeof(*routes); i++) {
        if (!matches(&routes[i], path))
            continue;
        *tail = path.len > strlen(routes[i].path)
                    ? route_decode(span_from(path, strlen(routes[i].path) + 1), a)
                    : SPAN("");
        return &routes[i];
    }
    *tail = SPAN("");
    return refusal(path, a);
}

bool route_allows(const struct route *r, struct span method)
{
    struct span list = span_str(r->methods);

    if (!r->methods)
        return true;
    if (span_is(method, "HEAD"))
        method = SPAN("GET"); /* RFC 9110 §9.3.2 */
    while (list.len > 0)
        if (span_eq(span_trim(span_split(&list, ',')), method))
            return true;
    return false;
}
