/* Takes the URL of a Redis apart: scheme, login, places, the primary's name, the database. */
#include "base/redis_url.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/un.h>

enum { DB_MAX = 65535, PORT_MAX = 65535, HOST_MAX = 253 /* RFC 1035 §2.3.4 */ };

static const struct scheme {
    const char *prefix;
    enum redis_kind kind;
    bool tls;
} schemes[] = {
    {"redis://", REDIS_ALONE, false},
    {"rediss://", REDIS_ALONE, true},
    {"redis+sentinel://", REDIS_SENTINEL, false},
    {"rediss+sentinel://", REDIS_SENTINEL, true},
    {"redis+cluster://", REDIS_CLUSTER, false},
    {"rediss+cluster://", REDIS_CLUSTER, true},
};

/* ---- Places ---- */

static bool is_number(int family, struct span host)
{
    char text[INET6_ADDRSTRLEN];
    uint8_t bytes[sizeof(struct in6_addr)];

    return span_cstr(host, text, sizeof(text)) == 0 && inet_pton(family, text, bytes) == 1;
}

static bool is_letter(uint8_t c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

static bool is_host_char(uint8_t c)
{
    return is_letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

/* A name whose last label holds a letter: what has none is a number, or a mistyped one. */
static bool is_name(struct span host)
{
    bool letter = false;

    for (size_t i = 0; i < host.len; i++) {
        if (!is_host_char(host.data[i]))
            return false;
        letter = host.data[i] != '.' && (letter || is_letter(host.data[i]));
    }
    return letter && host.len <= HOST_MAX && host.data[host.len - 1] != '.';
}

static ptrdiff_t last_of(struct span s, char c)
{
    const uint8_t *at = s.len > 0 ? memrchr(s.data, c, s.len) : NULL;

    return at ? at - s.data : -1;
}

int redis_place_read(struct span text, char out[static REDIS_PLACE_LEN])
{
    const ptrdiff_t colon = last_of(text, ':');
    uint64_t port;

    if (colon < 1)
        return E_INVALID;
    struct span host = span_cut(text, 0, (size_t)colon);
    TRY(span_u64(span_from(text, (size_t)colon + 1), PORT_MAX, &port));
    if (span_starts(host, SPAN("[")) && span_ends(host, SPAN("]")))
        host = span_cut(host, 1, host.len - 2);
    else if (is_name(host) || is_number(AF_INET, host))
        return port > 0 ? span_cstr(text, out, REDIS_PLACE_LEN) : E_INVALID;
    if (port == 0 || !is_number(AF_INET6, host))
        return E_INVALID;
    snprintf(out, REDIS_PLACE_LEN, "[%.*s]:%u", SPAN_FMT(host), (unsigned)port);
    return 0;
}

static int take_places(struct redis_url *u, struct span places)
{
    const size_t most = u->kind == REDIS_ALONE ? 1 : REDIS_PLACES_MAX;

    do {
        const bool more = span_find(places, SPAN(",")) >= 0;
        if (u->place_count == most)
            return E_INVALID;
        TRY(redis_place_read(span_split(&places, ','), u->places[u->place_count++]));
        if (more && places.len == 0)
            return E_INVALID;
    } while (places.len > 0);
    return 0;
}

/* ---- The rest ---- */

static int take_db(struct redis_url *u, struct span db)
{
    uint64_t number;

    TRY(span_u64(db, DB_MAX, &number));
    return number > 0 ? span_cstr(db, u->db, sizeof(u->db)) : 0;
}

/* "user:password" */
static int take_login(struct redis_url *u, struct span login)
{
    const ptrdiff_t colon = span_find(login, SPAN(":"));

    if (colon < 0 || (size_t)colon + 1 == login.len)
        return E_INVALID;
    const struct span user = span_cut(login, 0, (size_t)colon);
    if (user.len > 0 && !span_visible(user, REDIS_LOGIN_LEN))
        return E_INVALID;
    TRY(span_cstr(user, u->user, sizeof(u->user)));
    return span_cstr(span_from(login, (size_t)colon + 1), u->password, sizeof(u->password));
}

/* Cuts what stands before the last '@'. */
static int cut_login(struct redis_url *u, struct span *rest)
{
    const ptrdiff_t at = last_of(*rest, '@');

    if (at < 0)
        return 0;
    TRY(take_login(u, span_cut(*rest, 0, (size_t)at)));
    *rest = span_from(*rest, (size_t)at + 1);
    return 0;
}

static bool is_master(struct span name)
{
    return span_visible(name, sizeof(((struct redis_url *)0)->master) - 1);
}

static int read_net(struct redis_url *u, struct span rest)
{
    TRY(cut_login(u, &rest));
    TRY(take_places(u, span_split(&rest, '/')));
    if (u->kind == REDIS_SENTINEL) {
        const struct span name = span_split(&rest, '/');
        if (!is_master(name))
            return E_INVALID;
        TRY(span_cstr(name, u->master, sizeof(u->master)));
    }
    if (rest.len > 0 && u->kind == REDIS_CLUSTER)
        return E_INVALID; /* a Cluster has one database */
    return rest.len > 0 ? take_db(u, rest) : 0;
}

static int read_unix(struct redis_url *u, struct span rest)
{
    if (!span_starts(rest, SPAN("/"))) {
        TRY(cut_login(u, &rest));
    }
    const ptrdiff_t query = span_find(rest, SPAN("?"));
    const struct span path = query < 0 ? rest : span_cut(rest, 0, (size_t)query);
    const struct span db = span_from(rest, query < 0 ? rest.len : (size_t)query);
    if (query >= 0) {
        if (!span_starts(db, SPAN("?db=")))
            return E_INVALID;
        TRY(take_db(u, span_from(db, strlen("?db="))));
    }
    if (!span_starts(path, SPAN("/")) || path.len < 2 ||
        path.len >= sizeof((struct sockaddr_un){0}.sun_path))
        return E_INVALID;
    snprintf(u->places[u->place_count++], REDIS_PLACE_LEN, "unix:%.*s", SPAN_FMT(path));
    return 0;
}

int redis_url_parse(struct redis_url *out, const char *text)
{
    const struct span all = span_of(text, strnlen(text, REDIS_URL_MAX));

    *out = (struct redis_url){0};
    if (all.len == REDIS_URL_MAX)
        return E_INVALID;
    if (span_starts(all, SPAN("unix:")))
        return read_unix(out, span_from(all, strlen("unix:")));
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        if (!span_starts(all, span_str(schemes[i].prefix)))
            continue;
        out->kind = schemes[i].kind;
        out->tls = schemes[i].tls;
        return read_net(out, span_from(all, strlen(schemes[i].prefix)));
    }
    return E_INVALID;
}
