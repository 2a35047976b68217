/* Lists by model, keys by fingerprint, and the searches that wait for them. Whatever arrives makes
 * every waiting search look again; there are few. */
#include "client/core/directory.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/encode.h"
#include "client/core/directory_impl.h"

enum {
    NEXT_DEPTH = 8, /* half of the slots that a gateway guesses where it knows none */
    LIST_MS = 10000,
    AHEAD = 3, /* keys verified at a time for one model */
    MODELS_MAX = 256
};

static uint64_t wall_s(void)
{
    return clock_wall_ms() / 1000;
}

struct verified *verified_ref(struct verified *v)
{
    v->refs++;
    return v;
}

void errands_unref(struct errands *e)
{
    if (e && --e->refs == 0)
        free(e);
}

void verified_unref(struct verified *v)
{
    if (!v || --v->refs > 0)
        return;
    errands_unref(v->errands);
    hpke_public_free(v->public);
    keyset_fini(&v->keyset);
    buf_fini(&v->document);
    buf_fini(&v->collateral);
    free(v);
}

/* ---- Searches ---- */

static void search_end(struct search *s, struct verified *v, const char *served,
                       const struct api_fault *fault)
{
    list_del(&s->link);
    loop_timer_cancel(s->directory->client->loop, &s->timer);
    s->fn(s->arg, v, served, fault);
    free(s);
}

void search_cancel(struct search *s)
{
    list_del(&s->link);
    loop_timer_cancel(s->directory->client->loop, &s->timer);
    free(s);
}

static bool is_tried(const struct directory_ask *ask, const uint8_t kfp[static KFP_LEN])
{
    for (size_t i = 0; i < ask->tried_count; i++)
        if (memcmp(ask->tried[i], kfp, KFP_LEN) == 0)
            return true;
    return false;
}

static bool serves(const struct verified *v, const char *model)
{
    for (size_t i = 0; i < v->keyset.model_count; i++)
        if (span_is(v->keyset.models[i], model))
            return true;
    return false;
}

/* NULL, or why a verified worker is none for this search. */
static const char *unfit(const struct search *s, const struct verified *v)
{
    if (!serves(v, s->model->list.model))
        return "Its attested keyset does not name the model.";
    return attest_require_unmet(&s->ask.require, &v->verdict)
               ? "It does not meet what Cocoon-Require asks for."
               : NULL;
}

struct findings {
    struct verified *wanted; /* the first that ask.next names; a reference */
    struct verified *found;  /* the one that has the fewest of our requests; a reference */
    bool pending;
    unsigned ahead, refused;
    char reason[320]; /* of the last one that was refused */
};

static void note_refusal(struct findings *f, const char *why)
{
    f->refused++;
    snprintf(f->reason, sizeof(f->reason), "%s", why ? why : "refused");
}

static bool has_less(const struct verified *a, const struct verified *b)
{
    return a->errands->in_flight <= b->errands->in_flight;
}

/* The list is as old as may be: of those on it the first with the fewest of our own requests, or a
 * crowd would go to one worker. */
static void consider(const struct search *s, struct verified *v, struct findings *f)
{
    const char *why;

    if (f->found && has_less(f->found, v))
        return;
    why = unfit(s, v);
    if (why) {
        note_refusal(f, why);
        return;
    }
    verified_unref(f->found);
    f->found = verified_ref(v);
}

static void look_at(struct search *s, const uint8_t kfp[static KFP_LEN], struct findings *f)
{
    struct key_entry *k = key_get(s->directory, kfp);

    if (!k || is_tried(&s->ask, kfp))
        return;
    const bool good = k->verified && k->verified->until_s > wall_s();
    if (!good && f->ahead < AHEAD && key_begin(k))
        f->ahead++;
    f->pending = f->pending || k->busy;
    if (!good && !k->busy) {
        note_refusal(f, k->refusal);
        return;
    }
    if (good)
        consider(s, k->verified, f);
}

static void no_worker(const struct search *s, const struct findings *f, struct api_fault *fault)
{
    if (f->refused > 0)
        api_fault_text(fault, &ERR_NO_ATTESTED_WORKER, NULL,
                       "None of the workers that the gateway names for this model could be "
                       "verified, so nothing was sent. The last one: %.200s",
                       f->reason);
    else if (s->ask.tried_count > 0)
        api_fault_text(fault, &ERR_NO_CAPACITY, NULL,
                       "No further verified worker can take a request for this model now.");
    else
        api_fault_set(fault, &ERR_NO_CAPACITY, NULL, NULL);
}

static bool list_good(const struct search *s, uint64_t now)
{
    const struct model_entry *m = s->model;

    return m->fetched && now - m->fetched_ms < m->list.ttl_s * 1000 &&
           (!s->ask.fresh || m->fetched_ms >= s->begun_ms);
}

static void look_at_next(struct search *s, struct findings *f)
{
    for (size_t i = 0; i < s->ask.next.count && !f->found; i++)
        look_at(s, s->ask.next.kfp[i], f);
    f->wanted = f->found;
    f->found = NULL;
}

static void look_at_listed(struct search *s, const struct worker_list *list, struct findings *f)
{
    look_at_next(s, f);
    for (size_t i = 0; i < list->count; i++)
        look_at(s, list->kfp[i], f);
}

/* A cache is worth a wait, but not any: what many requests have in common, as the words of one
 * application, would send all of them to one worker. */
static struct verified *choose(const struct search *s, const struct findings *f)
{
    if (!f->wanted || !f->found || s->ask.sent_there)
        return f->wanted ? f->wanted : f->found;
    return f->wanted->errands->in_flight > f->found->errands->in_flight + NEXT_DEPTH ? f->found
                                                                                     : f->wanted;
}

static void search_list(struct search *s, const struct worker_list *list)
{
    struct findings f = {.found = NULL};
    struct api_fault fault = {0};

    if (s->ask.bound)
        look_at(s, s->ask.worker, &f);
    else
        look_at_listed(s, list, &f);
    struct verified *chosen = choose(s, &f);
    if (chosen) {
        search_end(s, chosen, list->model, NULL);
    } else if (!f.pending) {
        no_worker(s, &f, &fault);
        search_end(s, NULL, NULL, &fault);
    }
    verified_unref(f.wanted);
    verified_unref(f.found);
}

static void search_look(struct search *s)
{
    struct model_entry *m = s->model;

    if (m->answer.transfer)
        return;
    if (list_good(s, loop_now(s->directory->client->loop))) {
        search_list(s, &m->list);
        return;
    }
    if (!m->failed || m->failed_ms < s->begun_ms)
        list_fetch(m);
    if (!m->answer.transfer)
        search_end(s, NULL, NULL, &m->fault);
}

void searches_look(struct directory *d)
{
    struct list batch, *link;

    list_init(&batch);
    while ((link = list_pop(&d->searches)))
        list_push(&batch, link);
    while ((link = list_pop(&batch))) { /* a callback may start others, which wait for their turn */
        list_push(&d->searches, link);
        search_look(CONTAINER(link, struct search, link));
    }
}

/* A gateway may always name others, and be slow with their documents. */
static void search_late(void *arg)
{
    struct api_fault fault = {0};

    api_fault_text(&fault, &ERR_UPSTREAM_TIMEOUT, NULL,
                   "No worker for this model could be verified in time, so nothing was sent.");
    search_end(arg, NULL, NULL, &fault);
}

static void search_soon(void *arg)
{
    struct search *s = arg;
    const struct client *c = s->directory->client;

    loop_timer_set(c->loop, &s->timer, c->silence_ms, search_late, s);
    search_look(s);
}

struct search *directory_find(struct directory *d, const struct directory_ask *ask,
                              directory_fn *fn, void *arg)
{
    struct search *s = mem_zero(sizeof(*s));

    s->directory = d;
    s->ask = *ask;
    s->model = model_get(d, ask->model);
    s->begun_ms = loop_now(d->client->loop);
    s->fn = fn;
    s->arg = arg;
    list_push(&d->searches, &s->link);
    loop_timer_set(d->client->loop, &s->timer, 0, search_soon, s);
    return s;
}

/* ---- Lists ---- */

static void list_failed(struct model_entry *m)
{
    m->failed = true;
    m->failed_ms = loop_now(m->directory->client->loop);
}

static int list_take(struct model_entry *m)
{
    struct worker_list list;

    if (m->answer.status != 200 || worker_list_read(&list, buf_span(&m->answer.body)) < 0)
        return E_PROTOCOL;
    m->list = list;
    m->fetched = true;
    m->failed = false;
    m->fetched_ms = loop_now(m->directory->client->loop);
    return 0;
}

static void list_refused(struct model_entry *m, int error)
{
    if (error < 0 && error != E_TOO_LARGE)
        client_unreachable(&m->fault, error);
    else if (m->answer.status >= 400)
        refusal_read(m->answer.status, buf_span(&m->answer.body), m->name, &m->fault);
    else
        api_fault_text(&m->fault, &ERR_VERIFICATION_FAILED, NULL,
                       "The gateway's list of workers cannot be read.");
    list_failed(m);
}

static void list_done(void *arg, struct http_transfer *t, int error)
{
    struct model_entry *m = arg;

    (void)t;
    if (error < 0 || list_take(m) < 0)
        list_refused(m, error);
    buf_fini(&m->answer.body);
    searches_look(m->directory);
}

void list_fetch(struct model_entry *m)
{
    AUTO(buf_fini) struct buf path = {0};

    buf_append_str(&path, "/v1/confidential/workers?model=");
    percent_encode(&path, span_str(m->name));
    const struct client_ask ask = {.path = buf_cstr(&path), .total_ms = LIST_MS};
    if (client_get(m->directory->client, &ask, &m->answer) == 0)
        return;
    client_unreachable(&m->fault, E_UNAVAILABLE);
    list_failed(m);
}

static bool model_in_use(const struct directory *d, const struct model_entry *m)
{
    LIST_FOREACH(it, &d->searches)
        if (CONTAINER(it, struct search, link)->model == m)
            return true;
    return m->answer.transfer != NULL;
}

static void model_free(struct model_entry *m)
{
    http_whole_cancel(&m->answer);
    free(m);
}

/* Names of models are the caller's words: what nobody waits for goes when there are many. */
static void models_sweep(struct directory *d)
{
    size_t at = 0;
    struct span name;
    void *value;

    while (d->models.len >= MODELS_MAX && map_next(&d->models, &at, &name, &value))
        if (!model_in_use(d, value)) {
            (void)map_del(&d->models, name);
            model_free(value);
        }
}

struct model_entry *model_get(struct directory *d, struct span name)
{
    struct model_entry *m = map_get(&d->models, name);

    if (m)
        return m;
    models_sweep(d);
    m = mem_zero(sizeof(*m));
    m->directory = d;
    m->answer = (struct http_whole){.max = LIST_BYTES_MAX, .done = list_done, .arg = m};
    CHECK(span_cstr(name, m->name, sizeof(m->name)) == 0);
    (void)map_put(&d->models, name, m);
    return m;
}

/* ---- The gateway's wishes ---- */

const struct next_keys *directory_next(const struct directory *d, struct span conversation)
{
    return conversations_find(&d->conversations, conversation);
}

void directory_prefer(struct directory *d, struct span model, struct span conversation,
                      const struct next_keys *next)
{
    struct model_entry *m = map_get(&d->models, model);
    struct worker_list old;
    size_t n = 0;

    if (!m || !m->fetched || next->count == 0)
        return;
    conversations_note(&d->conversations, conversation, next);
    old = m->list;
    for (size_t i = 0; i < next->count + old.count && n < LISTED_MAX; i++) {
        const uint8_t *kfp = i < next->count ? next->kfp[i] : old.kfp[i - next->count];
        size_t j = 0;
        while (j < n && memcmp(m->list.kfp[j], kfp, KFP_LEN) != 0)
            j++;
        if (j == n)
            memcpy(m->list.kfp[n++], kfp, KFP_LEN);
    }
    m->list.count = n;
    for (size_t i = 0; i < n && i < AHEAD; i++) {
        struct key_entry *k = key_get(d, m->list.kfp[i]);
        if (k && !(k->verified && k->verified->until_s > wall_s()))
            (void)key_begin(k);
    }
}

void directory_rejudge(struct directory *d)
{
    keys_rejudge(d);
}

void directory_forget(struct directory *d, const uint8_t kfp[static KFP_LEN])
{
    key_forget(d, kfp);
    size_t at = 0;
    struct span name;
    void *value;

    while (map_next(&d->models, &at, &name, &value)) {
        struct model_entry *m = value;
        m->fetched = false;
    }
}

/* ---- The whole ---- */

struct directory *directory_new(struct client *c)
{
    struct directory *d = mem_zero(sizeof(*d));

    d->client = c;
    list_init(&d->searches);
    conversations_init(&d->conversations);
    return d;
}

void directory_free(struct directory *d)
{
    size_t at = 0;
    struct span name;
    void *value;

    if (!d)
        return;
    CHECK(list_empty(&d->searches));
    while (map_next(&d->models, &at, &name, &value))
        model_free(value);
    map_fini(&d->models);
    keys_free(d);
    conversations_fini(&d->conversations);
    free(d);
}
