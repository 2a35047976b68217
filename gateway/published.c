/* The keys that all instances sign bills with, as they name them in Redis, and the hashes of the
 * price books: the same bytes at each gateway that has read the same. What the operator's key signs
 * names no key that it has not vouched for. A request waits for none of it: what was read last is
 * shown. */
#include "gateway/published.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/encode.h"
#include "config/check.h"
#include "crypto/detached.h"
#include "crypto/jws.h"
#include "gateway/money.h"
#include "gateway/reply.h"

enum { EVERY_MS = 10000, KEYS_MAX = 256, BOOKS_MAX = 16 };

struct bill_key {
    char kid[JWS_KID_LEN + 1], hex[2 * ED25519_KEY_LEN + 1];
    char instance[LAYOUT_NAME_MAX + 1]; /* "": not known */
    uint64_t since_s;                   /* 0: not known */
};

struct book {
    int64_t version; /* 0: none */
    uint8_t sha256[SHA256_LEN];
};

/* What a text in Redis was found to be: it is verified again only where it has changed, whoever
 * writes there. */
struct vouched {
    uint8_t sha256[SHA256_LEN]; /* of the text */
    struct bill_key key;        /* that it vouches for; kid "": none */
};

struct published {
    struct money *money;
    struct loop_timer timer;
    struct bill_key keys[KEYS_MAX], read[KEYS_MAX]; /* shown; being read */
    size_t key_count, read_count;
    struct vouched vouched[KEYS_MAX], found[KEYS_MAX]; /* last time; being read */
    size_t vouched_count;
    struct book books[BOOKS_MAX]; /* by version modulo BOOKS_MAX */
    int64_t asked;                /* version of the book asked for */
    bool reading, stopped;
    struct buf document, signature; /* as shown last */
};

/* ---- Reading ---- */

static int by_kid(const void *a, const void *b)
{
    return strcmp(((const struct bill_key *)a)->kid, ((const struct bill_key *)b)->kid);
}

/* The name follows from the key: what Redis calls it must be the same. */
static int key_read(struct bill_key *k, struct span kid, struct span hex)
{
    uint8_t public[ED25519_KEY_LEN];

    *k = (struct bill_key){0};
    TRY(hex_decode(public, sizeof(public), hex));
    jws_kid(k->kid, public);
    hex_encode(k->hex, SPAN_OF(public));
    return span_is(kid, k->kid) ? 0 : E_INVALID;
}

/* "<seconds> <instance>" */
static void since_read(struct bill_key *k, struct span text)
{
    char instance[LAYOUT_NAME_MAX + 1];
    uint64_t since;

    if (span_u64(span_split(&text, ' '), INT64_MAX, &since) < 0 ||
        span_cstr(text, instance, sizeof(instance)) < 0 || setting_label(instance))
        return;
    k->since_s = since;
    memcpy(k->instance, instance, sizeof(instance));
}

static void key_of_claim(struct bill_key *k, const struct bill_claim *c)
{
    *k = (struct bill_key){.since_s = c->since_s};
    jws_kid(k->kid, c->key);
    hex_encode(k->hex, SPAN_OF(c->key));
    memcpy(k->instance, c->instance, sizeof(k->instance));
}

/* This instance's own is among them before Redis has it, and where there are too many. */
static void own_add(struct published *p)
{
    const struct money *m = p->money;
    struct bill_key own;

    if (!m->journal)
        return;
    key_of_claim(&own, &m->claim);
    for (size_t i = 0; i < p->key_count; i++)
        if (strcmp(p->keys[i].kid, own.kid) == 0)
            return;
    p->key_count -= p->key_count == KEYS_MAX;
    p->keys[p->key_count++] = own;
    qsort(p->keys, p->key_count, sizeof(*p->keys), by_kid);
}

/* What was read is what is shown from now on. */
static void read_show(struct published *p)
{
    qsort(p->read, p->read_count, sizeof(*p->read), by_kid);
    memcpy(p->keys, p->read, p->read_count * sizeof(*p->keys));
    p->key_count = p->read_count;
    own_add(p);
}

/* Names and values, by turns: the names that are looked at. */
static size_t entry_count(const struct redisReply *reply)
{
    const size_t count = redis_reply_count(reply) / 2;

    return count < KEYS_MAX ? count : KEYS_MAX;
}

static struct span entry_name(const struct redisReply *reply, size_t i)
{
    return redis_reply_text(redis_reply_at(reply, 2 * i));
}

static struct span entry_value(const struct redisReply *reply, size_t i)
{
    return redis_reply_text(redis_reply_at(reply, 2 * i + 1));
}

static void claim_verify(const struct published *p, struct span text, struct bill_key *k)
{
    uint8_t operator_key[ED25519_KEY_LEN];
    const struct span by = SPAN_OF(operator_key);
    struct bill_claim claim;

    ed25519_public(p->money->operator_key, operator_key);
    *k = (struct bill_key){0};
    if (bill_claim_read(&claim, text, &by, 1) == 0)
        key_of_claim(k, &claim);
}

/* Verified where it did not stand there last time. */
static void claim_read(const struct published *p, struct span text, struct vouched *v)
{
    sha256(v->sha256, text);
    for (size_t i = 0; i < p->vouched_count; i++) {
        if (memcmp(v->sha256, p->vouched[i].sha256, SHA256_LEN) == 0) {
            v->key = p->vouched[i].key;
            return;
        }
    }
    claim_verify(p, text, &v->key);
}

/* [cursor, entries]: as many as are looked at, so that a hash of millions is no answer of
 * gigabytes. */
static void on_vouched(void *arg, int error, const struct redisReply *reply)
{
    struct published *p = arg;
    size_t found = 0;

    p->reading = false;
    if (error < 0 || redis_reply_count(reply) != 2)
        return;
    const struct redisReply *entries = redis_reply_at(reply, 1);
    const size_t count = entry_count(entries);
    p->read_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (entry_value(entries, i).len > BILL_CLAIM_MAX)
            continue;
        struct vouched *v = &p->found[found++];
        claim_read(p, entry_value(entries, i), v);
        if (v->key.kid[0] && span_is(entry_name(entries, i), v->key.kid))
            p->read[p->read_count++] = v->key;
    }
    memcpy(p->vouched, p->found, found * sizeof(*p->found));
    p->vouched_count = found;
    read_show(p);
}

static void on_since(void *arg, int error, const struct redisReply *reply)
{
    struct published *p = arg;
    const size_t count = error == 0 ? entry_count(reply) : 0;

    p->reading = false;
    if (error < 0)
        return;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < p->read_count; k++)
            if (span_is(entry_name(reply, i), p->read[k].kid))
                since_read(&p->read[k], entry_value(reply, i));
    read_show(p);
}

static void on_keys(void *arg, int error, const struct redisReply *reply)
{
    static const struct span argv[] = {SPAN("HGETALL"), SPAN(LAYOUT_SINCE)};
    struct published *p = arg;
    const size_t count = error == 0 ? entry_count(reply) : 0;

    p->read_count = 0;
    for (size_t i = 0; i < count; i++)
        p->read_count +=
            key_read(&p->read[p->read_count], entry_name(reply, i), entry_value(reply, i)) == 0;
    if (error < 0 || p->stopped ||
        redis_command(p->money->gateway->redis, argv[1], argv, 2, on_since, p) < 0)
        p->reading = false; /* what was read before stays */
}

/* From the oldest that is shown to the one in force; each is asked for until it is here. */
static void books_read(struct published *p, int64_t version);

static void on_book(void *arg, struct price_book *b)
{
    struct published *p = arg;
    const int64_t version = p->asked;

    p->asked = 0;
    if (b && b->version == version) {
        struct book *to = &p->books[version % BOOKS_MAX];
        to->version = version;
        memcpy(to->sha256, b->sha256, SHA256_LEN);
    }
    books_read(p, version + 1);
}

static void books_read(struct published *p, int64_t version)
{
    const struct price_book *now = prices_current(p->money->prices);

    if (now && version + BOOKS_MAX <= now->version)
        version = now->version - BOOKS_MAX + 1;
    while (now && version < now->version && p->books[version % BOOKS_MAX].version == version)
        version++;
    if (!now || p->stopped || p->asked || version >= now->version)
        return;
    p->asked = version;
    prices_get(p->money->prices, version, on_book, p);
}

static void read_all(struct published *p)
{
    static const struct span all[] = {SPAN("HGETALL"), SPAN(LAYOUT_KEYS)};
    static const struct span vouched[] = {SPAN("HSCAN"), SPAN(LAYOUT_VOUCHED), SPAN("0"),
                                          SPAN("COUNT"), SPAN("256")};
    _Static_assert(KEYS_MAX == 256, "as many as are looked at");
    struct redis *r = p->money->gateway->redis;

    if (!redis_up(r))
        return;
    if (!p->reading)
        p->reading = p->money->operator_key
                         ? redis_command(r, vouched[1], vouched, 5, on_vouched, p) == 0
                         : redis_command(r, all[1], all, 2, on_keys, p) == 0;
    books_read(p, 1);
}

static void read_again(void *arg)
{
    struct published *p = arg;

    read_all(p);
    loop_timer_set(p->money->gateway->loop, &p->timer, EVERY_MS, read_again, p);
}

/* ---- Showing ---- */

static void key_write(struct buf *out, const struct bill_key *k)
{
    buf_printf(out, "{\"kid\":\"%s\",\"ed25519\":\"%s\",\"instance\":", k->kid, k->hex);
    buf_printf(out, k->instance[0] ? "\"%s\"" : "null%s", k->instance);
    if (k->since_s)
        buf_printf(out, ",\"since\":%llu}", (unsigned long long)k->since_s);
    else
        buf_append_str(out, ",\"since\":null}");
}

static void keys_write(const struct published *p, struct buf *out)
{
    for (size_t i = 0; i < p->key_count; i++) {
        buf_append_str(out, i ? "," : "");
        key_write(out, &p->keys[i]);
    }
}

static void book_write(struct buf *out, int64_t version, const uint8_t hash[static SHA256_LEN])
{
    char hex[2 * SHA256_LEN + 1];

    hex_encode(hex, span_of(hash, SHA256_LEN));
    buf_printf(out, "{\"version\":%lld,\"sha256\":\"%s\"}", (long long)version, hex);
}

static void books_write(const struct published *p, struct buf *out)
{
    const struct price_book *now = prices_current(p->money->prices);

    buf_append_str(out, "\"prices\":");
    if (!now) {
        buf_append_str(out, "null,\"price_books\":[]");
        return;
    }
    book_write(out, now->version, now->sha256);
    buf_append_str(out, ",\"price_books\":[");
    book_write(out, now->version, now->sha256);
    for (int64_t v = now->version - 1; v > 0 && v > now->version - BOOKS_MAX; v--) {
        const struct book *b = &p->books[v % BOOKS_MAX];
        if (b->version != v)
            continue;
        buf_byte(out, ',');
        book_write(out, v, b->sha256);
    }
    buf_byte(out, ']');
}

static void sign(struct published *p)
{
    const struct ed25519 *key = p->money->operator_key;

    buf_clear(&p->signature);
    if (key && detached_sign("cgw/operator/v1", buf_span(&p->document), key, &p->signature) < 0)
        buf_clear(&p->signature);
}

/* Signed once for as long as it stays the same. */
static void make(struct published *p)
{
    AUTO(buf_fini) struct buf now = {0};

    books_read(p, 1); /* one that was put in force a moment ago has another behind it */
    buf_append_str(&now, "{\"format\":\"cgw/operator/v1\",\"bill_keys\":[");
    keys_write(p, &now);
    buf_append_str(&now, "],");
    books_write(p, &now);
    buf_byte(&now, '}');
    if (span_eq(buf_span(&now), buf_span(&p->document)))
        return;
    buf_clear(&p->document);
    buf_append(&p->document, buf_span(&now));
    sign(p);
}

void published_serve(struct call *c)
{
    struct published *p = c->gateway->money->published;
    struct buf body = {0};

    make(p);
    buf_append(&body, buf_span(&p->document));
    reply_whole(c, 200, "application/json", &body);
}

void published_signature_serve(struct call *c)
{
    struct published *p = c->gateway->money->published;
    struct buf body = {0};

    make(p);
    if (p->signature.len == 0) {
        api_fault_set(&c->fault, &ERR_NOT_FOUND, NULL, "signature");
        reply_fault(c);
        return;
    }
    buf_append(&body, buf_span(&p->signature));
    reply_whole(c, 200, "text/plain; charset=utf-8", &body);
}

/* ---- Its life ---- */

struct published *published_new(struct money *m)
{
    struct published *p = mem_zero(sizeof(*p));

    p->money = m;
    own_add(p);
    loop_timer_set(m->gateway->loop, &p->timer, 0, read_again, p);
    return p;
}

void published_stop(struct published *p)
{
    if (!p)
        return;
    p->stopped = true;
    loop_timer_cancel(p->money->gateway->loop, &p->timer);
}

void published_free(struct published *p)
{
    if (!p)
        return;
    buf_fini(&p->document);
    buf_fini(&p->signature);
    free(p);
}
