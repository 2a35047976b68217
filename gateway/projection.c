/* The registry in Redis: this instance, the workers it has seen, and its first-hand load of each.
 * Lost with Redis, rebuilt in 5 s; an entry that all gateways share by whoever is to write it. */
#include <stdio.h>
#include <stdlib.h>

#include "gateway/projection.h"
#include "backends/pool/standing.h"
#include "base/clock.h"
#include "base/encode.h"
#include "base/list.h"
#include "base/map.h"
#include "base/version.h"
#include "gateway/peers.h"
#include "net/redis_script.h"

enum {
    WRITE_MS = 5000,
    CHANGE_MS = 250,
    LIFE_S = 15,
    WORKER_LIFE_S = 7 * 86400,
    REST_DOUBLINGS = 10,        /* 85 min, far below an entry's life */
    EVIDENCE_LIFE_S = 2 * 86400 /* a record lives for 26 h, its keyset is an hour older at most */
};

struct projection {
    struct loop *loop;
    struct redis *redis;
    struct pool *pool;
    const struct peers *peers;
    struct loop_timer timer;
    char gw_key[160], load_key[160];
    const char *tunnel;
    int64_t capacity;
    bool soon, left, stopped;
    uint64_t whole_ms; /* when everything is written anew */
    struct map rows;   /* iid → struct row */
    struct list sendings;
    struct list findings; /* whose askers wait */
    bool blind;           /* nobody is to wait any more */
    bool lost;            /* Redis has been emptied: evidence is told again */
    bool back;            /* Redis is back, and all is written once it has the evidence */
    unsigned rounds, wholes;
    struct redis_script keep_first;
};

static void nothing(void *arg, int error, const struct redisReply *reply)
{
    (void)arg;
    (void)error; /* written again in 5 s */
    (void)reply;
}

/* What is not taken while Redis is away is written by a later round. */
static void put(struct projection *p, const struct span *argv, size_t argc)
{
    if (redis_command(p->redis, argv[1], argv, argc, nothing, NULL) < 0)
        return;
}

static void set_with_life(struct projection *p, const char *key, struct span value, int life_s)
{
    char life[12];

    snprintf(life, sizeof(life), "%d", life_s);
    put(p, (struct span[]){SPAN("SET"), span_str(key), value, SPAN("EX"), span_str(life)}, 5);
}

enum { EVIDENCE_KEY_LEN = sizeof("evidence:") + 2 * SHA256_LEN };

static const char *evidence_key(char out[static EVIDENCE_KEY_LEN],
                                const uint8_t sha256[static SHA256_LEN])
{
    char hex[2 * SHA256_LEN + 1];

    hex_encode(hex, span_of(sha256, SHA256_LEN));
    snprintf(out, EVIDENCE_KEY_LEN, "evidence:%s", hex);
    return out;
}

/* What was written of a worker last. */
struct row {
    uint64_t entry, load; /* hashes */
    unsigned round;
    uint8_t keyset[SHA256_LEN];        /* that Redis took; zeros: none */
    char document[2 * SHA256_LEN + 1]; /* SHA-256 of the one that it took with it; "": none */
    bool named;                        /* the worker's entry has named that one */
};

/* Evidence, or an entry that names it, which Redis has not answered yet. */
struct sending {
    struct list link;
    struct projection *p; /* NULL: it has gone */
    char iid[IID_LEN + 1];
    uint8_t keyset[SHA256_LEN];
    char document[2 * SHA256_LEN + 1]; /* "": none */
    unsigned outstanding;              /* commands */
    bool refused;
};

static struct sending *sending_new(struct projection *p, const char *iid,
                                   const uint8_t keyset[static SHA256_LEN], const char *document)
{
    struct sending *s = mem_zero(sizeof(*s));

    s->p = p;
    snprintf(s->iid, sizeof(s->iid), "%s", iid);
    memcpy(s->keyset, keyset, SHA256_LEN);
    snprintf(s->document, sizeof(s->document), "%s", document);
    list_push(&p->sendings, &s->link);
    return s;
}

/* Of what has gone meanwhile there is none. */
static struct row *sending_row(const struct sending *s)
{
    return s->p ? map_get(&s->p->rows, span_str(s->iid)) : NULL;
}

static void write_back(struct projection *p);

static void sending_end(struct sending *s)
{
    struct projection *p = s->p;

    if (p)
        list_del(&s->link);
    free(s);
    if (p)
        write_back(p);
}

static struct row *row_of(struct projection *p, const char *iid)
{
    struct row *row = map_get(&p->rows, span_str(iid));

    if (!row) {
        row = mem_zero(sizeof(*row));
        (void)map_put(&p->rows, span_str(iid), row);
    }
    return row;
}

/* ---- Evidence ---- */

/* The entry is written anew: it names the document now, if there is one. */
static void note_evidence(const struct sending *s, struct row *row)
{
    memcpy(row->keyset, s->keyset, SHA256_LEN);
    memcpy(row->document, s->document, sizeof(row->document));
    row->named = false;
    if (!row->document[0])
        return;
    row->entry = 0;
    projection_changed(s->p);
}

/* One answer less to wait for. What Redis did not take is told again by the next proof. */
static void settle(struct sending *s)
{
    struct row *row = sending_row(s);

    if (--s->outstanding > 0)
        return;
    if (row && !s->refused)
        note_evidence(s, row);
    sending_end(s);
}

static void evidence_taken(void *arg, int error, const struct redisReply *reply)
{
    struct sending *s = arg;

    s->refused |= error < 0 || redis_reply_type(reply) != REDIS_STATUS;
    settle(s);
}

static void send_evidence(struct sending *s, const uint8_t sha256[static SHA256_LEN],
                          struct span value)
{
    char key[EVIDENCE_KEY_LEN], life[12];

    snprintf(life, sizeof(life), "%d", EVIDENCE_LIFE_S);
    const struct span argv[] = {SPAN("SET"), span_str(evidence_key(key, sha256)), value, SPAN("EX"),
                                span_str(life)};
    if (redis_command(s->p->redis, argv[1], argv, 5, evidence_taken, s) == 0)
        s->outstanding++;
    else
        s->refused = true;
}

/* Each gateway has a document of its own nonce, and one of a keyset is enough: of many gateways one
 * writes its own, else what Redis holds would grow with their number. */
void projection_evidence(struct projection *p, const struct pool_evidence *e)
{
    const struct row *row = row_of(p, e->iid);
    const bool is_first = peers_rank(p->peers, e->iid) == 0;
    char document[2 * SHA256_LEN + 1] = "";

    if (memcmp(row->keyset, e->keyset_sha256, SHA256_LEN) == 0 && (row->document[0] || !is_first))
        return;
    if (is_first)
        hex_encode(document, span_of(e->document_sha256, SHA256_LEN));
    struct sending *s = sending_new(p, e->iid, e->keyset_sha256, document);
    s->outstanding = 1; /* until all is sent */
    send_evidence(s, e->keyset_sha256, e->keyset);
    if (is_first)
        send_evidence(s, e->document_sha256, e->document);
    settle(s);
}

static void tell_evidence(void *arg, const struct pool_evidence *e)
{
    projection_evidence(arg, e);
}

static void forget_evidence(struct row *row)
{
    memset(row->keyset, 0, sizeof(row->keyset));
    row->document[0] = 0;
    row->named = false;
}

/* Outlives the projection: Redis answers until its own end. */
struct finding {
    struct list link; /* projection.findings */
    pool_kept_fn *fn; /* NULL: told */
    void *arg;
};

static void finding_tell(struct finding *f, struct span bytes)
{
    pool_kept_fn *fn = f->fn;

    list_del(&f->link);
    f->fn = NULL;
    if (fn)
        fn(f->arg, bytes);
}

static void found(void *arg, int error, const struct redisReply *reply)
{
    const bool is_there = error == 0 && redis_reply_type(reply) == REDIS_BULK;

    finding_tell(arg, is_there ? redis_reply_text(reply) : SPAN(""));
    free(arg);
}

int projection_find(struct projection *p, const uint8_t sha256[static SHA256_LEN], pool_kept_fn *fn,
                    void *arg)
{
    char key[EVIDENCE_KEY_LEN];
    const struct span argv[] = {SPAN("GET"), span_str(evidence_key(key, sha256))};

    if (p->blind)
        return E_UNAVAILABLE;
    struct finding *f = mem_zero(sizeof(*f));
    *f = (struct finding){.fn = fn, .arg = arg};
    const int error = redis_command(p->redis, argv[1], argv, 2, found, f);
    if (error < 0)
        free(f);
    else
        list_push(&p->findings, &f->link);
    return error;
}

void projection_find_no_more(struct projection *p)
{
    struct list *link;

    p->blind = true;
    while ((link = list_pop(&p->findings)))
        finding_tell(CONTAINER(link, struct finding, link), SPAN(""));
}

static void models_write(const struct pool_view *v, struct buf *out)
{
    for (size_t i = 0; i < v->model_count; i++) {
        buf_append_str(out, i ? ",\"" : "\"");
        buf_json_escape(out, span_str(v->models[i].name));
        buf_append_str(out, "\"");
    }
}

static void hours_write(const struct pool_view *v, struct buf *out)
{
    buf_append_str(out, v->hours ? "\"hours\":{" : "\"hours\":null");
    for (size_t day = 0; v->hours && day < POOL_DAYS; day++) {
        buf_printf(out, "%s\"%s\":\"", day ? "," : "", pool_days[day]);
        buf_json_escape(out, span_str(v->hours[day]));
        buf_append_str(out, "\"");
    }
    buf_append_str(out, v->hours ? "}" : "");
}

/* Any gateway may have seen it first, and one has written the keyset's document: what the entry
 * says of that stays. 1: there was no entry, or one of this keyset whose document is null. One
 * without that member is an older version's, and tells nothing of it. */
static const char keep_first[] =
    "local old = redis.call('GET', KEYS[1]) or '' "
    "local first = string.match(old, '\"first_seen\":(%d+)}$') or ARGV[2] "
    "local keyset = '\"keyset\":\"' .. ARGV[4] .. '\"' "
    "local named = keyset .. '.*\"document\":\"(%x+)\"' "
    "local is_same = string.find(old, keyset, 1, true) "
    "local tells = old == '' or string.find(old, '\"document\":', 1, true) "
    "local stood = string.match(old, named) "
    "local document = ARGV[5] ~= '' and ARGV[5] or stood "
    "document = document and ',\"document\":\"' .. document .. '\"' "
    "or tells and ',\"document\":null' or '' "
    "local entry = ARGV[1] .. document .. ',\"first_seen\":' .. first .. '}' "
    "redis.call('SET', KEYS[1], entry, 'EX', ARGV[3]) "
    "return (old == '' or (is_same and tells and not stood)) and 1 or 0";

/* An entry that has named the document names none: Redis was emptied, and what others wrote into it
 * since knows of none. */
static void note_entry(const struct sending *s, struct row *row, bool named_none)
{
    if (row->named && named_none) {
        forget_evidence(row);
        s->p->lost = true;
        projection_changed(s->p);
        return;
    }
    row->named = true;
}

static void entry_taken(void *arg, int error, const struct redisReply *reply)
{
    struct sending *s = arg;
    struct row *row = sending_row(s);

    if (error == 0 && redis_reply_type(reply) == REDIS_NUMBER && row && s->document[0] &&
        strcmp(row->document, s->document) == 0)
        note_entry(s, row, redis_reply_number(reply) != 0);
    sending_end(s);
}

/* json lacks its end: the document, the second of the first sight, and the brace. document: "" when
 * this gateway wrote none. */
static void set_worker(struct projection *p, const struct pool_view *v, struct span json,
                       const char *document, uint64_t now_s)
{
    char key[64], now[24], life[12], keyset[2 * SHA256_LEN + 1];

    snprintf(key, sizeof(key), "worker:%s", v->iid);
    snprintf(now, sizeof(now), "%llu", (unsigned long long)now_s);
    snprintf(life, sizeof(life), "%d", WORKER_LIFE_S);
    hex_encode(keyset, SPAN_OF(v->keyset));
    const struct span keys[] = {span_str(key)};
    const struct span args[] = {json, span_str(now), span_str(life), span_str(keyset),
                                span_str(document)};
    struct sending *s = sending_new(p, v->iid, v->keyset, document);
    if (redis_script_run(p->redis, &p->keep_first, keys, args, 5, entry_taken, s) < 0)
        sending_end(s); /* away: the next round writes it */
}

static void machine_write(const struct pool_view *v, struct buf *j)
{
    char ppid[2 * SHA256_LEN + 1];

    hex_encode(ppid, SPAN_OF(v->ppid_sha256));
    if (v->measurement[0])
        buf_printf(j, "\"ppid\":\"%s\",\"measurement\":\"%s\",", ppid, v->measurement);
}

/* Without what is no change: send_worker adds it. */
static void worker_write(const struct pool_view *v, struct buf *j)
{
    char keyset[2 * SHA256_LEN + 1];

    hex_encode(keyset, SPAN_OF(v->keyset));
    buf_append_str(j, "{\"format\":\"cgw/worker-entry/v1\",\"label\":\"");
    buf_json_escape(j, span_str(v->worker_id));
    buf_printf(j,
               "\",\"wid\":\"%s\",\"payout\":\"%s\",\"attestation\":\"%s\",\"keyset\":\"%s\","
               "\"ask\":%lld,\"max\":%lld,",
               v->wid, v->payout, v->attestation, keyset, (long long)v->ask, (long long)v->max);
    machine_write(v, j);
    buf_printf(j, "\"accepting\":%s,\"reason\":\"", v->accepting ? "true" : "false");
    buf_json_escape(j, span_str(v->reason));
    buf_append_str(j, "\",\"models\":[");
    models_write(v, j);
    buf_append_str(j, "],");
    hours_write(v, j);
}

static void send_worker(struct projection *p, const struct pool_view *v, const struct row *row,
                        struct buf *j)
{
    const uint64_t now_s = clock_wall_ms() / 1000;
    const bool is_told = memcmp(row->keyset, v->keyset, SHA256_LEN) == 0;

    buf_printf(j, ",\"valid_until\":%llu,\"last_seen\":%llu", (unsigned long long)v->valid_until_s,
               (unsigned long long)now_s);
    set_worker(p, v, buf_span(j), is_told ? row->document : "", now_s);
}

/* ---- First-hand load ---- */

static uint64_t hash_of(struct span s)
{
    uint64_t h = 0xcbf29ce484222325; /* FNV-1a */

    for (size_t i = 0; i < s.len; i++)
        h = (h ^ s.data[i]) * 0x100000001b3;
    return h;
}

static void load_write(const struct pool_view *v, struct buf *j)
{
    buf_printf(j,
               "{\"format\":\"cgw/load/v1\",\"state\":\"%s\",\"drained\":%s,\"breaker\":\"%s\","
               "\"in_flight\":%lld,\"running\":%lld,\"waiting\":%lld,\"max\":%lld,\"kv\":%.3f,",
               pool_state_name(v->state), v->held_back ? "true" : "false",
               breaker_state_name(v->breaker), (long long)v->in_flight, (long long)v->running,
               (long long)v->waiting, (long long)v->max, v->kv);
    buf_printf(j,
               "\"first_token_ms\":%.1f,\"tokens_per_s\":%.1f,\"failures\":%llu,\"served\":%llu,"
               "\"rtt_ms\":%llu}",
               v->first_token_ms, v->tokens_per_s, (unsigned long long)v->failures,
               (unsigned long long)v->served, (unsigned long long)v->rtt_ms);
}

/* What is written beside that which changed. */
enum extent {
    WRITE_CHANGES,
    WRITE_ROUND, /* all that is this instance's alone, and its part of what is shared */
    WRITE_ALL    /* Redis may have lost it */
};

/* One write of all rows that are due. */
struct round {
    struct projection *p;
    enum extent extent;
    struct buf bytes; /* of the rows of load */
    struct buf ends;  /* size_t behind each name and each value */
};

static void note_part(struct round *r, struct span part)
{
    buf_append(&r->bytes, part);
    buf_append(&r->ends, span_of(&r->bytes.len, sizeof(r->bytes.len)));
}

/* Each round for the worker's first gateway, every second one for the next, and so on. */
static bool is_ones_turn(const struct projection *p, const char *iid)
{
    const size_t rank = peers_rank(p->peers, iid);
    const unsigned rounds = 1u << (rank < REST_DOUBLINGS ? rank : REST_DOUBLINGS);

    return p->wholes % rounds == 0;
}

static bool has_changed(uint64_t *hash, const struct buf *text)
{
    const uint64_t old = *hash;

    *hash = hash_of(buf_span(text));
    return *hash != old;
}

static bool is_entry_due(const struct round *r, const char *iid)
{
    return r->extent == WRITE_ALL || (r->extent == WRITE_ROUND && is_ones_turn(r->p, iid));
}

static void write_one(void *arg, const struct pool_view *v)
{
    struct round *r = arg;
    struct buf entry = {0}, load = {0};

    if (!v->iid[0] || v->state == POOL_GONE)
        return;
    struct row *row = row_of(r->p, v->iid);
    row->round = r->p->rounds;
    load_write(v, &load);
    if (has_changed(&row->load, &load) || r->extent != WRITE_CHANGES) {
        note_part(r, span_str(v->iid));
        note_part(r, buf_span(&load));
    }
    worker_write(v, &entry);
    if (v->state == POOL_READY && (has_changed(&row->entry, &entry) || is_entry_due(r, v->iid)))
        send_worker(r->p, v, row, &entry);
    buf_fini(&entry);
    buf_fini(&load);
}

static void send_rows(const struct round *r)
{
    const size_t count = r->ends.len / sizeof(size_t);
    struct span *argv = mem_zero((count + 2) * sizeof(*argv));
    size_t begin = 0, end;

    argv[0] = SPAN("HSET");
    argv[1] = span_str(r->p->load_key);
    for (size_t i = 0; i < count; i++, begin = end) {
        memcpy(&end, r->ends.data + i * sizeof(end), sizeof(end));
        argv[2 + i] = span_of(r->bytes.data + begin, end - begin);
    }
    if (count > 0)
        put(r->p, argv, count + 2);
    free(argv);
}

static void drop_gone(struct projection *p)
{
    struct span iid;
    void *value;
    size_t at = 0;

    while (map_next(&p->rows, &at, &iid, &value)) {
        const struct row *row = value;
        if (row->round == p->rounds)
            continue;
        put(p, (struct span[]){SPAN("HDEL"), span_str(p->load_key), iid}, 3);
        free(map_del(&p->rows, iid));
    }
}

static void write_workers(struct projection *p, enum extent extent)
{
    struct round r = {.p = p, .extent = extent};

    p->rounds++;
    p->wholes += extent == WRITE_ROUND;
    pool_each(p->pool, write_one, &r);
    send_rows(&r);
    drop_gone(p);
    put(p, (struct span[]){SPAN("EXPIRE"), span_str(p->load_key), SPAN("15")}, 3);
    buf_fini(&r.bytes);
    buf_fini(&r.ends);
}

/* ---- Standing ---- */

static void write_standing(void *arg, struct span wid, const uint64_t add[STANDING_EVENTS])
{
    struct projection *p = arg;
    char key[64], number[24];

    snprintf(key, sizeof(key), "standing:%.*s", SPAN_FMT(wid));
    for (unsigned e = 0; e < STANDING_EVENTS; e++) {
        if (add[e] == 0)
            continue;
        snprintf(number, sizeof(number), "%llu", (unsigned long long)add[e]);
        put(p,
            (struct span[]){SPAN("HINCRBY"), span_str(key), span_str(standing_name(e)),
                            span_str(number)},
            4);
    }
}

/* ---- All of it ---- */

static void write_instance(struct projection *p)
{
    struct buf j = {0};

    buf_printf(&j,
               "{\"format\":\"cgw/gateway-entry/v1\",\"tunnel\":\"%s\",\"version\":\"%s\","
               "\"capacity\":%lld,\"seen\":%llu}",
               p->tunnel, cocoon_version, (long long)p->capacity,
               (unsigned long long)(clock_wall_ms() / 1000));
    set_with_life(p, p->gw_key, buf_span(&j), LIFE_S);
    buf_fini(&j);
}

static void write_now(struct projection *p, enum extent extent)
{
    if (!redis_up(p->redis) || p->stopped)
        return;
    if (!p->left && extent != WRITE_CHANGES)
        write_instance(p);
    if (!p->left && p->lost) {
        p->lost = false;
        pool_each_evidence(p->pool, tell_evidence, p);
    }
    if (!p->left)
        write_workers(p, extent);
    pool_standing_take(p->pool, write_standing, p);
}

static void write_back(struct projection *p)
{
    if (!p->back || !list_empty(&p->sendings))
        return;
    p->back = false;
    write_now(p, WRITE_ALL);
}

/* What the entries name goes first. */
void projection_redis_back(struct projection *p)
{
    struct span iid;
    void *row;
    size_t at = 0;

    while (map_next(&p->rows, &at, &iid, &row))
        forget_evidence(row);
    p->back = true;
    pool_each_evidence(p->pool, tell_evidence, p);
    write_back(p);
}

static void drop(struct projection *p, const char *key)
{
    put(p, (struct span[]){SPAN("DEL"), span_str(key)}, 2); /* else its life ends by itself */
}

static void write_again(void *arg)
{
    struct projection *p = arg;
    const uint64_t now = loop_now(p->loop);
    const bool whole = now >= p->whole_ms;

    p->soon = false;
    write_now(p, whole ? WRITE_ROUND : WRITE_CHANGES);
    if (whole)
        p->whole_ms = now + WRITE_MS;
    loop_timer_set(p->loop, &p->timer, p->whole_ms - now, write_again, p);
}

/* The timer's next turn comes sooner; what changes meanwhile goes with it. */
void projection_changed(struct projection *p)
{
    const uint64_t now = loop_now(p->loop);

    if (p->soon || p->stopped)
        return;
    p->soon = true;
    if (p->whole_ms > now + CHANGE_MS)
        loop_timer_set(p->loop, &p->timer, CHANGE_MS, write_again, p);
}

struct projection *projection_new(struct loop *l, struct redis *r, struct pool *pool,
                                  const struct peers *peers, const char *instance,
                                  const char *tunnel, int64_t capacity)
{
    struct projection *p = mem_zero(sizeof(*p));

    p->loop = l;
    p->redis = r;
    p->pool = pool;
    p->peers = peers;
    p->tunnel = tunnel;
    p->capacity = capacity;
    list_init(&p->sendings);
    list_init(&p->findings);
    redis_script_init(&p->keep_first, "keep_first", keep_first, 1);
    snprintf(p->gw_key, sizeof(p->gw_key), "gw:%s", instance);
    snprintf(p->load_key, sizeof(p->load_key), "load:%s", instance);
    loop_timer_set(l, &p->timer, 0, write_again, p);
    return p;
}

void projection_leave(struct projection *p, bool successor)
{
    if (p->left)
        return;
    p->left = true;
    if (successor)
        return;
    drop(p, p->gw_key);
    drop(p, p->load_key);
}

void projection_stop(struct projection *p)
{
    loop_timer_cancel(p->loop, &p->timer);
    projection_leave(p, false);
    if (redis_up(p->redis))
        pool_standing_take(p->pool, write_standing, p);
    p->stopped = true;
}

void projection_free(struct projection *p)
{
    struct span iid;
    void *value;
    size_t at = 0;

    if (!p)
        return;
    CHECK(list_empty(&p->findings));
    LIST_FOREACH(it, &p->sendings)
        CONTAINER(it, struct sending, link)->p = NULL;
    while (map_next(&p->rows, &at, &iid, &value))
        free(value);
    map_fini(&p->rows);
    free(p);
}
