/* Workers and what they offer: the index that choices are made from. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/pool/chooser_impl.h"
#include "base/buf.h"

enum {
    MEDIAN_EVERY_MS = 1000,
    HEARD_MS = 100,
    SHARE_MOST = 4,
    GRUDGE_LEN = 160,
    GRUDGES_MAX = 4096
};
/* How far, in doublings, a worker's speed may be from its share of conversations. */
static const double share_slack = 0.75;
/* Where nothing is known yet: tokens a second, and tokens that a request makes. */
static const double speed_unknown = 50.0, output_unknown = 256.0;
/* Of its speed, what a worker gets in its first moment. */
static const double slow_start_least = 0.1;
/* Of a draw's weight, to a token a second. */
static const double weight_unit = 256.0;

const struct chooser_options chooser_defaults = {
    .slow_start_ms = 60000,
    .failed_ms = 60000,
    .affinity_percent = 50,
    .prefill = 8,
    .price_percent = 50,
    .reserve_percent = {[CLASS_INTERNAL] = 2, [CLASS_INTERACTIVE] = 20},
};

struct chooser *chooser_new(const struct chooser_options *o, const struct dice *dice)
{
    struct chooser *c = mem_zero(sizeof(*c));

    c->options = *o;
    c->dice = *dice;
    list_init(&c->workers);
    return c;
}

static void grudges_drop(struct chooser *c, uint64_t by_ms);

void chooser_free(struct chooser *c)
{
    if (!c)
        return;
    CHECK(c->worker_count == 0 && c->models.len == 0);
    map_fini(&c->models);
    grudges_drop(c, 0);
    map_fini(&c->grudges);
    free(c);
}

void chooser_set_options(struct chooser *c, const struct chooser_options *o)
{
    c->options = *o;
}

void chooser_set_gateways(struct chooser *c, size_t count)
{
    c->other_gateways = count > 0 ? (int64_t)count - 1 : 0;
}

const struct chooser_counts *chooser_counts(const struct chooser *c)
{
    return &c->counts;
}

int64_t chooser_work(const struct chooser *c, int64_t input, int64_t output)
{
    const int64_t prefill = c->options.prefill > 0 ? c->options.prefill : 1;

    return 1 + output + input / prefill;
}

/* ---- Models ---- */

static struct chooser_model *model_of(struct chooser *c, struct span name)
{
    struct chooser_model *m = map_get(&c->models, name);

    if (m)
        return m;
    m = mem_zero(sizeof(*m));
    m->chooser = c;
    m->warm = 1;
    m->name = mem_alloc(name.len + 1);
    memcpy(m->name, name.data, name.len);
    m->name[name.len] = 0;
    map_put(&c->models, name, m);
    return m;
}

static void model_free(struct chooser_model *m)
{
    (void)map_del(&m->chooser->models, span_str(m->name));
    index_free(m);
    free(m->name);
    free(m);
}

int64_t model_context(struct chooser_model *m)
{
    if (!m->context_stale)
        return m->context_most;
    m->context_stale = false;
    m->context_most = 0;
    for (size_t i = 0; i < m->count; i++)
        if (m->seats[i]->context > m->context_most)
            m->context_most = m->seats[i]->context;
    return m->context_most;
}

static int by_speed(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double find_median(const struct chooser_model *m)
{
    double *known = mem_alloc(m->count * sizeof(*known));
    size_t count = 0;

    for (size_t i = 0; i < m->count; i++)
        if (m->seats[i]->tokens_per_s > 0)
            known[count++] = m->seats[i]->tokens_per_s;
    qsort(known, count, sizeof(*known), by_speed);
    const double median = count > 0 ? known[count / 2] : 0;
    free(known);
    return median;
}

static double model_median(struct chooser_model *m, uint64_t now_ms)
{
    if (now_ms >= m->median_due_ms) {
        m->median = find_median(m);
        m->median_due_ms = now_ms + MEDIAN_EVERY_MS;
    }
    return m->median;
}

/* ---- Grudges ---- */

/* A worker does not get rid of an open breaker by dialling again. */
static struct span grudge_key(char out[static GRUDGE_LEN], const struct chooser_worker *w,
                              const char *model)
{
    snprintf(out, GRUDGE_LEN, "%016llx/%s", (unsigned long long)w->id, model);
    return span_str(out);
}

/* Those that were over by then; 0: all. */
static void grudges_drop(struct chooser *c, uint64_t by_ms)
{
    struct span key;
    void *value;
    size_t at = 0;

    while (map_next(&c->grudges, &at, &key, &value)) {
        const struct breaker *b = value;
        if (by_ms > 0 && b->until_ms > by_ms)
            continue;
        (void)map_del(&c->grudges, key);
        free(value);
    }
}

static void grudge_keep(const struct chooser_seat *s, const struct chooser_model *m)
{
    struct chooser *c = m->chooser;
    char key[GRUDGE_LEN];
    struct breaker *b;

    if (s->breaker.until_ms == 0)
        return;
    if (c->grudges.len >= GRUDGES_MAX)
        grudges_drop(c, s->breaker.until_ms - BREAKER_MOST_MS / 2);
    if (c->grudges.len >= GRUDGES_MAX)
        return;
    b = mem_zero(sizeof(*b));
    *b = (struct breaker){.openings = s->breaker.openings, .until_ms = s->breaker.until_ms};
    free(map_put(&c->grudges, grudge_key(key, s->worker, m->name), b));
}

static void grudge_bear(struct chooser_seat *s)
{
    char key[GRUDGE_LEN];
    struct breaker *b =
        map_del(&s->model->chooser->grudges, grudge_key(key, s->worker, s->model->name));

    if (b)
        s->breaker = *b;
    free(b);
}

/* ---- Seats ---- */

void seat_unref(struct chooser_seat *s)
{
    if (--s->refs == 0)
        free(s);
}

double seat_speed(const struct chooser_seat *s, uint64_t now_ms)
{
    const struct chooser_options *o = &s->model->chooser->options;
    const uint64_t age = now_ms - s->worker->joined_ms;
    double speed = s->tokens_per_s;

    if (speed <= 0)
        speed = model_median(s->model, now_ms);
    if (speed <= 0)
        speed = speed_unknown;
    if (age >= o->slow_start_ms)
        return speed;
    const double share = (double)age / (double)o->slow_start_ms;
    return speed * (share > slow_start_least ? share : slow_start_least);
}

bool worker_has_room(const struct chooser_worker *w)
{
    return !w->full && (w->max == 0 || w->others + w->in_flight + w->promised < w->max);
}

static bool is_open(const struct chooser_seat *s, uint64_t now_ms)
{
    const struct chooser_worker *w = s->worker;

    return w->ready && w->accepting && worker_has_room(w) && breaker_allows(&s->breaker, now_ms);
}

static uint32_t weight_of(const struct chooser_seat *s, uint64_t now_ms)
{
    const double w = seat_speed(s, now_ms) * weight_unit;

    return w < 1 ? 1 : w > UINT32_MAX / 2 ? UINT32_MAX / 2 : (uint32_t)w;
}

/* Workers that do not say how much they take have no slots to be counted. */
static void seat_count(struct chooser_seat *s, bool counts, bool out)
{
    struct chooser_model *m = s->model;
    const struct chooser_worker *w = s->worker;

    counts = counts && w->max > 0;
    m->slots -= s->slots;
    m->busy -= s->busy;
    m->promised -= s->promised;
    m->unheard -= s->unheard;
    m->out -= s->out ? 1 : 0;
    s->slots = counts ? w->max : 0;
    s->busy = counts ? w->others + w->in_flight : 0;
    s->promised = counts ? w->promised : 0;
    s->unheard = counts ? w->unheard[0] + w->unheard[1] : 0;
    s->out = out;
    m->slots += s->slots;
    m->busy += s->busy;
    m->promised += s->promised;
    m->unheard += s->unheard;
    m->out += s->out ? 1 : 0;
}

/* A power of two, so that gateways agree on it and conversations seldom move for it. */
static void seat_share(struct chooser_seat *s, uint64_t now_ms)
{
    float *share = &s->model->shares[s->at];
    const double median = model_median(s->model, now_ms);

    if (s->tokens_per_s <= 0 || median <= 0)
        return;
    const double exact = log2(s->tokens_per_s / median);
    if (fabs(exact - log2((double)*share)) > share_slack)
        *share = (float)exp2(fmax(-SHARE_MOST, fmin(SHARE_MOST, round(exact))));
}

static int64_t seat_free(const struct chooser_seat *s)
{
    return s->slots - s->busy - s->promised;
}

void seat_refresh(struct chooser_seat *s, uint64_t now_ms)
{
    struct chooser_worker *w = s->worker;

    if (!s->model)
        return;
    const uint32_t *weight = &s->model->weights[s->at];
    const bool had_room = *weight > 0;
    const int64_t had = seat_free(s);
    seat_count(s, w->ready && w->accepting, !w->ready || !breaker_allows(&s->breaker, now_ms));
    index_weigh(s->model, s->at, is_open(s, now_ms) ? weight_of(s, now_ms) : 0);
    seat_share(s, now_ms);
    w->opened = w->opened || (*weight > 0 && (!had_room || seat_free(s) > had));
}

static void seat_retire(struct chooser_seat *s)
{
    struct chooser_model *m = s->model;

    seat_count(s, false, false);
    for (size_t i = 0; i < CLASSES; i++)
        m->running[i] -= s->running[i];
    grudge_keep(s, m);
    index_remove(m, s);
    m->context_stale = true;
    s->model = NULL;
    if (m->count == 0)
        model_free(m);
    seat_unref(s);
}

static struct chooser_seat *seat_new(struct chooser_worker *w, struct span name)
{
    struct chooser_seat *s = mem_zero(sizeof(*s));

    s->worker = w;
    s->refs = 1;
    s->model = model_of(w->chooser, name);
    index_add(s->model, s);
    grudge_bear(s);
    return s;
}

struct chooser_worker *chooser_seat_worker(const struct chooser_seat *s)
{
    return s->worker;
}

void chooser_seat_view(const struct chooser_seat *s, uint64_t now_ms, struct chooser_seat_view *out)
{
    *out = (struct chooser_seat_view){
        .tokens_per_s = s->tokens_per_s,
        .first_token_ms = s->first_token_ms,
        .breaker = breaker_state(&s->breaker, now_ms),
    };
}

void chooser_hint(struct chooser_seat *s, double first_token_ms, double tokens_per_s,
                  uint64_t now_ms)
{
    if (s->tokens_per_s > 0 || !s->model)
        return;
    s->tokens_per_s = tokens_per_s > 0 ? tokens_per_s : 0;
    s->first_token_ms = first_token_ms > 0 ? first_token_ms : 0;
    seat_refresh(s, now_ms);
}

/* ---- Workers ---- */

void chooser_join(struct chooser *c, struct chooser_worker *w, uint64_t now_ms)
{
    w->chooser = c;
    w->joined_ms = now_ms;
    list_push(&c->workers, &w->link);
    c->worker_count++;
}

static struct chooser_seat *seat_in(struct chooser_seat *const *seats, size_t count,
                                    struct span model)
{
    for (size_t i = 0; i < count; i++)
        if (span_is(model, seats[i]->model->name))
            return seats[i];
    return NULL;
}

struct chooser_seat *chooser_seat_of(const struct chooser_worker *w, struct span model)
{
    return seat_in(w->seats, w->seat_count, model);
}

static void seats_drop(struct chooser_seat **seats, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!seats[i]->offered)
            seat_retire(seats[i]);
    free(seats);
}

void chooser_serve(struct chooser_worker *w, const struct chooser_offer *offers, size_t count,
                   uint64_t now_ms)
{
    struct chooser_seat **seats = mem_zero((count + 1) * sizeof(struct chooser_seat *));
    size_t kept = 0;

    for (size_t i = 0; i < w->seat_count; i++)
        w->seats[i]->offered = false;
    for (size_t i = 0; i < count; i++) {
        struct chooser_seat *s = chooser_seat_of(w, offers[i].name);
        s = s ? s : seat_new(w, offers[i].name);
        s->offered = true;
        s->endpoints = offers[i].endpoints;
        s->context = offers[i].context;
        s->model->context_stale = true;
        seats[kept++] = s;
    }
    seats_drop(w->seats, w->seat_count);
    w->seats = seats;
    w->seat_count = kept;
    worker_refresh(w, now_ms);
}

void chooser_leave(struct chooser_worker *w)
{
    if (!w->chooser)
        return;
    for (size_t i = 0; i < w->seat_count; i++)
        w->seats[i]->offered = false;
    seats_drop(w->seats, w->seat_count);
    w->seats = NULL;
    w->seat_count = 0;
    list_del(&w->link);
    w->chooser->worker_count--;
    w->chooser = NULL;
}

void worker_refresh(struct chooser_worker *w, uint64_t now_ms)
{
    const bool room = worker_has_room(w);

    if (!room || !w->had_room)
        w->room_since_ms = now_ms;
    w->had_room = room;
    for (size_t i = 0; i < w->seat_count; i++)
        seat_refresh(w->seats[i], now_ms);
}

bool worker_opened(struct chooser_worker *w)
{
    const bool opened = w->opened;

    w->opened = false;
    return opened;
}

bool chooser_update(struct chooser_worker *w, uint64_t now_ms)
{
    worker_refresh(w, now_ms);
    return worker_opened(w);
}

/* A report that comes at once may have been under way when the last requests were sent, and others'
 * requests with it: only the second one tells. */
void chooser_heard(struct chooser_worker *w, uint64_t now_ms)
{
    if (now_ms - w->heard_ms < HEARD_MS + w->rtt_ms)
        return;
    w->opened = w->opened || (w->unheard[1] > 0 && w->chooser && w->chooser->other_gateways > 0);
    w->unheard[1] = w->unheard[0];
    w->unheard[0] = 0;
    w->reports++;
    w->heard_ms = now_ms;
}

void chooser_forgive(struct chooser_worker *w, uint64_t now_ms)
{
    for (size_t i = 0; i < w->seat_count; i++)
        w->seats[i]->breaker = (struct breaker){0};
    worker_refresh(w, now_ms);
}

/* ---- Views ---- */

bool chooser_model(struct chooser *c, struct span name, uint64_t now_ms,
                   struct chooser_model_view *out)
{
    struct chooser_model *m = map_get(&c->models, name);

    *out = (struct chooser_model_view){.output = output_unknown};
    if (!m)
        return false;
    out->seats = m->count;
    out->open = m->open;
    out->slots = m->slots;
    out->busy = m->busy;
    memcpy(out->running, m->running, sizeof(out->running));
    for (size_t i = 0; i < CLASSES; i++)
        out->reserved[i] = model_reserved(m, (enum service_class)i);
    out->tokens_per_s = model_median(m, now_ms);
    out->output = m->output > 0 ? m->output : output_unknown;
    return true;
}

void chooser_breakers(struct chooser *c, struct span name, uint64_t now_ms,
                      size_t out[static BREAKER_STATES])
{
    const struct chooser_model *m = map_get(&c->models, name);

    memset(out, 0, BREAKER_STATES * sizeof(*out));
    for (size_t i = 0; m && i < m->count; i++)
        out[breaker_state(&m->seats[i]->breaker, now_ms)]++;
}
