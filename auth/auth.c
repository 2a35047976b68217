/* Checks a credential: cache first, then Redis, one question a key; hears of changes and
 * revocations. */
#include "auth/auth_impl.h"

#include <stdlib.h>

enum {
    RETRY_MS = 250, /* between questions for a key while Redis does not answer */
    PATIENCE_MS = 4 /* that a known key waits for news of itself */
};

// ---- Verdicts -----------------------------------------------------------------------------------

static bool record_holds(const struct key_record *r, const uint8_t secret_sha256[static SHA256_LEN])
{
    const bool same = crypto_equal(SPAN_OF(r->secret_sha256), span_of(secret_sha256, SHA256_LEN));

    return same && key_record_live(r);
}

static enum auth_result refusal(struct auth *a, struct span peer)
{
    return failures_add(&a->failures, peer, loop_now(a->loop)) ? AUTH_SLOW : AUTH_INVALID;
}

static void tell(const struct auth_wait *w, struct key_record *record)
{
    if (record && record_holds(record, w->secret_sha256))
        w->done(w->arg, AUTH_OK, key_record_ref(record));
    else
        w->done(w->arg, refusal(w->auth, span_of(w->peer, w->peer_len)), NULL);
}

// ---- Checks -------------------------------------------------------------------------------------

static int parse_credential(struct span credential, struct auth_wait *w, char *lookup)
{
    struct api_key key;

    TRY(api_key_parse(&key, credential));
    sha256(w->secret_sha256, SPAN_OF(key.secret));
    api_key_lookup(&key, lookup);
    crypto_wipe(&key, sizeof(key));
    return 0;
}

static void keep_peer(struct auth_wait *w, struct span peer)
{
    w->peer_len = peer.len < sizeof(w->peer) ? peer.len : sizeof(w->peer);
    if (w->peer_len > 0)
        memcpy(w->peer, peer.data, w->peer_len);
}

static bool failed_lately(const struct auth *a, const struct auth_entry *e)
{
    return e->failed_ms && loop_now(a->loop) - e->failed_ms < RETRY_MS;
}

// Answers from what is known, or sets the question going. False: w must wait.
static bool answer_now(struct auth *a, struct auth_entry *e, const struct auth_wait *w)
{
    const bool ask = !cache_fresh(a, e) && !(cache_usable(a, e) && failed_lately(a, e));

    if (ask && fetch_start(a, e) == 0)
        return false;
    if (!ask || cache_usable(a, e)) {
        cache_touch(a, e);
        tell(w, e->record);
    } else {
        cache_drop_empty(a, e);
        w->done(w->arg, AUTH_UNAVAILABLE, NULL);
    }
    return true;
}

static void tell_all(struct list *waits, bool known, struct key_record *record);

// Each wait is taken out before it is told, as it may start or cancel others.
static void move_all(struct list *to, struct list *from)
{
    struct list *first;

    list_init(to);
    while ((first = list_pop(from)))
        list_push(to, first);
}

// Nothing may have been missed since it was known: a revocation would have been heard of.
static bool may_go_on(const struct auth *a, const struct auth_entry *e)
{
    return cache_usable(a, e) && e->known_seq >= a->gap_seq;
}

// Redis is late. What is known is good for these; the answer is for those that come.
static void lose_patience(void *arg)
{
    struct auth_entry *e = arg;
    struct list waits;

    if (list_empty(&e->waits))
        return;
    struct auth *a = CONTAINER(e->waits.next, struct auth_wait, link)->auth;
    if (!may_go_on(a, e))
        return;
    struct key_record *record = key_record_ref(e->record);
    move_all(&waits, &e->waits);
    cache_touch(a, e);
    tell_all(&waits, true, record);
    key_record_unref(record);
}

struct auth_wait *auth_check(struct auth *a, struct span credential, struct span peer,
                             auth_done_fn *done, void *arg)
{
    struct auth_wait now = {.auth = a, .done = done, .arg = arg};
    char lookup[2 * KEY_LOOKUP_LEN + 1];

    keep_peer(&now, peer);
    if (parse_credential(credential, &now, lookup) < 0) {
        done(arg, refusal(a, peer), NULL);
        return NULL;
    }
    struct auth_entry *e = cache_need(a, lookup);
    if (answer_now(a, e, &now))
        return NULL;
    struct auth_wait *w = mem_alloc(sizeof(*w));
    *w = now;
    w->link = (struct list){0};
    list_push(&e->waits, &w->link);
    if (may_go_on(a, e) && !loop_timer_is_set(&e->patience))
        loop_timer_set(a->loop, &e->patience, PATIENCE_MS, lose_patience, e);
    return w;
}

void auth_cancel(struct auth_wait *w)
{
    list_del(&w->link);
    free(w);
}

bool auth_still_valid(const struct auth *a, const struct key_record *r)
{
    (void)a;
    while (r->newer)
        r = r->newer;
    return key_record_live(r);
}

// ---- Answers ------------------------------------------------------------------------------------

static void tell_all(struct list *waits, bool known, struct key_record *record)
{
    struct list *first;

    while ((first = list_pop(waits))) {
        struct auth_wait *w = CONTAINER(first, struct auth_wait, link);
        if (known)
            tell(w, record);
        else
            w->done(w->arg, AUTH_UNAVAILABLE, NULL);
        free(w);
    }
}

// A record older than the one we hold comes from a Redis that was set back: no answer at all.
static bool set_back(const struct auth_entry *e, const struct key_record *record)
{
    return record && e->record && record->version < e->record->version;
}

void auth_fetched(struct auth *a, struct auth_entry *e, int error, struct key_record *take,
                  uint64_t seq)
{
    struct list waits;

    if (error == 0 && set_back(e, take)) {
        key_record_unref(take);
        error = E_UNAVAILABLE;
    }
    if (error == 0)
        cache_put(a, e, take, seq);
    else
        e->failed_ms = loop_now(a->loop);
    if (error == 0 && cache_changed(a, e) && fetch_start(a, e) == 0)
        return; /* news came while we asked */
    const bool known = error == 0 ? !cache_changed(a, e) : cache_usable(a, e);
    struct key_record *record = e->record ? key_record_ref(e->record) : NULL;
    move_all(&waits, &e->waits);
    cache_drop_empty(a, e);
    tell_all(&waits, known, record);
    key_record_unref(record);
}

// ---- News ---------------------------------------------------------------------------------------

// Calls that hold the record hear of its end without waiting for the key's next use.
static void refresh_held(struct auth *a, struct auth_entry *e)
{
    if (e->record && e->record->refs > 1 && fetch_start(a, e) < 0)
        e->failed_ms = loop_now(a->loop);
}

static void refresh_all_held(struct auth *a)
{
    LIST_FOREACH(it, &a->known)
        refresh_held(a, CONTAINER(it, struct auth_entry, link));
}

static void on_changed(void *arg, struct span channel, struct span payload)
{
    struct auth *a = arg;

    (void)channel;
    a->seq++;
    if (span_is(payload, "*")) {
        a->all_changed_seq = a->seq;
        refresh_all_held(a);
        return;
    }
    struct auth_entry *e = map_get(&a->entries, payload);
    if (e) {
        e->changed_seq = a->seq;
        refresh_held(a, e);
    }
}

void auth_forget(struct auth *a, struct span credential)
{
    char lookup[2 * KEY_LOOKUP_LEN + 1];
    struct api_key key;

    if (api_key_parse(&key, credential) < 0)
        return;
    api_key_lookup(&key, lookup);
    explicit_bzero(&key, sizeof(key));
    struct auth_entry *e = cache_get(a, lookup);
    if (e)
        e->changed_seq = ++a->seq;
}

// Messages are lost while the subscription is down: what was known before its return is old.
static void watch_subscription(void *arg)
{
    struct auth *a = arg;
    const bool up = redis_subscribed(a->redis);

    if (up && !a->subscribed) {
        a->gap_seq = ++a->seq;
        refresh_all_held(a);
    }
    a->subscribed = up;
}

int auth_new(struct auth **out, struct loop *l, struct redis *redis, const struct auth_options *o)
{
    struct auth *a = mem_zero(sizeof(*a));

    a->loop = l;
    a->redis = redis;
    a->o = *o;
    a->seq = 1;
    list_init(&a->fetches);
    cache_init(a);
    failures_init(&a->failures, o->failures_per_minute);
    const int error = redis_subscribe(redis, "keys:changed", on_changed, a);
    if (error < 0) {
        failures_fini(&a->failures);
        free(a);
        return error;
    }
    a->hook = (struct loop_hook){.step = LOOP_WAKE, .run = watch_subscription, .arg = a};
    loop_hook_add(l, &a->hook);
    *out = a;
    return 0;
}

void auth_free(struct auth *a)
{
    if (!a)
        return;
    loop_hook_del(a->loop, &a->hook);
    fetch_orphan_all(a);
    cache_fini(a);
    markers_fini(&a->markers);
    failures_fini(&a->failures);
    free(a);
}
