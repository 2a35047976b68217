/* The engine as an object: its address, its kind, and the count of what runs in it. */
#include "backends/engine/engine.h"

#include <stdio.h>
#include <stdlib.h>

#include "backends/engine/engine_impl.h"

static bool kind_by_name(const char *name, enum engine_kind *out)
{
    for (int k = ENGINE_GENERIC; k <= ENGINE_SGLANG; k++) {
        if (strcmp(name, engine_kind_name((enum engine_kind)k)) == 0) {
            *out = (enum engine_kind)k;
            return true;
        }
    }
    return false; /* "auto" */
}

/* http://host:port without a path; "…/v1" is taken off, since people write it. */
static int set_address(struct engine *e, const char *url)
{
    static const char unix_prefix[] = "unix:";
    struct span base = span_str(url);

    if (strncmp(url, unix_prefix, sizeof(unix_prefix) - 1) == 0) {
        e->unix_socket = mem_strdup(url + sizeof(unix_prefix) - 1);
        base = SPAN("http://localhost");
    }
    while (span_ends(base, SPAN("/")))
        base.len--;
    if (span_ends(base, SPAN("/v1")))
        base.len -= 3;
    if (base.len >= sizeof(e->base) || !span_starts(base, SPAN("http://")))
        return E_INVALID;
    memcpy(e->base, base.data, base.len);
    return 0;
}

int engine_new(struct engine **out, struct loop *l, const struct engine_options *o,
               engine_change_fn *changed, void *arg)
{
    const struct http_client_options http = {.max_connections = o->connections, .connect_ms = 2000};
    struct engine *e = mem_zero(sizeof(*e));

    *e = (struct engine){.loop = l, .offload = o->offload, .changed = changed, .arg = arg};
    e->silent_ms = o->silent_ms;
    e->kind_fixed = kind_by_name(o->kind, &e->kind);
    int error = set_address(e, o->url);
    if (!error)
        error = http_client_new(&e->http, l, &http);
    if (error < 0) {
        engine_free(e);
        return error;
    }
    engine_probe_start(e);
    *out = e;
    return 0;
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    engine_probe_stop(e);
    if (e->http)
        http_client_free(e->http);
    buf_fini(&e->probe_body);
    free(e->unix_socket);
    free(e);
}

bool engine_up(const struct engine *e)
{
    return e->up;
}

enum engine_kind engine_kind(const struct engine *e)
{
    return e->kind_fixed ? e->kind : e->facts.kind;
}

const struct facts *engine_facts(const struct engine *e)
{
    return &e->facts;
}

const struct engine_load *engine_load(const struct engine *e)
{
    return &e->load;
}

unsigned engine_lingering(const struct engine *e)
{
    return e->lingering;
}

void engine_transfer_began(struct engine *e)
{
    e->live++;
}

void engine_transfer_ended(struct engine *e, bool cancelled)
{
    e->live--;
    if (!cancelled || !e->load.has_running)
        return;
    e->cancelled_ms = loop_now(e->loop);
    if (e->lingering++ == 0)
        engine_probe_lingering(e);
}
