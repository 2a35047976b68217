/* Who calls on the internal listener is told by the kernel (the user of a UNIX socket's other end)
 * or by a certificate that the operator's CA has signed; the request itself has no say in it. */
#include "gateway/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "gateway/payer.h"
#include "gateway/services.h"
#include "net/tls.h"
#include "net/tls_front.h"

enum {
    UID_UNKNOWN = 65534, /* what the kernel says of users that it has no number for */
    SAN_LEN = 260,
};

struct internal_service {
    int64_t uid;       /* -1: it has a certificate */
    char san[SAN_LEN]; /* "": it is a user */
    char account[65];
    char class[16]; /* "": the key's */
    struct buf key; /* of who pays */
};

struct internal {
    struct internal_service *all;
    size_t count;
    struct tls_ctx *tls; /* NULL: no internal.tls.listen */
};

// ---- Settings -----------------------------------------------------------------------------------

static const struct internal_service *by_uid(const struct internal *in, int64_t uid)
{
    for (size_t i = 0; i < in->count; i++) {
        if (in->all[i].uid == uid)
            return &in->all[i];
    }
    return NULL;
}

static bool has_san(const struct internal *in, const char *san)
{
    for (size_t i = 0; i < in->count; i++) {
        if (strcmp(in->all[i].san, san) == 0)
            return true;
    }
    return false;
}

/* What is wrong with who the item says it is, or NULL. */
static const char *check_who(const struct internal *in, const struct gateway_internal_service *from)
{
    if ((from->uid < 0) == (from->san[0] == 0))
        return "uid or san: one of them";
    if (from->uid == UID_UNKNOWN)
        return "uid: 65534 is everybody whom the kernel has no number for";
    if (from->uid >= 0 ? by_uid(in, from->uid) != NULL : has_san(in, from->san))
        return "uid or san: is listed twice";
    return NULL;
}

/* What is wrong with the item behind those that are there, or NULL. */
static const char *service_read(struct internal *in, const struct gateway_internal_service *from)
{
    struct internal_service *s = &in->all[in->count];
    const char *problem = check_who(in, from);

    if (problem)
        return problem;
    in->count++; /* from here on internal_free wipes it */
    s->uid = from->uid;
    (void)snprintf(s->san, sizeof(s->san), "%s", from->san);
    (void)snprintf(s->account, sizeof(s->account), "%s", from->account);
    (void)snprintf(s->class, sizeof(s->class), "%s", from->class);
    if (payer_read(from->key_file, &s->key) < 0)
        return "key_file: not a secret file (0600) with an API key";
    return NULL;
}

static int read_services(struct internal *in, const struct config_list *from,
                         char why[INTERNAL_WHY_LEN])
{
    const struct gateway_internal_service *items = from->items;

    in->all = mem_zero((from->count + 1) * sizeof(*in->all));
    for (size_t i = 0; i < from->count; i++) {
        const char *problem = service_read(in, &items[i]);
        if (problem) {
            (void)snprintf(why, INTERNAL_WHY_LEN, "internal.services[%zu]: %s", i, problem);
            return E_INVALID;
        }
    }
    return 0;
}

static int read_certificates(struct internal *in, const struct gateway_config *c,
                             char why[INTERNAL_WHY_LEN])
{
    if (c->internal_tls_listen[0] == 0)
        return 0;
    const int error =
        tls_services_new(&in->tls, c->internal_chain, c->internal_key, c->internal_client_ca);
    if (error < 0)
        (void)snprintf(why, INTERNAL_WHY_LEN,
                       "internal.tls: chain, key or client_ca is no such file, or not a pair");
    return error;
}

int internal_new(struct internal **out, const struct gateway_config *c, char why[INTERNAL_WHY_LEN])
{
    struct internal *in = mem_zero(sizeof(*in));
    int error = read_services(in, &c->internal_services, why);

    *out = NULL;
    if (error == 0)
        error = read_certificates(in, c, why);
    if (error < 0)
        internal_free(in);
    else
        *out = in;
    return error;
}

void internal_free(struct internal *in)
{
    if (!in)
        return;
    for (size_t i = 0; i < in->count; i++)
        buf_wipe(&in->all[i].key);
    tls_ctx_free(in->tls);
    free(in->all);
    free(in);
}

// ---- Who it is ----------------------------------------------------------------------------------

/* By the one item that the certificate names; NULL: none, or several. */
static const struct internal_service *by_certificate(const struct internal *in,
                                                     const struct tls_client *client)
{
    const struct internal_service *found = NULL;

    for (size_t i = 0; i < in->count; i++) {
        const struct internal_service *s = &in->all[i];
        if (s->san[0] == 0 || !tls_client_is(client, span_str(s->san)))
            continue;
        if (found)
            return NULL;
        found = s;
    }
    return found;
}

/* uid -1: it is no UNIX socket. */
static const struct internal_service *find(const struct internal *in,
                                           const struct tls_client *client, int64_t uid)
{
    if (client)
        return by_certificate(in, client);
    return uid >= 0 ? by_uid(in, uid) : NULL;
}

static bool is_stranger(void *arg, const struct tls_client *client, int64_t uid)
{
    return !find(((const struct gateway *)arg)->internal, client, uid);
}

// ---- The listener -------------------------------------------------------------------------------

static void on_head(void *arg, struct http_exchange *ex)
{
    call_begin(arg, ex, true);
}

/* Everybody may knock: the kernel says who it is. One that was given has the giver's mode. */
static int open_to_all(const struct gateway *g, const char *unix_path)
{
    if (gateway_given(g, "internal", 0) >= 0)
        return 0;
    return chmod(unix_path + strlen("unix:"), 0666) < 0 ? E_IO : 0;
}

/* Whom a predecessor or service manager has sent here must not wait for nobody. */
static void close_given(const struct gateway *g, const char *role)
{
    for (int i = 0, fd; (fd = gateway_given(g, role, i)) >= 0; i++)
        close(fd);
}

/* text "": there is no such listener. */
static int open_listener(struct gateway *g, struct http_server **out, const char *role,
                         const char *text, const struct http_server_options *o)
{
    struct http_handler handler = call_handler;
    struct net_addr at;

    if (text[0] == 0) {
        close_given(g, role);
        return 0;
    }
    handler.head = on_head;
    handler.stranger = is_stranger;
    TRY(net_addr_parse(&at, text));
    TRY(http_server_new(out, g->loop, o, &handler, g));
    return gateway_listen(g, *out, role, &at);
}

int internal_start(struct gateway *g, const struct http_server_options *o)
{
    const struct gateway_config *s = gateway_settings(g);
    struct http_server_options own = *o;

    own.connection_limit = (unsigned)s->internal_connections;
    TRY(open_listener(g, &g->internal_unix, "internal", s->internal_listen, &own));
    if (g->internal_unix)
        TRY(open_to_all(g, s->internal_listen));
    own.tls = g->internal->tls;
    return open_listener(g, &g->internal_tls, "internal-tls", s->internal_tls_listen, &own);
}

/* A listener whose certificates are not in the settings any more goes on with those it has. */
void internal_replace(struct gateway *g, struct internal *next)
{
    if (!next->tls) {
        next->tls = g->internal->tls;
        g->internal->tls = NULL;
    }
    if (g->internal_tls)
        http_server_use_tls(g->internal_tls, next->tls);
    internal_free(g->internal);
    g->internal = next;
}

void internal_hold(struct gateway *g, bool held)
{
    if (g->internal_unix)
        http_server_hold(g->internal_unix, held);
    if (g->internal_tls)
        http_server_hold(g->internal_tls, held);
}

void internal_quiesce(struct gateway *g)
{
    if (g->internal_unix)
        http_server_quiesce(g->internal_unix);
    if (g->internal_tls)
        http_server_quiesce(g->internal_tls);
}

void internal_let_go(struct gateway *g)
{
    if (g->internal_unix)
        http_server_let_go(g->internal_unix);
    if (g->internal_tls)
        http_server_let_go(g->internal_tls);
}

bool internal_listens(const struct gateway *g)
{
    return (g->internal_unix && http_server_listens(g->internal_unix)) ||
           (g->internal_tls && http_server_listens(g->internal_tls));
}

size_t internal_connections(const struct gateway *g)
{
    return (g->internal_unix ? http_server_connections(g->internal_unix) : 0) +
           (g->internal_tls ? http_server_connections(g->internal_tls) : 0);
}

void internal_stop(struct gateway *g)
{
    http_server_free(g->internal_unix);
    http_server_free(g->internal_tls);
}

// ---- Calls --------------------------------------------------------------------------------------

static bool refuse(struct call *c, const char *why)
{
    c->gateway->metrics.internal_refused++;
    api_fault_text(&c->fault, &ERR_FORBIDDEN, NULL, "%s", why);
    return false;
}

/* A proxy would make its own rights everybody's who reaches it. */
static bool is_passed_on(const struct call *c)
{
    static const char *const headers[] = {"forwarded", "x-forwarded-for", "x-real-ip", "via"};

    for (size_t i = 0; i < sizeof(headers) / sizeof(*headers); i++) {
        if (http_header_count(c->ex, headers[i]) > 0)
            return true;
    }
    return false;
}

/* A connection may last longer than the certificate that it began with. */
static bool is_over(const struct call *c)
{
    const struct tls_client *client = http_peer_tls(c->ex);

    return client && clock_wall_ms() / 1000 > client->until_s;
}

static void note(const struct call *c, const struct internal_service *s)
{
    if (s->san[0])
        log_event(LOG_DEBUG, "internal_call", "call=%s account=%s san=%s", c->id, s->account,
                  s->san);
    else
        log_event(LOG_DEBUG, "internal_call", "call=%s account=%s uid=%lld", c->id, s->account,
                  (long long)s->uid);
}

bool internal_admit(struct call *c)
{
    const struct internal_service *s =
        find(c->gateway->internal, http_peer_tls(c->ex), http_peer_uid(c->ex));

    if (!s)
        return refuse(c, "This caller is not one of the services that may use this listener.");
    if (is_over(c))
        return refuse(c, "The certificate of this connection has expired.");
    if (is_passed_on(c))
        return refuse(c, "This listener takes no request that a proxy passes on.");
    note(c, s);
    services_act(c, s->account, s->class, buf_span(&s->key));
    return true;
}

static uint64_t refused_connections(const struct gateway *g)
{
    return (g->internal_unix ? http_server_refused(g->internal_unix) : 0) +
           (g->internal_tls ? http_server_refused(g->internal_tls) : 0);
}

void internal_metrics_write(struct gateway *g, struct buf *out)
{
    gauge_write("cocoon_internal_connections", "Services' connections to the internal listener.",
                (double)internal_connections(g), out);
    counter_write("cocoon_internal_connections_refused_total",
                  "Connections above internal.connections, or of too many strangers.",
                  refused_connections(g), out);
    counter_write("cocoon_internal_handshakes_refused_total",
                  "TLS handshakes there that failed: no good certificate, or too many at a time.",
                  g->internal_tls ? http_server_tls_refused(g->internal_tls) : 0, out);
    counter_write("cocoon_internal_refused_total",
                  "Calls on the internal listener that are of none of its services, or passed on.",
                  g->metrics.internal_refused, out);
}
