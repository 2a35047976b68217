/* One value in Redis a key: <hash of the body>|<run or done>|<call>. The hash is keyed by the
 * header, of which Redis has a hash only: whoever reads Redis cannot try prompts against it. */
#include "gateway/idempotency.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/encode.h"
#include "crypto/hash.h"
#include "gateway/money.h"
#include "gateway/replay.h"

enum { HEADER_MAX = 255, HASHED_END = IDEMPOTENCY_HASHED_MAX / 2, NUMBER_LEN = 24 };

enum idempotency_state {
    ASKED,
    FIRST, /* the value is ours */
    ENDED, /* another's, whose answer may have been kept */
    REFUSED
};

struct idempotency {
    struct call *call; /* NULL: gone while Redis was asked */
    struct gateway *gateway;
    enum idempotency_state state;
    const struct api_error *refusal;
    char account[LAYOUT_NAME_MAX + 1], name[IDEMPOTENCY_NAME_LEN + 1];
    char body[2 * SHA256_LEN + 1], id[CALL_ID_LEN + 1];
};

static void nothing(void *arg, int error, const struct redisReply *reply)
{
    (void)arg;
    (void)error;
    (void)reply;
}

void idempotency_value(const char *body, const char *state, const char *call, struct buf *out)
{
    buf_printf(out, "%s|%s|%s", body, state, call);
}

static struct idempotency_place place_of(const struct idempotency *i)
{
    return (struct idempotency_place){i->account, i->name, i->body};
}

/* The value of a call that is still in state `from`; to: NULL, it is forgotten. wait_ms: so long
 * its answer is waited for. */
static void move(struct gateway *g, const struct idempotency_place *at, const char *call,
                 const char *from, const char *to, int wait_ms)
{
    AUTO(buf_fini) struct buf ours = {0}, next = {0};
    char value[LAYOUT_KEY_LEN], answer[LAYOUT_KEY_LEN], life[NUMBER_LEN], wait[NUMBER_LEN];

    if (g->money->stopped)
        return; /* it ends by itself */
    (void)snprintf(value, sizeof(value), LAYOUT_IDEMPOTENCY, at->account, at->name);
    (void)snprintf(answer, sizeof(answer), LAYOUT_ANSWER, at->account, at->name);
    (void)snprintf(life, sizeof(life), "%d", IDEMPOTENCY_LIFE_MS);
    (void)snprintf(wait, sizeof(wait), "%d", wait_ms);
    idempotency_value(at->body, from, call, &ours);
    if (to)
        idempotency_value(at->body, to, call, &next);
    const struct span keys[] = {span_str(value), span_str(answer)};
    const struct span args[] = {buf_span(&ours), span_str(buf_cstr(&next)), span_str(life),
                                span_str(wait)};
    if (redis_script_run(g->redis, &g->money->scripts.mark, keys, args, 4, nothing, NULL) < 0)
        log_event(LOG_WARN, "idempotency_unmarked", "call=%s", call);
}

/* What ran is remembered for a day; anything else is forgotten. */
static void let_go(struct idempotency *i, bool ran, bool waits)
{
    const struct idempotency_place at = place_of(i);

    move(i->gateway, &at, i->id, "run", ran ? "done" : NULL,
         ran && waits ? IDEMPOTENCY_WAIT_MS : 0);
    free(i);
}

void idempotency_unkept(struct gateway *g, const struct idempotency_place *at, const char *call)
{
    move(g, at, call, "done", "done", 0);
}

static void be_first(struct idempotency *i)
{
    i->state = FIRST;
    if (i->call && replay_is_on(i->call)) {
        const struct idempotency_place of = place_of(i);
        replay_keep(i->call, &of);
    }
}

static void refuse_again(struct idempotency *i, const struct api_error *e)
{
    i->state = REFUSED;
    i->refusal = e;
}

/* What stands there is another's. */
static void be_again(struct idempotency *i, struct span value)
{
    const struct span body = span_split(&value, '|'), state = span_split(&value, '|');

    if (!span_is(body, i->body)) {
        refuse_again(i, &ERR_IDEMPOTENCY_REUSED);
        return;
    }
    if (!span_is(state, "done")) {
        refuse_again(i, &ERR_IDEMPOTENCY_IN_PROGRESS);
        return;
    }
    refuse_again(i, &ERR_IDEMPOTENCY_NO_REPLAY);
    if (i->call && replay_is_on(i->call)) {
        const struct idempotency_place of = place_of(i);
        replay_again(i->call, &of, value);
        i->state = replay_is_again(i->call) ? ENDED : REFUSED;
    }
}

/* SET … NX GET: what stood there before; nothing: ours stands there now. */
static void told(void *arg, int error, const struct redisReply *reply)
{
    struct idempotency *i = arg;

    if (error == 0 && redis_reply_type(reply) == REDIS_NULL)
        be_first(i);
    else if (error == 0 && redis_reply_type(reply) == REDIS_BULK)
        be_again(i, redis_reply_text(reply));
    else
        refuse_again(i, &ERR_SERVICE_UNAVAILABLE);
    if (i->call)
        call_resume(i->call);
    else
        let_go(i, false, false);
}

static void hash_body(struct span header, struct span body, char out[static 2 * SHA256_LEN + 1])
{
    uint8_t hash[SHA256_LEN];
    char len[NUMBER_LEN];
    bool large = body.len > IDEMPOTENCY_HASHED_MAX;

    (void)snprintf(len, sizeof(len), "%zu", body.len);
    const struct span parts[] = {span_str(len), large ? span_cut(body, 0, HASHED_END) : body,
                                 large ? span_from(body, body.len - HASHED_END) : SPAN("")};
    hmac_sha256_parts(hash, header, parts, 3);
    hex_encode(out, SPAN_OF(hash));
}

static struct idempotency *idempotency_new(struct call *c, struct span header)
{
    struct idempotency *i = mem_zero(sizeof(*i));
    uint8_t hash[SHA256_LEN];
    /* Users of one bot share an account, not their keys. */
    const struct span whose[] = {header, c->end_user.len > 0 ? SPAN("\0") : SPAN(""), c->end_user};

    i->call = c;
    i->gateway = c->gateway;
    (void)snprintf(i->account, sizeof(i->account), "%s", c->key->account);
    memcpy(i->id, c->id, sizeof(i->id));
    sha256_parts(hash, whose, 3);
    hex_encode(i->name, span_of(hash, IDEMPOTENCY_NAME_LEN / 2));
    hash_body(header, buf_span(&c->body), i->body);
    return i;
}

static int ask(struct idempotency *i, const struct gateway_config *s)
{
    AUTO(buf_fini) struct buf value = {0};
    char key[LAYOUT_KEY_LEN], life[NUMBER_LEN];

    (void)snprintf(key, sizeof(key), LAYOUT_IDEMPOTENCY, i->account, i->name);
    idempotency_value(i->body, "run", i->id, &value);
    (void)snprintf(life, sizeof(life), "%" PRId64, s->total_ms + s->hold_grace_ms);
    const struct span argv[] = {SPAN("SET"), span_str(key), buf_span(&value), SPAN("NX"),
                                SPAN("GET"), SPAN("PX"),    span_str(life)};
    return redis_command(i->gateway->redis, argv[1], argv, 7, told, i);
}

static enum step_result refuse(struct call *c, const struct api_error *e, const char *arg)
{
    api_fault_set(&c->fault, e, NULL, arg);
    return STEP_FAIL;
}

static enum step_result begin(struct call *c)
{
    struct span header = http_header(c->ex, "idempotency-key");

    if (!header.data || call_is_end_to_end(c)) /* there the client keeps it */
        return STEP_NEXT;
    if (http_header_count(c->ex, "idempotency-key") > 1 || !span_visible(header, HEADER_MAX) ||
        strlen(c->key->account) > LAYOUT_NAME_MAX)
        return refuse(c, &ERR_INVALID_HEADER, "Idempotency-Key");
    struct idempotency *i = idempotency_new(c, header);
    if (ask(i, c->config->values) < 0) {
        free(i);
        return refuse(c, &ERR_SERVICE_UNAVAILABLE, NULL);
    }
    c->idempotency = i;
    return STEP_WAIT;
}

enum step_result idempotency_begin(struct call *c)
{
    const struct idempotency *i = c->idempotency;

    if (!i)
        return begin(c);
    if (i->state == ASKED)
        return STEP_WAIT;
    return i->state == REFUSED ? refuse(c, i->refusal, NULL) : STEP_NEXT;
}

/* Something of the answer went out, or the worker may have made some for a caller who has left or
 * whose own time was over: it is paid for. */
static bool has_run(const struct call *c)
{
    return c->event_sent || (c->answered && c->status == 200) || (c->gone && c->sent_us > 0) ||
           c->timed_out;
}

void idempotency_end(struct call *c, bool waits)
{
    struct idempotency *i = c->idempotency;

    c->idempotency = NULL;
    if (!i)
        return;
    i->call = NULL;
    if (i->state == ENDED || (i->state == REFUSED && i->refusal != &ERR_SERVICE_UNAVAILABLE))
        free(i); /* another call's */
    else if (i->state != ASKED)
        let_go(i, i->state == FIRST && has_run(c), waits);
}
