/* What money costs: admissions and settlements through the gateway's own parts (holds, journal) on
 * a real Redis. Prints one line of JSON. Usage: money REDIS_PORT REDIS_PID FOLDER QUICK(0|1) */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "billing/hold.h"
#include "billing/journal.h"
#include "billing/price_book.h"
#include "receipt/usage_record.h"

enum { AT_ONCE = 64, ACCOUNTS = 1000, CALL_LEN = 33 };

struct bench {
    struct loop *loop;
    struct offload *offload;
    struct redis *redis;
    struct epoch *epoch;
    struct billing_scripts scripts;
    struct holds *holds;
    struct journal *journal;
    struct ed25519 *worker, *bills;
    int redis_pid;
    size_t begun, done, total, failed;
    struct hold **open;
    struct buf *records; /* signed beforehand */
    struct one {
        struct bench *b;
        size_t i;
        struct offload_job job;
        struct usage_record usage;
    } * ones;
};

static void call_of(size_t i, char out[static CALL_LEN])
{
    (void)snprintf(out, CALL_LEN, "%032zx", i);
}

static const char *account_of(size_t i)
{
    static char names[ACCOUNTS][16];

    (void)snprintf(names[i % ACCOUNTS], sizeof(names[0]), "bench%zu", i % ACCOUNTS);
    return names[i % ACCOUNTS];
}

/* ---- CPU ---- */

static double own_cpu_us(void)
{
    struct rusage u;

    CHECK(getrusage(RUSAGE_THREAD, &u) == 0);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* schedstat: nanoseconds on a CPU, finer than the ticks of stat. */
static double redis_cpu_us(const struct bench *b)
{
    char path[64];
    unsigned long long ns = 0;

    (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", b->redis_pid, b->redis_pid);
    FILE *f = fopen(path, "r");
    CHECK(f && fscanf(f, "%llu", &ns) == 1);
    fclose(f);
    return (double)ns / 1000.0;
}

struct figure {
    double own_us, redis_us, per_s;
};

/* Runs `begin` for 0 … total, AT_ONCE at a time; each calls finished() once. */
static struct figure measure(struct bench *b, size_t total,
                             void (*begin)(struct bench *b, size_t i))
{
    double own = own_cpu_us(), redis = redis_cpu_us(b);
    uint64_t from = clock_mono_us();

    b->begun = b->done = 0;
    b->total = total;
    while (b->done < total) {
        while (b->begun < total && b->begun - b->done < AT_ONCE)
            begin(b, b->begun++);
        loop_turn(b->loop, 100);
    }
    double n = (double)total;
    return (struct figure){(own_cpu_us() - own) / n, (redis_cpu_us(b) - redis) / n,
                           n * 1e6 / (double)(clock_mono_us() - from)};
}

/* ---- HINCRBY ---- */

static void counted(void *arg, int error, const struct redisReply *reply)
{
    struct bench *b = arg;

    (void)reply;
    b->failed += error < 0;
    b->done++;
}

static void begin_count(struct bench *b, size_t i)
{
    const struct span argv[] = {SPAN("HINCRBY"), span_str(account_of(i)), SPAN("available"),
                                SPAN("-1")};

    CHECK(redis_command(b->redis, argv[1], argv, 4, counted, b) == 0);
}

/* ---- Admission ---- */

static void placed(void *arg, const struct hold_answer *a)
{
    struct bench *b = arg;

    b->failed += a->verdict != HOLD_OK;
    b->done++;
}

static void begin_hold(struct bench *b, size_t i)
{
    char call[CALL_LEN];

    call_of(i, call);
    const struct hold_terms t = {
        .call = call,
        .account = account_of(i),
        .key = "0123456789ab",
        .project = "",
        .key_version = 1,
        .model = SPAN("bench-model"),
        .limits = {.requests = 100000000, .tokens = 1000000000000},
        .ceiling = 100000,
        .price_version = 1,
        .bid = 1000,
        .max_input = 2000,
        .max_tokens = 1000,
        .tokens = 1500,
        .life_ms = 600000,
    };
    b->open[i] = hold_place(b->holds, &t, placed, b);
}

/* ---- Settlement: verified, charged, billed, on disk ---- */

static void written(void *arg, enum journal_result result)
{
    struct one *o = arg;

    o->b->failed += result != JOURNAL_WRITTEN;
    o->b->done++;
}

static void charged(void *arg, enum hold_end end, int64_t nano, int64_t in_epoch)
{
    struct one *o = arg;
    struct bench *b = o->b;
    struct journal_entry *e = mem_zero(sizeof(*e));
    int64_t pay;

    b->failed += end != HOLD_SETTLED;
    call_of(o->i, e->bill.call);
    snprintf(e->bill.account, sizeof(e->bill.account), "%s", account_of(o->i));
    snprintf(e->bill.worker, sizeof(e->bill.worker), "0:%064d", 0);
    buf_append_str(&e->bill.storage, "bench-model");
    e->bill.model = buf_span(&e->bill.storage);
    e->bill.price = 1;
    e->bill.coefficient = 1000;
    e->bill.in = o->usage.in;
    e->bill.out = o->usage.out;
    e->bill.amount = nano;
    price_split(nano, 500, &pay, &e->bill.fee);
    e->bill.t_ms = clock_wall_ms();
    sha256(e->bill.usage, buf_span(&b->records[o->i]));
    buf_append(&e->usage, buf_span(&b->records[o->i]));
    e->epoch = in_epoch;
    e->endpoint = "chat";
    e->kind = "settled";
    e->done = written;
    e->arg = o;
    usage_record_fini(&o->usage);
    journal_add(b->journal, e);
}

static void verify_work(struct offload_job *job)
{
    struct one *o = CONTAINER(job, struct one, job);

    CHECK(usage_record_verify(&o->usage, o->b->worker, buf_span(&o->b->records[o->i])) == 0);
}

static void verify_done(struct offload_job *job)
{
    struct one *o = CONTAINER(job, struct one, job);
    struct bench *b = o->b;

    hold_settle(b->open[o->i], 5000, 0, o->usage.in + o->usage.out, charged, o);
}

static void begin_settle(struct bench *b, size_t i)
{
    struct one *o = &b->ones[i];

    *o = (struct one){.b = b, .i = i, .job = {.work = verify_work, .done = verify_done}};
    CHECK(offload_submit(b->offload, &o->job) == 0);
}

/* ---- The stage ---- */

static void sign_records(struct bench *b, size_t total)
{
    struct usage_record u = {.model = SPAN("bench-model"),
                             .in = 500,
                             .out = 200,
                             .price = "1;1000",
                             .outcome = USAGE_STOP,
                             .final = true,
                             .env = "insecure-dev"};

    for (size_t i = 0; i < total; i++) {
        call_of(i, u.call);
        CHECK(usage_record_sign(&u, b->worker, &b->records[i]) == 0);
    }
}

static void epoch_changed(void *arg)
{
    (void)arg;
}

static void redis_state(void *arg, bool up, const char *run_id)
{
    struct bench *b = arg;
    (void)up;
    (void)run_id;

    if (b->epoch)
        epoch_connected(b->epoch);
}

static void nothing(void *arg, int error, const struct redisReply *reply)
{
    (void)arg;
    (void)error;
    (void)reply;
}

/* What the ledger would have written. */
static void grant(struct bench *b)
{
    struct buf key = {0};

    const char *run_id = redis_run_id(b->redis, SPAN(LAYOUT_EPOCH));
    const struct span epoch[] = {SPAN("HSET"),   SPAN(LAYOUT_EPOCH), SPAN("n"),
                                 SPAN("1"),      SPAN("state"),      SPAN("open"),
                                 SPAN("run_id"), span_str(run_id)};
    CHECK(redis_command(b->redis, epoch[1], epoch, 8, nothing, NULL) == 0);
    for (size_t i = 0; i < ACCOUNTS; i++) {
        buf_clear(&key);
        buf_printf(&key, LAYOUT_ACCOUNT, account_of(i));
        const struct span argv[] = {SPAN("HSET"),
                                    buf_span(&key),
                                    SPAN("available"),
                                    SPAN("9000000000000000"),
                                    SPAN("epoch"),
                                    SPAN("1"),
                                    SPAN("cfg"),
                                    SPAN("active||||||"),
                                    SPAN("kv:0123456789ab"),
                                    SPAN("1")};
        CHECK(redis_command(b->redis, argv[1], argv, 10, nothing, NULL) == 0);
    }
    buf_fini(&key);
}

static void stage(struct bench *b, const char *port, const char *folder, size_t total)
{
    struct redis_options o = redis_defaults;
    struct buf path = {0}, why = {0};

    CHECK(loop_new(&b->loop) == 0 && offload_new(&b->offload, b->loop, 2) == 0);
    buf_printf(&path, "redis://127.0.0.1:%s", port);
    o.at.url = buf_cstr(&path);
    o.command_ms = 2000;
    o.dead_ms = 4000;
    o.offload = b->offload;
    CHECK(redis_new(&b->redis, b->loop, &o, redis_state, b) == 0);
    while (!redis_up(b->redis))
        loop_turn(b->loop, 10);
    grant(b);
    b->epoch = epoch_new(b->loop, b->redis, epoch_changed, b);
    billing_scripts_init(&b->scripts);
    b->holds = holds_new(b->loop, b->redis, b->epoch, &b->scripts, "bench");
    CHECK(ed25519_generate(&b->worker) == 0 && ed25519_generate(&b->bills) == 0);
    buf_clear(&path);
    buf_printf(&path, "%s/journal", folder);
    CHECK(journal_open(&b->journal, b->loop, b->offload, buf_cstr(&path), "bench", b->bills,
                       &why) == 0);
    b->open = mem_zero(total * sizeof(struct hold *));
    b->records = mem_zero(total * sizeof(*b->records));
    b->ones = mem_zero(total * sizeof(*b->ones));
    while (epoch_state(b->epoch) != EPOCH_OPEN)
        loop_turn(b->loop, 10);
}

int main(int argc, char **argv)
{
    struct bench b = {0};

    if (argc != 5)
        return 2;
    size_t total = argv[4][0] == '1' ? 2000 : 20000;
    b.redis_pid = atoi(argv[2]);
    stage(&b, argv[1], argv[3], total);
    sign_records(&b, total);
    (void)measure(&b, total / 4, begin_count); /* warm */
    struct figure count = measure(&b, total, begin_count);
    struct figure admit = measure(&b, total, begin_hold);
    struct figure settle = measure(&b, total, begin_settle);
    printf(
        "{\"hincrby_redis_us\":%.2f,\"admit_redis_us\":%.2f,\"admit_own_us\":%.2f,"
        "\"admits_per_s\":%.0f,\"settles_per_s\":%.0f,\"settle_redis_us\":%.2f,\"failed\":%zu}\n",
        count.redis_us, admit.redis_us, admit.own_us, admit.per_s, settle.per_s, settle.redis_us,
        b.failed);
    return b.failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
