/* Who calls on the internal listener is told by the kernel; the request itself has no say in it. */
#include "gateway/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "gateway/payer.h"
#include "gateway/services.h"

enum { UID_UNKNOWN = 65534 /* what the kernel says of users that it has no number for */ };

struct internal_service {
    int64_t uid;
    char account[65], class[16]; /* class "": the key's */
    struct buf key;              /* of who pays */
};

struct internal {
    struct internal_service *all;
    size_t count;
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

/* What is wrong with the item behind those that are there, or NULL. */
static const char *service_read(struct internal *in, const struct gateway_internal_service *from)
{
    struct internal_service *s = &in->all[in->count];

    if (from->uid == UID_UNKNOWN)
        return "uid: 65534 is everybody whom the kernel has no number for";
    if (by_uid(in, from->uid))
        return "uid: is listed twice";
    in->count++; /* from here on internal_free wipes it */
    s->uid = from->uid;
    (void)snprintf(s->account, sizeof(s->account), "%s", from->account);
    (void)snprintf(s->class, sizeof(s->class), "%s", from->class);
    if (payer_read(from->key_file, &s->key) < 0)
        return "key_file: not a secret file (0600) with an API key";
    return NULL;
}

int internal_new(struct internal **out, const struct gateway_config *c, char why[INTERNAL_WHY_LEN])
{
    const struct gateway_internal_service *from = c->internal_services.items;
    struct internal *in = mem_zero(sizeof(*in));

    *out = NULL;
    in->all = mem_zero((c->internal_services.count + 1) * sizeof(*in->all));
    for (size_t i = 0; i < c->internal_services.count; i++) {
        const char *problem = service_read(in, &from[i]);
        if (problem) {
            (void)snprintf(why, INTERNAL_WHY_LEN, "internal.services[%zu]: %s", i, problem);
            internal_free(in);
            return E_INVALID;
        }
    }
    *out = in;
    return 0;
}

void internal_free(struct internal *in)
{
    if (!in)
        return;
    for (size_t i = 0; i < in->count; i++)
        buf_wipe(&in->all[i].key);
    free(in->all);
    free(in);
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

int internal_start(struct gateway *g, const struct http_server_options *o)
{
    const struct gateway_config *s = gateway_settings(g);
    struct http_server_options own = *o;
    struct http_handler handler = call_handler;
    struct net_addr at;

    if (s->internal_listen[0] == 0)
        return 0;
    own.connection_limit = (unsigned)s->internal_connections;
    handler.head = on_head;
    TRY(net_addr_parse(&at, s->internal_listen));
    TRY(http_server_new(&g->internal_api, g->loop, &own, &handler, g));
    TRY(gateway_listen(g, g->internal_api, "internal", &at));
    return open_to_all(g, s->internal_listen);
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

bool internal_admit(struct call *c)
{
    const struct internal_service *s = NULL;
    uid_t uid;

    if (http_peer_uid(c->ex, &uid) == 0)
        s = by_uid(c->gateway->internal, uid);
    if (!s)
        return refuse(c, "This caller is not one of the services that may use this listener.");
    if (is_passed_on(c))
        return refuse(c, "This listener takes no request that a proxy passes on.");
    log_event(LOG_DEBUG, "internal_call", "call=%s account=%s uid=%lld", c->id, s->account,
              (long long)s->uid);
    services_act(c, s->account, s->class, buf_span(&s->key));
    return true;
}

void internal_metrics_write(struct gateway *g, struct buf *out)
{
    const struct http_server *s = g->internal_api;

    gauge_write("cocoon_internal_connections", "Services' connections to the internal listener.",
                s ? (double)http_server_connections(s) : 0, out);
    counter_write("cocoon_internal_connections_refused_total",
                  "Connections above internal.connections.", s ? http_server_refused(s) : 0, out);
    counter_write("cocoon_internal_refused_total",
                  "Calls on the internal listener that are of none of its services, or passed on.",
                  g->metrics.internal_refused, out);
}
