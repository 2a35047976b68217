/* What this client is and knows, for the people and programs of this machine: /healthz, /status and
 * /status.json beside the API. Nothing of a request, and no key. */
#include <inttypes.h>

#include "base/clock.h"
#include "base/version.h"
#include "client/core/directory.h"
#include "client/proxy.h"

static size_t running(const struct call *asking)
{
    const struct list *calls = &asking->proxy->calls;
    size_t n = 0;

    for (const struct list *at = calls->next; at != calls; at = at->next)
        n++;
    return n - 1; /* without the one that asks */
}

static void append_member(struct buf *out, bool json, const char *name, const char *text)
{
    if (!json) {
        buf_printf(out, "%-16s  %s\n", name, text);
        return;
    }
    buf_printf(out, "%c\"%s\":\"", out->len > 0 ? ',' : '{', name);
    buf_json_escape(out, span_str(text));
    buf_byte(out, '"');
}

static void append_number(struct buf *out, bool json, const char *name, uint64_t value)
{
    if (json)
        buf_printf(out, "%c\"%s\":%" PRIu64, out->len > 0 ? ',' : '{', name, value);
    else
        buf_printf(out, "%-16s  %" PRIu64 "\n", name, value);
}

static void append_status(struct call *c, bool json, struct buf *out)
{
    const struct proxy *p = c->proxy;
    const struct attest_policy *policy = p->client->policy;

    append_member(out, json, "version", cocoon_version);
    append_member(out, json, "commit", cocoon_commit);
    append_number(out, json, "uptime_s", (loop_now(p->loop) - p->began_ms) / 1000);
    append_member(out, json, "gateway", p->config->gateway);
    append_member(out, json, "environment",
                  attest_policy_production(policy) ? "production" : "dev");
    append_number(out, json, "policy_sequence", attest_policy_sequence(policy));
    append_number(out, json, "policy_expires", attest_policy_expires(policy));
    append_number(out, json, "verified_keys",
                  directory_verified(p->client->directory, clock_wall_ms() / 1000));
    append_number(out, json, "requests", running(c));
    buf_append_str(out, json ? "}" : "");
}

bool status_answer(struct call *c)
{
    const struct span path = http_path(c->ex), method = http_method(c->ex);
    const bool json = span_is(path, "/status.json"), health = span_is(path, "/healthz");
    AUTO(buf_fini) struct buf out = {0};

    if (!(json || health || span_is(path, "/status")) ||
        !(span_is(method, "GET") || span_is(method, "HEAD")))
        return false;
    if (health)
        buf_append_str(&out, "ok\n");
    else
        append_status(c, json, &out);
    reply_whole(c, 200, json ? "application/json" : "text/plain; charset=utf-8", &out);
    return true;
}
