/* Dials gateways, and dials again with growing, jittered pauses (wire.md §1). */
#include "worker/gateways.h"

#include <stdlib.h>

#include "base/encode.h"
#include "base/json.h"
#include "base/log.h"
#include "base/random.h"
#include "config/check.h"
#include "worker/exchange.h"
#include "worker/worker.h"

enum {
    RETRY_MIN_MS = 1000,
    RETRY_MAX_MS = 60000,
    ENGINE_MS = 200, /* the first dial leaves an engine so long to say what it is */
    LINGER_MS = 500, /* how often a removed link looks whether its streams are over */
};

/* One entry of the configuration's `operators`. */
struct operator_entry {
    struct list link;
    char *name;
    uint8_t (*pins)[SHA256_LEN];
    size_t pin_count;
    struct list links;
    bool removed;
};

struct gateways {
    struct worker *worker;
    struct list operators;
    bool closing;
};

static struct operator_entry *operator_at(struct list *l)
{
    return CONTAINER(l, struct operator_entry, link);
}

static struct link *link_at(struct list *l)
{
    return CONTAINER(l, struct link, link);
}

struct usage_owner link_owner(const struct link *link)
{
    return (struct usage_owner){(const uint8_t(*)[SHA256_LEN])link->owner->pins,
                                link->owner->pin_count};
}

const char *link_operator_name(const struct link *link)
{
    return link->owner->name;
}

/* ---- One link ---- */

static void link_free(void *arg)
{
    struct link *link = arg;

    map_fini(&link->told);
    free(link);
}

static void link_drop(struct link *link)
{
    loop_timer_cancel(link->worker->loop, &link->timer);
    list_del(&link->link);
    loop_defer_free(link->worker->loop, link, link_free);
}

static void on_dial(void *arg);

static void told_clear(struct link *link)
{
    map_fini(&link->told);
    link->told = (struct map){0};
}

/* A gateway that has accepted us says what there is, and this address is not among it. */
static bool is_given_up(const struct link *link)
{
    bool known = false;

    LIST_FOREACH(it, &link->owner->links) {
        const struct link *other = link_at(it);
        known = known || other->eligible;
        if (map_get(&other->told, span_str(link->address)))
            return false;
    }
    return known && !link->configured;
}

static void dial_later(struct link *link)
{
    const unsigned doublings = link->failures < 7 ? link->failures : 7;
    uint64_t spread = 500ull << doublings;

    if (spread > RETRY_MAX_MS - RETRY_MIN_MS)
        spread = RETRY_MAX_MS - RETRY_MIN_MS;
    link->failures++;
    if (!link->worker->stopping)
        loop_timer_set(link->worker->loop, &link->timer, RETRY_MIN_MS + random_below(spread),
                       on_dial, link);
}

static void on_open(void *arg, struct tunnel *t)
{
    struct link *link = arg;
    char op[2 * SHA256_LEN + 1];
    uint8_t pin[TLS_SPKI_LEN];

    tunnel_pin(t, pin);
    hex_encode(op, SPAN_OF(pin));
    log_event(LOG_INFO, "tunnel_open", "operator=%s gateway=%s op=%s", link->owner->name,
              link->address, op);
}

static void on_request(void *arg, struct tunnel *t, struct tunnel_stream *s)
{
    struct link *link = arg;

    (void)t;
    endpoints_dispatch(link->worker, link, s);
}

static void on_goaway(void *arg, struct tunnel *t)
{
    struct link *link = arg;

    (void)t;
    log_event(LOG_INFO, "tunnel_goaway", "operator=%s gateway=%s", link->owner->name,
              link->address);
}

static void on_closed(void *arg, struct tunnel *t, int error)
{
    struct link *link = arg;

    (void)t;
    link->tunnel = NULL;
    if (link->eligible)
        link->failures = 0;
    link->eligible = link->draining = false;
    told_clear(link);
    log_event(error == E_AUTH ? LOG_ERROR : LOG_INFO, "tunnel_closed",
              "operator=%s gateway=%s error=%s", link->owner->name, link->address,
              error_name(error));
    if (link->removed || link->replaced)
        link_drop(link);
    else
        dial_later(link);
}

static const struct tunnel_events tunnel_events = {
    .open = on_open,
    .request = on_request,
    .goaway = on_goaway,
    .closed = on_closed,
};

/* Another link of the operator already leads there: one tunnel a gateway. */
static bool is_double(const struct link *link)
{
    LIST_FOREACH(it, &link->owner->links) {
        const struct link *other = link_at(it);
        if (other != link && other->tunnel && !other->replaced &&
            strcmp(other->resolved, link->resolved) == 0)
            return true;
    }
    return false;
}

static struct tunnel_limits tunnel_limits(const struct worker_config *s)
{
    struct tunnel_limits limits = tunnel_worker_limits;

    limits.header_max = (size_t)s->tunnel_header_bytes;
    limits.streams = (unsigned)s->tunnel_streams + TUNNEL_SMALL_STREAMS;
    limits.settings_per_minute = (unsigned)s->tunnel_settings_per_minute;
    limits.resets_per_second = (unsigned)s->tunnel_resets_per_second;
    return limits;
}

static void dial(struct link *link, const struct net_addr *to)
{
    struct worker *w = link->worker;
    const struct tunnel_limits limits = tunnel_limits(worker_config(w));

    net_addr_text(to, link->resolved, sizeof(link->resolved));
    if (is_double(link)) {
        link->failures = 7;
        dial_later(link);
        return;
    }
    const int error = tunnel_dial(&link->tunnel, w->loop, w->tls, to,
                                  (const uint8_t(*)[TLS_SPKI_LEN])link->owner->pins,
                                  link->owner->pin_count, &limits, &tunnel_events, link);
    if (error < 0) {
        link->tunnel = NULL;
        log_event(LOG_WARN, "tunnel_dial", "operator=%s gateway=%s error=%s", link->owner->name,
                  link->address, error_name(error));
        dial_later(link);
    }
}

static void on_resolved(void *arg, int error, const struct net_addr *addr)
{
    struct link *link = arg;

    link->resolving = false;
    if (link->removed) {
        link_drop(link);
    } else if (error < 0) {
        log_event(LOG_WARN, "tunnel_resolve", "operator=%s gateway=%s error=%s", link->owner->name,
                  link->address, error_name(error));
        dial_later(link);
    } else {
        dial(link, addr);
    }
}

static void on_dial(void *arg)
{
    struct link *link = arg;
    struct net_addr to;

    if (is_given_up(link)) {
        log_event(LOG_INFO, "gateway_given_up", "operator=%s gateway=%s", link->owner->name,
                  link->address);
        link_drop(link);
        return;
    }
    const int error = net_addr_parse(&to, link->address);
    if (error == 0) {
        dial(link, &to);
    } else if (net_resolve(link->worker->offload, link->address, on_resolved, link) == 0) {
        link->resolving = true;
    } else {
        dial_later(link);
    }
}

static struct link *link_find(const struct operator_entry *op, struct span address)
{
    LIST_FOREACH(it, &op->links)
        if (!link_at(it)->removed && !link_at(it)->replaced &&
            span_is(address, link_at(it)->address))
            return link_at(it);
    return NULL;
}

/* The link to that address; a new one dials at once, or when the first look at the engine should be
 * over: the keyset names the engine, and is attested once instead of twice. NULL when the address
 * is too long. */
static struct link *link_get(struct worker *w, struct operator_entry *op, const char *address)
{
    struct link *link = link_find(op, span_str(address));

    if (link || strlen(address) >= LINK_ADDRESS_MAX)
        return link;
    link = mem_zero(sizeof(*link));
    *link = (struct link){.owner = op, .worker = w};
    memcpy(link->address, address, strlen(address) + 1);
    list_push(&op->links, &link->link);
    loop_timer_set(w->loop, &link->timer, engine_up(w->engine) ? 0 : ENGINE_MS, on_dial, link);
    return link;
}

static void on_linger(void *arg)
{
    struct link *link = arg;

    if (tunnel_streams(link->tunnel) == 0)
        tunnel_close(link->tunnel);
    else
        loop_timer_set(link->worker->loop, &link->timer, LINGER_MS, on_linger, link);
}

/* Nobody wants it any more: what runs on it finishes. */
static void link_remove(struct link *link)
{
    if (link->removed)
        return;
    link->removed = true;
    if (link->tunnel) {
        tunnel_goaway(link->tunnel);
        loop_timer_set(link->worker->loop, &link->timer, LINGER_MS, on_linger, link);
    } else if (!link->resolving) {
        link_drop(link);
    }
}

/* ---- Operators ---- */

static void operator_free(struct operator_entry *op)
{
    list_del(&op->link);
    free(op->name);
    free(op->pins);
    free(op);
}

static struct operator_entry *operator_get(struct gateways *g, const char *name)
{
    LIST_FOREACH(it, &g->operators)
        if (strcmp(operator_at(it)->name, name) == 0)
            return operator_at(it);
    struct operator_entry *op = mem_zero(sizeof(*op));
    op->name = mem_strdup(name);
    list_init(&op->links);
    list_push(&g->operators, &op->link);
    return op;
}

static void set_pins(struct operator_entry *op, const struct config_strings *pins)
{
    uint8_t(*fresh)[SHA256_LEN] = mem_zero((pins->count + 1) * SHA256_LEN);
    size_t count = 0;

    for (size_t i = 0; i < pins->count; i++)
        if (hex_decode(fresh[count], SHA256_LEN, span_str(pins->items[i])) == 0)
            count++;
    free(op->pins);
    op->pins = fresh;
    op->pin_count = count;
}

/* A tunnel whose pin was taken from the list does not stay. */
static void check_pins(struct operator_entry *op)
{
    LIST_FOREACH(it, &op->links) {
        struct link *link = link_at(it);
        uint8_t pin[TLS_SPKI_LEN];
        bool known = false;
        if (!link->tunnel || !tunnel_is_open(link->tunnel))
            continue;
        tunnel_pin(link->tunnel, pin);
        for (size_t i = 0; i < op->pin_count; i++)
            known = known || memcmp(pin, op->pins[i], SHA256_LEN) == 0;
        if (!known)
            tunnel_close(link->tunnel);
    }
}

static void operator_update(struct gateways *g, const struct worker_operator *wanted)
{
    struct operator_entry *op = operator_get(g, wanted->name);

    op->removed = false;
    set_pins(op, &wanted->pins);
    check_pins(op);
    LIST_FOREACH(it, &op->links)
        link_at(it)->configured = false;
    for (size_t i = 0; i < wanted->gateways.count; i++) {
        struct link *link = link_get(g->worker, op, wanted->gateways.items[i]);
        if (link)
            link->configured = true;
    }
    LIST_FOREACH_SAFE(it, &op->links)
        if (!link_at(it)->configured && !link_at(it)->learnt)
            link_remove(link_at(it));
}

void gateways_update(struct gateways *g, const struct worker_config *c)
{
    const struct worker_operator *wanted = c->operators.items;

    LIST_FOREACH(it, &g->operators)
        operator_at(it)->removed = true;
    for (size_t i = 0; i < c->operators.count; i++)
        operator_update(g, &wanted[i]);
    LIST_FOREACH_SAFE(it, &g->operators) {
        struct operator_entry *op = operator_at(it);
        if (!op->removed)
            continue;
        LIST_FOREACH_SAFE(at, &op->links)
            link_remove(link_at(at));
        if (list_empty(&op->links))
            operator_free(op);
    }
}

/* ---- Learnt addresses ---- */

int gateways_read(struct span json, struct arena *arena, struct config_strings *out, bool *again)
{
    AUTO_JSON json_t *doc = NULL;

    *again = false;
    TRY(json_read(json, &doc));
    if (json_obj_bool(doc, "again", again) == E_INVALID)
        return E_INVALID;
    const json_t *list = json_object_get(doc, "gateways");
    if (!json_is_array(list))
        return E_INVALID;
    *out = (struct config_strings){
        .items = arena_zero(arena, OPERATOR_MAX_LEARNT * sizeof(*out->items))};
    for (size_t i = 0; i < json_array_size(list) && out->count < OPERATOR_MAX_LEARNT; i++) {
        const json_t *item = json_array_get(list, i);
        const struct span text = span_of(json_string_value(item), json_string_length(item));
        if (!json_is_string(item) || !span_visible(text, LINK_ADDRESS_MAX - 1))
            continue;
        const char *address = arena_strdup(arena, text);
        if (!setting_host_port(address))
            out->items[out->count++] = address;
    }
    return 0;
}

static size_t count_links(const struct operator_entry *op)
{
    size_t count = 0;

    LIST_FOREACH(it, &op->links)
        count++;
    return count;
}

void gateways_learn(struct link *from, const struct config_strings *addresses)
{
    struct operator_entry *op = from->owner;

    told_clear(from);
    for (size_t i = 0; i < addresses->count; i++) {
        const struct span address = span_str(addresses->items[i]);
        struct link *link = link_find(op, address);
        if (!link && count_links(op) < OPERATOR_MAX_LEARNT)
            link = link_get(from->worker, op, addresses->items[i]);
        if (!link)
            continue;
        link->learnt = true;
        (void)map_put(&from->told, address, link); /* any value: the name is what counts */
    }
}

void gateways_again(struct link *link)
{
    struct link *next;

    if (link->replaced || link->removed || count_links(link->owner) >= OPERATOR_MAX_LINKS)
        return;
    link->replaced = true;
    next = link_get(link->worker, link->owner, link->address);
    if (!next)
        return;
    next->configured = link->configured;
    next->learnt = true;
    log_event(LOG_INFO, "gateway_replaced", "operator=%s gateway=%s", link->owner->name,
              link->address);
}

/* ---- All of them ---- */

int gateways_new(struct gateways **out, struct worker *w)
{
    struct gateways *g = mem_zero(sizeof(*g));

    g->worker = w;
    list_init(&g->operators);
    gateways_update(g, worker_config(w));
    *out = g;
    return 0;
}

void gateways_each(const struct gateways *g, gateways_each_fn *fn, void *arg)
{
    LIST_FOREACH(it, &g->operators)
        LIST_FOREACH(at, &operator_at(it)->links)
            fn(arg, link_at(at));
}

static void goaway_one(void *arg, const struct link *link)
{
    (void)arg;
    if (link->tunnel)
        tunnel_goaway(link->tunnel);
}

void gateways_goaway(struct gateways *g)
{
    gateways_each(g, goaway_one, NULL);
}

void gateways_close(struct gateways *g)
{
    LIST_FOREACH(it, &g->operators) {
        LIST_FOREACH_SAFE(at, &operator_at(it)->links) {
            struct link *link = link_at(at);
            link->removed = true;
            loop_timer_cancel(g->worker->loop, &link->timer);
            if (link->tunnel)
                tunnel_close(link->tunnel);
            else if (!link->resolving)
                link_drop(link);
        }
    }
}

static void count_streams(void *arg, const struct link *link)
{
    size_t *total = arg;

    if (link->tunnel)
        *total += tunnel_streams(link->tunnel);
}

size_t gateways_streams(const struct gateways *g)
{
    size_t total = 0;

    gateways_each(g, count_streams, &total);
    return total;
}

void gateways_free(struct gateways *g)
{
    if (!g)
        return;
    LIST_FOREACH_SAFE(it, &g->operators)
        operator_free(operator_at(it));
    free(g);
}
