/* One object a call: while it runs it collects its answer, or asks Redis for the first one's. That
 * the account has turned it off meanwhile may be known at admission only. The secret of the API key
 * is looked at once; what is kept of it opens this one answer alone. */
#include "gateway/replay.h"

#include <stdio.h>
#include <stdlib.h>

#include "gateway/cost.h"
#include "gateway/kept.h"
#include "gateway/money.h"
#include "gateway/reply.h"

/* In Redis an answer counts for a bit more than its bytes: its keys. All calls together hold as
 * much as so many longest answers. */
enum { OVERHEAD = 512, LONGEST_MAX = 256, NUMBER_LEN = 24 };

enum replay_state {
    COLLECTING,
    TOO_MUCH, /* longer than what is kept: forgotten */
    AGAIN,    /* Redis has not been asked yet */
    ASKED,
    FOUND,
    ABSENT, /* nothing that opens */
    EARLY,  /* the first's is not charged yet */
    AWAY
};

struct replay {
    struct gateway *gateway;
    struct call *call; /* NULL: over */
    enum replay_state state;
    char account[LAYOUT_NAME_MAX + 1], name[IDEMPOTENCY_NAME_LEN + 1], body[2 * SHA256_LEN + 1];
    char of[CALL_ID_LEN + 1]; /* the call whose answer it is */
    const char *path;
    struct buf
        require; /* its Cocoon-Require: who demands more is not given what was made for less */
    uint8_t key[KEPT_KEY_LEN];
    struct buf bytes;
    size_t counted; /* of money.keeping */
    struct kept_answer answer;
};

static const struct gateway_config *settings(const struct call *c)
{
    return c->config->values;
}

static struct kept_place place_of(struct replay *r)
{
    return (struct kept_place){.account = r->account,
                               .name = r->name,
                               .body = r->body,
                               .path = r->path,
                               .require = buf_cstr(&r->require),
                               .call = r->of};
}

static void forget_bytes(struct replay *r)
{
    buf_wipe(&r->bytes);
    r->gateway->money->keeping -= r->counted;
    r->counted = 0;
}

static void replay_free(struct replay *r)
{
    forget_bytes(r);
    crypto_wipe(r->key, sizeof(r->key));
    buf_fini(&r->require);
    free(r);
}

/* Users of bots and services come with a key that the operator's gateways have themselves; a longer
 * body is not known well enough. */
bool replay_is_on(const struct call *c)
{
    return c->key->replay_answers && c->payer_key.len == 0 &&
           c->body_len <= IDEMPOTENCY_HASHED_MAX && settings(c)->replay_bytes > 0;
}

bool replay_may_come(const struct call *c)
{
    return c->key->metered && !call_is_end_to_end(c) &&
           http_header_count(c->ex, "idempotency-key") > 0 && replay_is_on(c);
}

static int make_key(struct replay *r)
{
    AUTO(buf_wipe) struct buf scratch = {0};
    const struct kept_place place = place_of(r);
    struct api_key key;

    TRY(api_key_parse(&key, call_credential(r->call, &scratch)));
    kept_key(r->key, SPAN_OF(key.secret), &place);
    crypto_wipe(&key, sizeof(key));
    return 0;
}

static void replay_new(struct call *c, const struct idempotency_place *of, enum replay_state state,
                       struct span call)
{
    struct replay *r = mem_zero(sizeof(*r));

    r->gateway = c->gateway;
    r->call = c;
    r->state = state;
    r->path = c->route->path;
    buf_append(&r->require, http_header(c->ex, "cocoon-require"));
    if (span_cstr(span_str(of->account), r->account, sizeof(r->account)) < 0 ||
        span_cstr(span_str(of->name), r->name, sizeof(r->name)) < 0 ||
        span_cstr(span_str(of->body), r->body, sizeof(r->body)) < 0 ||
        span_cstr(call, r->of, sizeof(r->of)) < 0 || make_key(r) < 0)
        replay_free(r);
    else
        c->replay = r;
}

// ---- The answer of the first, as it goes out ----------------------------------------------------

void replay_keep(struct call *c, const struct idempotency_place *of)
{
    replay_new(c, of, COLLECTING, span_str(c->id));
}

void replay_take(struct call *c, struct span bytes)
{
    struct replay *r = c->replay;

    if (!r || r->state != COLLECTING)
        return;
    const size_t most = (size_t)settings(c)->replay_bytes;
    size_t *all = &c->gateway->money->keeping;

    if (r->bytes.len + bytes.len > most || *all + bytes.len > LONGEST_MAX * most) {
        r->state = TOO_MUCH;
        forget_bytes(r);
        return;
    }
    buf_append(&r->bytes, bytes);
    r->counted += bytes.len;
    *all += bytes.len;
}

static bool is_stream(const struct call *c)
{
    return c->rq.stream && !c->inner_json;
}

/* Its authenticated end is there, and it is no error: the caller has it, or left before its last
 * bytes. */
static bool is_complete(const struct call *c)
{
    return c->ended && !c->broken && !c->fault.error && (c->answered || c->gone);
}

/* The caller left while the end waited for its cost. */
static void take_rest(struct call *c)
{
    if (c->answered)
        return;
    cost_splice(c);
    replay_take(c, buf_span(is_stream(c) ? &c->held : &c->inner));
}

// ---- Into Redis ---------------------------------------------------------------------------------

/* The answers that have no room any more; whatever stays of them ends by itself. */
static void remove_old(const struct replay *r, const struct redisReply *names)
{
    const size_t count = redis_reply_count(names);
    char(*keys)[LAYOUT_KEY_LEN] = mem_zero((count + 1) * sizeof(*keys));
    struct span *argv = mem_zero((count + 1) * sizeof(*argv));
    char name[IDEMPOTENCY_NAME_LEN + 1];
    size_t argc = 1;

    argv[0] = SPAN("UNLINK");
    for (size_t i = 0; i < count; i++) {
        if (span_cstr(redis_reply_text(redis_reply_at(names, i)), name, sizeof(name)) < 0)
            continue;
        (void)snprintf(keys[i], sizeof(keys[i]), LAYOUT_ANSWER, r->account, name);
        argv[argc++] = span_str(keys[i]);
    }
    if (argc > 1 && redis_command(r->gateway->redis, argv[1], argv, argc, NULL, NULL) < 0)
        log_event(LOG_WARN, "answers_not_removed", "account=%s count=%zu", r->account, argc - 1);
    free(argv);
    free(keys);
}

void replay_drop(struct replay *r)
{
    if (!r)
        return;
    const struct idempotency_place at = {r->account, r->name, r->body};
    idempotency_unkept(r->gateway, &at, r->of);
    replay_free(r);
}

static void not_kept(struct replay *r, const char *why)
{
    log_event(LOG_WARN, "answer_not_kept", "call=%s why=%s", r->of, why);
    replay_drop(r);
}

static void kept(void *arg, int error, const struct redisReply *reply)
{
    struct replay *r = arg;

    if (error < 0)
        not_kept(r, error_name(error));
    else if (redis_reply_type(reply) != REDIS_LIST)
        not_kept(r, redis_reply_type(reply) == REDIS_FAILURE ? "refused" : "other");
    else {
        r->gateway->money->answers_kept++;
        remove_old(r, reply);
        replay_free(r);
    }
}

static int send_sealed(struct replay *r, struct span sealed)
{
    AUTO(buf_fini) struct buf runs = {0}, done = {0};
    char value[LAYOUT_KEY_LEN], answer[LAYOUT_KEY_LEN], line[LAYOUT_KEY_LEN];
    char counts[NUMBER_LEN], share[NUMBER_LEN], life[NUMBER_LEN];

    (void)snprintf(value, sizeof(value), LAYOUT_IDEMPOTENCY, r->account, r->name);
    (void)snprintf(answer, sizeof(answer), LAYOUT_ANSWER, r->account, r->name);
    (void)snprintf(line, sizeof(line), LAYOUT_ANSWERS, r->account);
    idempotency_value(r->body, "run", r->of, &runs);
    idempotency_value(r->body, "done", r->of, &done);
    (void)snprintf(counts, sizeof(counts), "%zu", sealed.len + OVERHEAD);
    (void)snprintf(share, sizeof(share), "%lld",
                   (long long)gateway_settings(r->gateway)->replay_account_bytes);
    (void)snprintf(life, sizeof(life), "%d", IDEMPOTENCY_LIFE_MS);
    const struct span keys[] = {span_str(value), span_str(answer), span_str(line)};
    const struct span args[] = {buf_span(&runs), buf_span(&done),   sealed,        span_str(counts),
                                span_str(share), span_str(r->name), span_str(life)};
    return redis_script_run(r->gateway->redis, &r->gateway->money->scripts.keep, keys, args, 7,
                            kept, r);
}

/* False: it is not kept, and freed. */
static bool store(struct replay *r)
{
    AUTO(buf_fini) struct buf sealed = {0};
    const struct kept_place place = place_of(r);

    r->answer.bytes = buf_span(&r->bytes);
    int error = kept_seal(r->key, &place, &r->answer, &sealed);
    forget_bytes(r);
    crypto_wipe(r->key, sizeof(r->key));
    if (error == 0)
        error = send_sealed(r, buf_span(&sealed));
    if (error < 0)
        not_kept(r, error_name(error));
    return error == 0;
}

static bool store_charged(struct charge *ch)
{
    struct replay *r = ch->kept;

    ch->kept = NULL;
    r->answer.cost_nano = ch->charged;
    return store(r);
}

void replay_charged(struct charge *ch)
{
    if (ch->kept && ch->cost == COST_SETTLED)
        (void)store_charged(ch);
}

bool replay_end(struct call *c)
{
    struct replay *r = c->replay;

    if (!r)
        return false;
    if (r->state == COLLECTING && is_complete(c))
        take_rest(c);
    c->replay = NULL;
    r->call = NULL;
    if (r->state == ASKED)
        return false; /* freed when Redis has answered */
    if (r->state != COLLECTING || !is_complete(c) || !replay_is_on(c)) {
        replay_free(r);
        return false;
    }
    r->answer.stream = is_stream(c);
    r->answer.attestation = c->attestation;
    c->charge->kept = r;
    return c->charge->cost != COST_SETTLED || store_charged(c->charge);
}

// ---- The same request again ---------------------------------------------------------------------

void replay_again(struct call *c, const struct idempotency_place *of, struct span first)
{
    replay_new(c, of, AGAIN, first);
}

bool replay_is_again(const struct call *c)
{
    return c->replay && c->replay->state >= AGAIN;
}

static bool is_given(const struct call *c)
{
    return c->replay && c->replay->state == FOUND;
}

const char *replay_call(const struct call *c)
{
    return is_given(c) ? c->replay->of : NULL;
}

const char *replay_cost(struct call *c)
{
    return is_given(c) ? arena_printf(&c->arena, "%lld", (long long)c->replay->answer.cost_nano)
                       : NULL;
}

/* As mark.lua writes it. No sealed answer is as short. */
static bool is_early(struct span value)
{
    return span_is(value, "wait");
}

/* What does not open was sealed with another key of the account, or is not what was put there. */
static enum replay_state open_it(struct replay *r, struct span sealed)
{
    const struct kept_place place = place_of(r);

    if (is_early(sealed))
        return EARLY;
    if (kept_open(r->key, &place, sealed, &r->answer, &r->bytes) == 0)
        return FOUND;
    log_event(LOG_INFO, "answer_not_opened", "call=%s of=%s", r->call->id, r->of);
    return ABSENT;
}

static void told(void *arg, int error, const struct redisReply *reply)
{
    struct replay *r = arg;

    if (!r->call) {
        replay_free(r);
        return;
    }
    if (error < 0 || redis_reply_type(reply) == REDIS_FAILURE)
        r->state = AWAY;
    else if (redis_reply_type(reply) == REDIS_BULK)
        r->state = open_it(r, redis_reply_text(reply));
    else
        r->state = ABSENT;
    crypto_wipe(r->key, sizeof(r->key));
    call_resume(r->call);
}

static enum step_result ask(struct call *c, struct replay *r)
{
    char key[LAYOUT_KEY_LEN];

    (void)snprintf(key, sizeof(key), LAYOUT_ANSWER, r->account, r->name);
    const struct span argv[] = {SPAN("GET"), span_str(key)};
    if (redis_command(c->gateway->redis, argv[1], argv, 2, told, r) == 0) {
        r->state = ASKED;
        return STEP_WAIT;
    }
    api_fault_set(&c->fault, &ERR_SERVICE_UNAVAILABLE, NULL, NULL);
    return STEP_FAIL;
}

static enum step_result refuse(struct call *c, const struct api_error *e)
{
    api_fault_set(&c->fault, e, NULL, NULL);
    return STEP_FAIL;
}

/* In the form in which it was given first; a stream leaves at once. */
static enum step_result give(struct call *c, struct replay *r)
{
    recv_forget(c);
    c->attestation = (char)r->answer.attestation;
    c->ended = true;
    c->gateway->money->replays++;
    log_event(LOG_INFO, "replayed", "call=%s of=%s bytes=%zu", c->id, r->of, r->answer.bytes.len);
    buf_append(r->answer.stream ? &c->held : &c->inner, r->answer.bytes);
    forget_bytes(r);
    if (r->answer.stream)
        relay_finish(c);
    else
        reply_whole(c, 200, "application/json", &c->inner);
    return STEP_OVER;
}

enum step_result replay_give(struct call *c)
{
    struct replay *r = c->replay;

    switch (r->state) {
    case AGAIN:
        return replay_is_on(c) ? ask(c, r) : refuse(c, &ERR_IDEMPOTENCY_NO_REPLAY);
    case FOUND:
        return give(c, r);
    case ABSENT:
        return refuse(c, &ERR_IDEMPOTENCY_NO_REPLAY);
    case EARLY:
        return refuse(c, &ERR_IDEMPOTENCY_IN_PROGRESS);
    case AWAY:
        return refuse(c, &ERR_SERVICE_UNAVAILABLE);
    default:
        return STEP_WAIT;
    }
}
