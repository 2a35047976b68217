/* The parts of money brought up, woken by Redis and epochs, and taken down. */
#include "gateway/money.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/file.h"
#include "base/random.h"
#include "gateway/published.h"

enum {
    SAY_MS = 100,
    NUMBER_LEN = 24,
    SAID_LEN = LAYOUT_KEY_LEN,
    KEY_TEXT_MAX = 256,
    KEY_MODE = 0600
};

/* ---- The key of the bills: beside the journal, made with it ---- */

static int key_make(const char *path)
{
    uint8_t seed[ED25519_KEY_LEN];
    char text[2 * ED25519_KEY_LEN + 1];

    random_bytes(seed, sizeof(seed));
    hex_encode(text, SPAN_OF(seed));
    int error = file_replace(path, span_str(text), KEY_MODE);
    explicit_bzero(seed, sizeof(seed));
    explicit_bzero(text, sizeof(text));
    return error;
}

static int key_load(struct money *m, const char *journal)
{
    AUTO(buf_fini) struct buf path = {0};
    AUTO(buf_wipe) struct buf text = {0};
    uint8_t seed[ED25519_KEY_LEN];
    struct stat file;

    buf_printf(&path, "%s.key", journal);
    if (access(buf_cstr(&path), F_OK) < 0)
        TRY(key_make(buf_cstr(&path)));
    TRY(file_read_secret(buf_cstr(&path), KEY_TEXT_MAX, &text));
    TRY(hex_decode(seed, sizeof(seed), span_trim(buf_span(&text))));
    int error = ed25519_from_seed(&m->key, SPAN_OF(seed));
    explicit_bzero(seed, sizeof(seed));
    TRY(error);
    ed25519_public(m->key, m->claim.key);
    snprintf(m->claim.instance, sizeof(m->claim.instance), "%.*s", LAYOUT_NAME_MAX,
             m->gateway->instance);
    if (stat(buf_cstr(&path), &file) == 0 && file.st_mtime > 0)
        m->claim.since_s = (uint64_t)file.st_mtime;
    return 0;
}

/* "": there is none. */
static int operator_load(struct money *m, const char *path)
{
    AUTO(buf_wipe) struct buf text = {0};
    uint8_t seed[ED25519_KEY_LEN];

    if (!path[0])
        return 0;
    int error = file_read_secret_line(path, KEY_TEXT_MAX, &text);
    if (error == 0)
        error = hex_decode(seed, sizeof(seed), buf_span(&text));
    if (error == 0)
        error = ed25519_from_seed(&m->operator_key, SPAN_OF(seed));
    explicit_bzero(seed, sizeof(seed));
    if (error < 0)
        log_event(LOG_ERROR, "operator_key_refused", "why=%s", error_name(error));
    return error;
}

/* ---- Recovery: this instance has put back all it has (money.md §6) ---- */

static void said(void *arg, int error, const struct redisReply *reply)
{
    struct money *m = arg;

    if (error < 0 || redis_reply_type(reply) != REDIS_NUMBER)
        m->said = 0;
}

/* Holds are in Redis, no settlement is between Redis and the journal, and all bills are sent. */
static bool is_put_back(const struct money *m, int64_t n)
{
    return holds_asserted(m->holds, n) && journal_idle(m->journal) && feed_idle(m->feed);
}

/* Two processes of one instance during an upgrade: the one that drains says it under a name of its
 * own, the other for both, once that one has said it or ended. */
static void name_of(const struct money *m, pid_t process, char out[static SAID_LEN])
{
    if (process > 0)
        snprintf(out, SAID_LEN, "%s+%d", m->gateway->instance, (int)process);
    else
        snprintf(out, SAID_LEN, "%s", m->gateway->instance);
}

static void say(struct money *m, int64_t n)
{
    char name[SAID_LEN], text[NUMBER_LEN];

    name_of(m, m->gateway->succeeded ? getpid() : 0, name);
    snprintf(text, sizeof(text), "%lld", (long long)n);
    const struct span argv[] = {SPAN("HSET"), SPAN(LAYOUT_SAID), span_str(name), span_str(text)};
    if (redis_command(m->gateway->redis, argv[1], argv, 4, said, m) == 0)
        m->said = n;
}

static void predecessor_said(void *arg, int error, const struct redisReply *reply)
{
    struct money *m = arg;
    int64_t n = 0;

    if (error == 0 && nano_parse(redis_reply_text(reply), &n) == 0 && n > m->said &&
        n == epoch_number(m->epoch) && epoch_state(m->epoch) == EPOCH_RECOVERING &&
        is_put_back(m, n))
        say(m, n);
}

static void ask_predecessor(struct money *m)
{
    char name[SAID_LEN];

    name_of(m, m->gateway->predecessor, name);
    const struct span argv[] = {SPAN("HGET"), SPAN(LAYOUT_SAID), span_str(name)};
    if (redis_command(m->gateway->redis, argv[1], argv, 3, predecessor_said, m) < 0)
        return; /* asked again soon */
}

static void say_when_done(void *arg)
{
    struct money *m = arg;
    int64_t n = epoch_number(m->epoch);

    if (epoch_state(m->epoch) != EPOCH_RECOVERING || !m->feed)
        return;
    loop_timer_set(m->gateway->loop, &m->say, SAY_MS, say_when_done, m);
    if (m->said == n)
        return;
    holds_wake(m->holds);
    if (!is_put_back(m, n))
        return;
    if (upgrade_predecessor_lives(m->gateway))
        ask_predecessor(m);
    else
        say(m, n);
}

static void epoch_changed(void *arg)
{
    struct money *m = arg;

    if (epoch_state(m->epoch) == EPOCH_RECOVERING && m->feed)
        feed_again(m->feed);
    holds_wake(m->holds);
    say_when_done(m);
}

void money_connected(struct money *m, bool up)
{
    epoch_connected(m->epoch);
    if (!up)
        return;
    prices_read(m->prices);
    if (m->feed)
        feed_wake(m->feed);
}

/* ---- Life ---- */

static int open_journal(struct money *m, const char *path)
{
    AUTO(buf_fini) struct buf why = {0};
    struct gateway *g = m->gateway;

    if (path[0] == 0)
        return 0;
    TRY(key_load(m, path));
    int error = journal_open(&m->journal, g->loop, g->offload, path, g->instance, m->key, &why);
    if (error < 0) {
        log_event(LOG_ERROR, "journal_refused", "why=\"%s\"", buf_cstr(&why));
        return error;
    }
    m->feed = feed_new(g->loop, g->redis, m->journal, &m->claim, m->operator_key);
    return 0;
}

int money_start(struct gateway *g)
{
    struct money *m = mem_zero(sizeof(*m));

    g->money = m;
    m->gateway = g;
    list_init(&m->settlements);
    billing_scripts_init(&m->scripts);
    m->epoch = epoch_new(g->loop, g->redis, epoch_changed, m);
    m->prices = prices_new(g->loop, g->redis);
    m->holds = holds_new(g->loop, g->redis, m->epoch, &m->scripts, g->instance);
    m->sweep = sweep_new(g->loop, g->redis, m->epoch, &m->scripts, g->instance);
    m->strays = strays_new(m);
    TRY(operator_load(m, gateway_settings(g)->operator_key_file));
    TRY(open_journal(m, gateway_settings(g)->journal));
    m->published = published_new(m);
    return 0;
}

bool money_knows(const struct money *m, const char *call)
{
    LIST_FOREACH(it, &m->settlements)
        if (settlement_is_of(it, call))
            return true;
    return holds_has(m->holds, span_str(call));
}

bool money_idle(const struct money *m)
{
    return m->settling == 0 && holds_idle(m->holds);
}

void money_leave(struct money *m)
{
    if (!m)
        return;
    m->left = true;
    strays_stop(m->strays);
    LIST_FOREACH(it, &m->settlements)
        settlement_leave(it);
}

void money_stop(struct money *m)
{
    if (!m)
        return;
    m->stopped = true;
    loop_timer_cancel(m->gateway->loop, &m->say);
    holds_stop(m->holds);
    sweep_stop(m->sweep);
    prices_stop(m->prices);
    published_stop(m->published);
    epoch_stop(m->epoch);
    if (m->feed)
        feed_stop(m->feed);
}

void money_free(struct money *m)
{
    if (!m)
        return;
    feed_free(m->feed);
    journal_free(m->journal);
    holds_free(m->holds);
    for (struct list *it; !list_empty(&m->settlements);) {
        it = m->settlements.next;
        settlement_free(it);
    }
    strays_free(m->strays);
    sweep_free(m->sweep);
    published_free(m->published);
    prices_free(m->prices);
    epoch_free(m->epoch);
    ed25519_free(m->key);
    ed25519_free(m->operator_key);
    free(m);
}

void money_metrics_write(const struct money *m, struct buf *out)
{
    const struct price_book *b = prices_current(m->prices);

    gauge_write("cocoon_money_open", "1 while metered keys are admitted.",
                m->journal && !journal_failing(m->journal) && epoch_state(m->epoch) == EPOCH_OPEN,
                out);
    gauge_write("cocoon_money_epoch", "The epoch that the ledger has declared.",
                (double)epoch_number(m->epoch), out);
    gauge_write("cocoon_holds", "Calls whose money is held, or on its way back.",
                (double)holds_open(m->holds), out);
    counter_write("cocoon_holds_settled_total", "Holds that were charged.", m->settled, out);
    counter_write("cocoon_holds_late_total", "Holds charged after they had expired.", m->late, out);
    counter_write("cocoon_holds_expired_total", "Holds of dead gateways given back.",
                  sweep_expired(m->sweep), out);
    counter_write("cocoon_usage_bounded_total",
                  "Records of metered calls that claimed more than can be true.", m->bounded, out);
    gauge_write("cocoon_journal_failing", "1 while the journal's disk takes nothing.",
                m->journal && journal_failing(m->journal), out);
    gauge_write("cocoon_bills_unconfirmed", "Bills that the books have not confirmed.",
                m->feed ? (double)feed_lag(m->feed) : 0, out);
    counter_write("cocoon_answers_kept_total", "Answers kept for their Idempotency-Key.",
                  m->answers_kept, out);
    counter_write("cocoon_replays_total", "Requests answered with what was kept.", m->replays, out);
    gauge_write("cocoon_prices_version", "The price book in force; 0: none.",
                b ? (double)b->version : 0, out);
}
