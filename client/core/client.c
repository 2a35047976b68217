/* The client's parts, made in order and taken down in the reverse one; and its way to the gateway.
 */
#include "client/core/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/core/directory.h"
#include "client/core/prices.h"

enum { CONNECT_MS = 10000, CONNECTIONS = 64, CACHED_COLLATERALS = 16, STATE_LEN = 4096 };

/* ---- Where the gateway is ---- */

static struct span cut_end(struct span s, struct span end)
{
    return span_ends(s, end) ? span_cut(s, 0, s.len - end.len) : s;
}

static char *text_of(struct span s)
{
    char *out = mem_alloc(s.len + 1);

    if (s.len > 0)
        memcpy(out, s.data, s.len);
    out[s.len] = '\0';
    return out;
}

static void set_gateway(struct client *c, const char *url)
{
    struct span s = span_str(url);

    if (span_starts(s, SPAN("unix:"))) {
        c->unix_socket = text_of(span_from(s, 5));
        c->base = mem_strdup("http://gateway");
        return;
    }
    s = cut_end(cut_end(s, SPAN("/")), SPAN("/v1"));
    c->base = text_of(cut_end(s, SPAN("/")));
}

static struct http_fetch fetch_of(const struct client *c, const struct client_ask *ask,
                                  struct buf *url)
{
    buf_printf(url, "%s%s", c->base, ask->path);
    return (struct http_fetch){
        .url = buf_cstr(url),
        .unix_socket = c->unix_socket,
        .ca_file = c->ca_file,
        .method = "GET",
        .headers = ask->fields,
        .header_count = ask->field_count,
        .total_ms = ask->total_ms,
    };
}

int client_post(struct client *c, const struct client_ask *ask, struct buf *take_body,
                const struct http_transfer_events *ev, void *arg, struct http_transfer **out)
{
    AUTO(buf_fini) struct buf url = {0};
    struct http_fetch fetch = fetch_of(c, ask, &url);

    fetch.method = "POST";
    fetch.take_body = take_body;
    return http_client_start(c->http, &fetch, ev, arg, out);
}

int client_get(struct client *c, const struct client_ask *ask, struct http_whole *whole)
{
    AUTO(buf_fini) struct buf url = {0};
    const struct http_fetch fetch = fetch_of(c, ask, &url);

    return http_whole_start(whole, c->http, &fetch);
}

void client_unreachable(struct api_fault *fault, int error)
{
    const bool late = error == E_TIMEOUT;
    const char *what = late                  ? "did not answer in time"
                       : error == E_PROTOCOL ? "could not be spoken to: its certificate is not "
                                               "trusted, or what it speaks is not HTTP"
                                             : "cannot be reached";

    api_fault_text(fault, late ? &ERR_UPSTREAM_TIMEOUT : &ERR_GATEWAY_UNREACHABLE, NULL,
                   "The gateway %s.", what);
}

/* ---- Start and end ---- */

static int folder_make(const char *folder, char why[static 300])
{
    if (!folder ||
        ((mkdir(folder, 0700) == 0 || errno == EEXIST) && access(folder, W_OK | X_OK) == 0))
        return 0;
    snprintf(why, 300, "%.200s: %s", folder, strerror(errno));
    return E_IO;
}

static int load_policy(struct client *c, const struct client_options *o, struct attest_policy **out,
                       char why[static 300])
{
    char state[STATE_LEN];

    if ((size_t)snprintf(state, sizeof(state), "%s.trust", o->key_file) >= sizeof(state)) {
        snprintf(why, 300, "The path of the key file is too long.");
        return E_TOO_LARGE;
    }
    return trust_load(out, &c->state, o, state, why);
}

static int load_trust(struct client *c, const struct client_options *o, char why[static 300])
{
    TRY(folder_make(c->save_receipts, why));
    TRY(local_key_load(c->key, o->key_file, why));
    return load_policy(c, o, &c->policy, why);
}

int client_reload_policy(struct client *c, const struct client_options *options,
                         char why[static 300])
{
    struct attest_policy *p;

    TRY(load_policy(c, options, &p, why));
    attest_policy_unref(c->policy);
    c->policy = p;
    c->insecure_dev = options->insecure_dev;
    directory_rejudge(c->directory);
    return 0;
}

static void copy_settings(struct client *c, const struct client_options *o)
{
    c->insecure_dev = o->insecure_dev;
    c->silence_ms = o->silence_ms;
    c->total_ms = o->total_ms;
    c->ping_ms = o->ping_ms;
    c->default_output = o->default_output;
    c->template_allowance = o->template_allowance;
    snprintf(c->padding, sizeof(c->padding), "%s", o->padding);
    if (o->ca_file && o->ca_file[0])
        c->ca_file = mem_strdup(o->ca_file);
    if (o->save_receipts && o->save_receipts[0])
        c->save_receipts = mem_strdup(o->save_receipts);
    set_gateway(c, o->gateway);
}

int client_new(struct client **out, struct loop *l, struct offload *o,
               const struct client_options *options, char why[static 300])
{
    const struct http_client_options http = {.max_connections = CONNECTIONS,
                                             .connect_ms = CONNECT_MS};
    struct client *c = mem_zero(sizeof(*c));
    int error;

    c->loop = l;
    c->offload = o;
    copy_settings(c, options);
    if ((error = load_trust(c, options, why)) < 0) {
        client_free(c);
        return error;
    }
    if ((error = http_client_new(&c->http, l, &http)) < 0) {
        snprintf(why, 300, "The HTTP client could not be started.");
        client_free(c);
        return error;
    }
    if ((error = collaterals_new(&c->collaterals, l, &options->collateral)) < 0) {
        snprintf(why, 300, "The file with collateral cannot be used: %.200s",
                 options->collateral.bundle ? options->collateral.bundle : "-");
        client_free(c);
        return error;
    }
    c->cache = collateral_cache_new(CACHED_COLLATERALS);
    c->directory = directory_new(c);
    c->prices = prices_new(c);
    *out = c;
    return 0;
}

void client_free(struct client *c)
{
    if (!c)
        return;
    directory_free(c->directory);
    prices_free(c->prices);
    collaterals_free(c->collaterals);
    http_client_free(c->http);
    collateral_cache_free(c->cache);
    attest_policy_unref(c->policy);
    trust_state_fini(&c->state);
    crypto_wipe(c->key, sizeof(c->key));
    free(c->base);
    free(c->unix_socket);
    free(c->ca_file);
    free(c->save_receipts);
    free(c);
}
