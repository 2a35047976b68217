/* Keys of Redis: worker:, evidence:, canary: and standing:. */
#include "tools/canary_pool.h"

#include <stdio.h>
#include <stdlib.h>

#include "attest/keyset.h"

#define PROVEN_S "604800"

/* ---- Who is there ---- */

int canary_pool_read(const struct redis_access *at, json_t **registry)
{
    AUTO(pool_store_close) struct pool_store *s = NULL;

    TRY(pool_store_open(&s, at));
    return registry_read(s, registry);
}

struct key_look {
    uint8_t *kfp;
    bool found;
};

/* The first key is the one that gateways give out. */
static void on_keyset(void *arg, const struct redisReply *reply)
{
    AUTO(keyset_fini) struct keyset ks = {0};
    struct key_look *look = arg;
    struct key_config key;

    if (redis_reply_type(reply) != REDIS_BULK || keyset_parse(&ks, redis_reply_text(reply)) < 0 ||
        key_config_parse(&key, ks.hpke[0]) < 0)
        return;
    memcpy(look->kfp, key.kfp, KFP_LEN);
    look->found = true;
}

int canary_pool_key(const struct redis_access *at, const char *iid, uint8_t kfp[static KFP_LEN])
{
    AUTO(pool_store_close) struct pool_store *s = NULL;
    AUTO_JSON json_t *worker = NULL;
    struct key_look look = {.kfp = kfp};
    char key[sizeof("evidence:") + 2 * SHA256_LEN];

    TRY(pool_store_open(&s, at));
    TRY(registry_worker(s, iid, &worker));
    snprintf(key, sizeof(key), "evidence:%.64s", shown_text(worker, "keyset"));
    pool_store_send(s, (struct span[]){SPAN("GET"), span_str(key)}, 2, on_keyset, &look);
    TRY(pool_store_settle(s, 0));
    return look.found ? 0 : E_NOT_FOUND;
}

/* ---- What was proven ---- */

enum { PROOF_KEY_LEN = sizeof("canary:") + CANARY_TAG_LEN };

static const char *proof_key(char out[static PROOF_KEY_LEN], const char *tag)
{
    snprintf(out, PROOF_KEY_LEN, "canary:%s", tag);
    return out;
}

static void send_proof(struct pool_store *s, const char *tag)
{
    char key[PROOF_KEY_LEN];
    const struct span argv[] = {SPAN("SET"), span_str(proof_key(key, tag)), SPAN("1"), SPAN("EX"),
                                SPAN(PROVEN_S)};

    pool_store_send(s, argv, COUNT(argv), NULL, NULL);
}

int canary_pool_prove(const struct redis_access *at, const char *tag)
{
    AUTO(pool_store_close) struct pool_store *s = NULL;

    TRY(pool_store_open(&s, at));
    send_proof(s, tag);
    return pool_store_settle(s, 0);
}

static void on_proof(void *arg, const struct redisReply *reply)
{
    ((struct canary_row *)arg)->proven = redis_reply_type(reply) == REDIS_BULK;
}

static int ask_proofs(struct pool_store *s, struct canary_row *rows, size_t count)
{
    char key[PROOF_KEY_LEN];

    for (size_t i = 0; i < count; i++)
        if (rows[i].judged && rows[i].finding == CANARY_RIGHT)
            send_proof(s, rows[i].tag);
    TRY(pool_store_settle(s, 0));
    for (size_t i = 0; i < count; i++)
        if (rows[i].judged)
            pool_store_send(s, (struct span[]){SPAN("GET"), span_str(proof_key(key, rows[i].tag))},
                            2, on_proof, &rows[i]);
    return pool_store_settle(s, 0);
}

/* ---- Marks ---- */

static void send_mark(struct pool_store *s, const struct canary_row *r)
{
    char key[sizeof("standing:") + CANARY_WID_LEN];
    const struct span field = r->mark == MARK_GOOD ? SPAN("canary_good") : SPAN("canary_bad");

    if (r->mark != MARK_GOOD && r->mark != MARK_BAD)
        return;
    snprintf(key, sizeof(key), "standing:%s", r->wid);
    pool_store_send(s, (struct span[]){SPAN("HINCRBY"), span_str(key), field, SPAN("1")}, 4, NULL,
                    NULL);
}

int canary_pool_mark(const struct redis_access *at, struct canary_row *rows, size_t count,
                     bool whole)
{
    AUTO(pool_store_close) struct pool_store *s = NULL;

    TRY(pool_store_open(&s, at));
    TRY(ask_proofs(s, rows, count));
    canary_marks_set(rows, count, whole);
    for (size_t i = 0; i < count; i++)
        send_mark(s, &rows[i]);
    return pool_store_settle(s, 0);
}
