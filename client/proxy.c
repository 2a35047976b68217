/* The local endpoint brought up, drained and taken down. */
#include "client/proxy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/version.h"

enum { DAEMONS = 8, DRAIN_LOOK_MS = 20, PATH_LEN = 1024, DAY_S = 86400, ALARM_S = 14 * DAY_S };

static int bad(char why[static 300], const char *what, int error)
{
    snprintf(why, 300, "%s: %s", what, error_why(error));
    return error;
}

/* key_file: room for the path of the one that is used where none is set. */
static struct client_options options_of(const struct client_config *s, char key_file[PATH_LEN])
{
    const char *home = getenv("HOME");

    snprintf(key_file, PATH_LEN, "%s/.cocoon-client.key", home ? home : ".");
    return (struct client_options){
        .gateway = s->gateway,
        .ca_file = s->ca_file,
        .policy_file = s->policy,
        .release_keys = s->release_keys.items,
        .release_key_count = s->release_keys.count,
        .key_file = s->key_file[0] ? s->key_file : key_file,
        .insecure_dev = s->insecure_dev,
        .silence_ms = (uint64_t)s->silence_ms,
        .total_ms = (uint64_t)s->total_ms,
        .ping_ms = (uint64_t)s->ping_ms,
        .padding = s->padding,
        .default_output = s->default_output,
        .template_allowance = s->template_allowance,
        .collateral = {.url = s->collateral_url,
                       .root_crl_url = s->root_crl_url,
                       .cache = s->collateral_cache,
                       .bundle = s->collateral_bundle},
        .save_receipts = s->save_receipts,
    };
}

static int start_client(struct proxy *p, char why[static 300])
{
    char key_file[PATH_LEN];
    const struct client_options o = options_of(p->config, key_file);

    return client_new(&p->client, p->loop, p->offload, &o, why);
}

int proxy_start(struct proxy *p, char why[static 300])
{
    int error;

    p->began_ms = loop_now(p->loop);
    if ((error = offload_new(&p->offload, p->loop, (unsigned)p->config->offload_threads)) < 0)
        return bad(why, "threads", error);
    return start_client(p, why);
}

/* After its end it lets nobody pass. */
static void warn_of_policy(const struct attest_policy *policy)
{
    const uint64_t now_s = clock_wall_ms() / 1000, end_s = attest_policy_expires(policy);

    if (!attest_policy_production(policy))
        log_event(LOG_WARN, "insecure_dev",
                  "note=the-policy-is-for-development-nothing-here-is-confidential");
    if (end_s < now_s + ALARM_S)
        log_event(LOG_WARN, "policy_ends", "days_left=%llu",
                  (unsigned long long)(end_s > now_s ? (end_s - now_s) / DAY_S : 0));
}

static void announce(const struct proxy *p)
{
    struct net_addr at;
    char text[160];

    http_server_addr(p->server, 0, &at);
    net_addr_text(&at, text, sizeof(text));
    log_event(LOG_INFO, "listening", "at=%s version=%s", text, cocoon_version);
    warn_of_policy(p->client->policy);
}

int proxy_listen(struct proxy *p, char why[static 300])
{
    struct http_server_options o = http_server_defaults;
    struct net_addr at;
    int error;

    o.daemons = DAEMONS;
    o.connection_limit = (unsigned)p->config->connections;
    o.header_max = (size_t)p->config->header_bytes;
    if ((error = net_addr_parse(&at, p->config->listen)) < 0 ||
        (error = http_server_new(&p->server, p->loop, &o, &call_handler, p)) < 0 ||
        (error = http_server_listen_alone(p->server, &at)) < 0)
        return bad(why, p->config->listen, error);
    announce(p);
    return 0;
}

void proxy_reload(struct proxy *p)
{
    char key_file[PATH_LEN], why[300];
    const struct client_options o = options_of(p->config, key_file);

    if (client_reload_policy(p->client, &o, why) < 0) {
        log_event(LOG_ERROR, "reload_refused", "why=\"%s\"", why);
        return;
    }
    log_event(LOG_INFO, "reloaded", "sequence=%llu note=settings-need-a-restart",
              (unsigned long long)attest_policy_sequence(p->client->policy));
    warn_of_policy(p->client->policy);
}

static void drain_look(void *arg)
{
    struct proxy *p = arg;

    if (list_empty(&p->calls) || clock_mono_ms() >= p->drain_until_ms)
        loop_stop(p->loop);
    else
        loop_timer_set(p->loop, &p->drain, DRAIN_LOOK_MS, drain_look, p);
}

void proxy_drain(struct proxy *p)
{
    if (p->draining)
        return;
    p->draining = true;
    http_server_quiesce(p->server);
    p->drain_until_ms = clock_mono_ms() + (uint64_t)p->config->drain_ms;
    drain_look(p);
}

void proxy_stop(struct proxy *p)
{
    LIST_FOREACH_SAFE(it, &p->calls)
        call_fail(CONTAINER(it, struct call, link), &ERR_DRAINING, NULL, NULL);
    http_server_free(p->server);
    loop_timer_cancel(p->loop, &p->drain);
    if (p->offload)
        offload_stop(p->offload); /* what ends behind it may still ask, and is refused */
    client_free(p->client);
    offload_free(p->offload);
    idempotency_fini(&p->idempotency);
}
