/* Addresses from text and back; look-ups of names in the offload pool. */
#include "net/addr.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

enum { HOST_MAX = 253 /* RFC 1035 §2.3.4 */ };

/* ---- Text ---- */

static int parse_unix(struct net_addr *out, struct span path)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};

    if (path.len == 0 || path.len >= sizeof(sun.sun_path) || memchr(path.data, 0, path.len))
        return E_INVALID;
    memcpy(sun.sun_path, path.data, path.len);
    memcpy(&out->sa, &sun, sizeof(sun));
    out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len + 1);
    return 0;
}

/* Whether an unresolved host may be a name: RFC 1123 letters, and a last label that is not a number
 * (a mistyped address). */
static bool is_host_name(struct span host)
{
    size_t label = 0;
    bool has_letter = false;

    for (size_t i = 0; i < host.len; i++) {
        uint8_t c = host.data[i];
        bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        if (!letter && !(c >= '0' && c <= '9') && c != '-' && c != '.' && c != '_')
            return false;
        label = c == '.' ? 0 : label + 1;
        has_letter = c == '.' ? false : has_letter || letter;
    }
    return label > 0 && has_letter;
}

static int parse_v4(struct net_addr *out, const char *host, uint16_t port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};

    if (inet_pton(AF_INET, host, &in.sin_addr) != 1)
        return E_INVALID;
    memcpy(&out->sa, &in, sizeof(in));
    out->len = sizeof(in);
    return 0;
}

static int parse_v6(struct net_addr *out, const char *host, uint16_t port)
{
    struct sockaddr_in6 in = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

    if (inet_pton(AF_INET6, host, &in.sin6_addr) != 1)
        return E_INVALID;
    memcpy(&out->sa, &in, sizeof(in));
    out->len = sizeof(in);
    return 0;
}

/* Cuts "host:port" at its last colon; the host keeps its brackets. */
static int split_port(const char *text, char host[static HOST_MAX + 1], uint16_t *port)
{
    const char *colon = strrchr(text, ':');
    uint64_t number;

    if (!colon || (size_t)(colon - text) > HOST_MAX)
        return E_INVALID;
    TRY(span_u64(span_str(colon + 1), UINT16_MAX, &number));
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = 0;
    *port = (uint16_t)number;
    return 0;
}

int net_addr_parse(struct net_addr *out, const char *text)
{
    char host[HOST_MAX + 1];
    uint16_t port;

    memset(out, 0, sizeof(*out));
    if (span_starts(span_str(text), SPAN("unix:")))
        return parse_unix(out, span_from(span_str(text), strlen("unix:")));
    TRY(split_port(text, host, &port));
    size_t len = strlen(host);
    if (len == 0)
        return parse_v6(out, "::", port);
    if (host[0] == '[') {
        if (host[len - 1] != ']')
            return E_INVALID;
        host[len - 1] = 0;
        return parse_v6(out, host + 1, port);
    }
    if (parse_v4(out, host, port) == 0)
        return 0;
    return is_host_name(span_str(host)) ? E_NOT_FOUND : E_INVALID;
}

void net_addr_text(const struct net_addr *a, char *out, size_t out_len)
{
    char host[INET6_ADDRSTRLEN] = "";
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un un;

    switch (a->sa.ss_family) {
    case AF_INET:
        memcpy(&v4, &a->sa, sizeof(v4));
        inet_ntop(AF_INET, &v4.sin_addr, host, sizeof(host));
        snprintf(out, out_len, "%s:%u", host, ntohs(v4.sin_port));
        break;
    case AF_INET6:
        memcpy(&v6, &a->sa, sizeof(v6));
        inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof(host));
        snprintf(out, out_len, "[%s]:%u", host, ntohs(v6.sin6_port));
        break;
    default: /* UNIX; an unnamed peer has no path */
        memset(&un, 0, sizeof(un));
        memcpy(&un, &a->sa, a->len < sizeof(un) ? a->len : sizeof(un));
        snprintf(out, out_len, "unix:%.*s", (int)sizeof(un.sun_path), un.sun_path);
    }
}

void net_addr_unmap(struct net_addr *a)
{
    struct sockaddr_in6 v6;
    struct sockaddr_in v4 = {.sin_family = AF_INET};

    if (a->sa.ss_family != AF_INET6)
        return;
    memcpy(&v6, &a->sa, sizeof(v6));
    if (!IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr))
        return;
    v4.sin_port = v6.sin6_port;
    memcpy(&v4.sin_addr, v6.sin6_addr.s6_addr + 12, 4);
    memset(a, 0, sizeof(*a));
    memcpy(&a->sa, &v4, sizeof(v4));
    a->len = sizeof(v4);
}

/* ---- Look-ups ---- */

struct resolve_job {
    struct offload_job job;
    char host[HOST_MAX + 1];
    uint16_t port;
    unsigned nth;
    struct net_addr addr;
    int error;
    net_resolve_fn *done;
    void *arg;
};

static const struct addrinfo *nth_of(const struct addrinfo *list, unsigned nth)
{
    unsigned count = 0;

    for (const struct addrinfo *a = list; a; a = a->ai_next)
        count++;
    for (nth %= count; nth > 0; nth--)
        list = list->ai_next;
    return list;
}

static void resolve_work(struct offload_job *job)
{
    struct resolve_job *r = CONTAINER(job, struct resolve_job, job);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    char port[6];

    snprintf(port, sizeof(port), "%u", r->port);
    r->error = E_NOT_FOUND;
    if (getaddrinfo(r->host, port, &hints, &list) != 0 || !list)
        return;
    const struct addrinfo *chosen = nth_of(list, r->nth);
    if (chosen->ai_addrlen <= sizeof(r->addr.sa)) {
        memcpy(&r->addr.sa, chosen->ai_addr, chosen->ai_addrlen);
        r->addr.len = chosen->ai_addrlen;
        r->error = 0;
    }
    freeaddrinfo(list);
}

static void already_resolved(struct offload_job *job)
{
    (void)job;
}

static void resolve_done(struct offload_job *job)
{
    struct resolve_job *r = CONTAINER(job, struct resolve_job, job);

    r->done(r->arg, r->error, r->error < 0 ? NULL : &r->addr);
    free(r);
}

int net_resolve_nth(struct offload *o, const char *host_port, unsigned nth, net_resolve_fn *done,
                    void *arg)
{
    struct net_addr addr;
    int parsed = net_addr_parse(&addr, host_port);
    if (parsed < 0 && parsed != E_NOT_FOUND)
        return parsed;

    struct resolve_job *r = mem_zero(sizeof(*r));
    r->job.work = parsed == 0 ? already_resolved : resolve_work;
    r->job.done = resolve_done;
    r->addr = addr;
    r->nth = nth;
    r->done = done;
    r->arg = arg;
    int error = parsed == 0 ? 0 : split_port(host_port, r->host, &r->port);
    if (error == 0)
        error = offload_submit(o, &r->job);
    if (error < 0)
        free(r);
    return error;
}

int net_resolve(struct offload *o, const char *host_port, net_resolve_fn *done, void *arg)
{
    return net_resolve_nth(o, host_port, 0, done, arg);
}
