/* Step head: what can be told from the request's head alone. Nothing of a stranger's body is read
 * before the next step is through. */
#include <arpa/inet.h>

#include "auth/forwarded.h"
#include "gateway/call.h"
#include "gateway/reply.h"

static const struct gateway_config *settings(const struct call *c)
{
    return c->config->values;
}

/* By a range that holds it. */
static bool is_trusted_address(const void *arg, const struct cidr *address)
{
    const struct config_strings *list = arg;
    struct cidr range;

    for (size_t i = 0; i < list->count; i++)
        if (cidr_parse(&range, span_str(list->items[i])) == 0 && cidr_contains(&range, address))
            return true;
    return false;
}

/* The same of the peer, or by its name ("unix"). */
static bool is_trusted(const struct config_strings *list, const char *peer)
{
    struct cidr own;

    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i], peer) == 0)
            return true;
    return cidr_parse(&own, span_str(peer)) == 0 && is_trusted_address(list, &own);
}

/* The address of a socket without its port; "unix" for a UNIX socket. */
static void peer_name(const struct net_addr *a, char *out, size_t len)
{
    const void *ip = NULL;

    if (a->sa.ss_family == AF_INET)
        ip = &((const struct sockaddr_in *)(const void *)&a->sa)->sin_addr;
    else if (a->sa.ss_family == AF_INET6)
        ip = &((const struct sockaddr_in6 *)(const void *)&a->sa)->sin6_addr;
    if (!ip || !inet_ntop(a->sa.ss_family, ip, out, (socklen_t)len))
        snprintf(out, len, "unix");
}

struct proxies {
    struct forwarded forwarded, x;
};

static void note_forwarded(void *arg, struct span name, struct span value)
{
    struct proxies *p = arg;

    if (span_ieq(name, SPAN("forwarded")))
        forwarded_field(&p->forwarded, value);
    else if (span_ieq(name, SPAN("x-forwarded-for")))
        forwarded_x_field(&p->x, value);
}

/* What trusted proxies say of the client's address, else the peer's own. Both headers at odds: one
 * may be the client's own words, so neither is believed. */
static void name_client(struct call *c)
{
    const struct config_strings *trusted = &settings(c)->trusted_proxies;
    struct proxies p = {0};
    char by_forwarded[FORWARDED_TEXT] = "", by_x[FORWARDED_TEXT] = "";

    peer_name(http_peer(c->ex), c->client, sizeof(c->client));
    if (c->internal || trusted->count == 0 || !is_trusted(trusted, c->client))
        return;
    http_headers_each(c->ex, note_forwarded, &p);
    if (forwarded_client(&p.forwarded, is_trusted_address, trusted, by_forwarded) < 0)
        by_forwarded[0] = 0;
    if (forwarded_client(&p.x, is_trusted_address, trusted, by_x) < 0)
        by_x[0] = 0;
    if (p.forwarded.count > 0 && p.x.count > 0 && strcmp(by_forwarded, by_x) != 0)
        return;
    const char *client = by_forwarded[0] ? by_forwarded : by_x;
    if (client[0])
        snprintf(c->client, sizeof(c->client), "%s", client);
}

static enum step_result refuse(struct call *c, const struct api_error *e)
{
    api_fault_set(&c->fault, e, NULL, NULL);
    return STEP_FAIL;
}

/* "POST /v1/foo": api_fault_set shows only what is printable of it. */
static enum step_result refuse_url(struct call *c)
{
    const char *what =
        arena_printf(&c->arena, "%.*s %.*s", SPAN_FMT(span_cut(http_method(c->ex), 0, 16)),
                     SPAN_FMT(http_path(c->ex)));

    api_fault_set(&c->fault, &ERR_UNKNOWN_URL, NULL, what);
    return STEP_FAIL;
}

static enum step_result refuse_method(struct call *c)
{
    struct span m = span_cut(http_method(c->ex), 0, 16);

    if (span_is(m, "GET") && c->route->kind == ROUTE_INFERENCE && c->route->endpoint == EP_CHAT)
        return refuse(c, &ERR_METHOD_NOT_STORED);
    const char *what = arena_printf(&c->arena, "%.*s on /v1%s", SPAN_FMT(m), c->route->path);
    api_fault_set(&c->fault, &ERR_METHOD_NOT_SUPPORTED, NULL, what);
    return STEP_FAIL;
}

/* Nothing is unpacked here. */
static bool is_plain(struct span encoding)
{
    encoding = span_trim(encoding);
    return encoding.len == 0 || span_ieq(encoding, SPAN("identity"));
}

/* A body must say that it is JSON, or say nothing. */
static bool is_json(struct span type)
{
    struct span media = span_trim(span_split(&type, ';'));

    return media.len == 0 || span_ieq(media, SPAN("application/json")) ||
           (media.len > 5 && span_ieq(span_from(media, media.len - 5), SPAN("+json")));
}

/* Sealed by the client, the body must say so. */
static bool is_right_type(const struct call *c)
{
    struct span type = http_header(c->ex, "content-type");

    if (call_is_end_to_end(c))
        return span_ieq(span_trim(type), SPAN("message/ohttp-chunked-req"));
    return is_json(type);
}

static enum step_result check_body_head(struct call *c)
{
    int64_t len = http_content_length(c->ex);

    if (len > settings(c)->body_bytes)
        return refuse(c, &ERR_REQUEST_TOO_LARGE);
    if (!is_plain(http_header(c->ex, "content-encoding")))
        return refuse(c, &ERR_UNSUPPORTED_MEDIA_TYPE);
    if (!is_right_type(c))
        return refuse(c, &ERR_UNSUPPORTED_MEDIA_TYPE);
    if (c->gateway->bodies_in_flight + (len > 0 ? (size_t)len : 0) >
        (size_t)settings(c)->bodies_in_flight_bytes)
        return refuse(c, &ERR_OVERLOADED);
    return STEP_NEXT;
}

static void count_sdk_retry(struct call *c)
{
    struct span n = http_header(c->ex, "x-stainless-retry-count");

    if (n.data && n.len > 0 && !span_is(n, "0"))
        c->gateway->metrics.sdk_retries++;
}

enum step_result call_head(struct call *c)
{
    struct span method = http_method(c->ex);

    name_client(c);
    count_sdk_retry(c);
    c->route = route_find(http_path(c->ex), &c->arena, &c->tail);
    if (http_content_length(c->ex) == -3)
        return refuse(c, &ERR_BAD_FRAMING);
    if (http_header_bytes(c->ex) > (size_t)settings(c)->header_bytes)
        return refuse(c, &ERR_HEADERS_TOO_LARGE);
    if (span_is(method, "OPTIONS")) {
        reply_preflight(c);
        return STEP_OVER;
    }
    if (!c->route)
        return refuse_url(c);
    if (!route_allows(c->route, method))
        return refuse_method(c);
    if (c->route->kind == ROUTE_REFUSE)
        return refuse(c, c->route->error);
    return c->route->kind == ROUTE_INFERENCE || call_is_end_to_end(c) ? check_body_head(c)
                                                                      : STEP_NEXT;
}
