/* Books in a folder of their own, on SQLite or on a PostgreSQL server that the test starts; bills
 * as gateways make them. */
#ifndef TESTS_LEDGER_BOOKS_FIXTURE_H
#define TESTS_LEDGER_BOOKS_FIXTURE_H

#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/encode.h"
#include "base/random.h"
#include "billing/price_book.h"
#include "crypto/jws.h"
#include "ledger/books/account.h"
#include "ledger/books/bills.h"
#include "ledger/books/prices.h"
#include "ledger/books/record.h"
#include "ledger/books/transfer.h"
#include "ledger/books/verify.h"
#include "receipt/bill.h"

#define PG_BIN "/usr/lib/postgresql/15/bin/"

struct fixture {
    bool postgres;
    char folder[64], where[160];
    struct books *books;
    struct bill_keys keys;
    struct ed25519 *key; /* the gateway's */
    pid_t server;        /* PostgreSQL's */
};

static const struct actor root = {"uid:0 root", ROLE_ADMIN};

static inline int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

/* PostgreSQL refuses to run as root: its package brings a user for it. */
static inline pid_t spawn(const struct passwd *user, const char *const *argv)
{
    const pid_t pid = fork();

    if (pid == 0) {
        const int null = open("/dev/null", O_RDWR);
        dup2(null, 0), dup2(null, 1), dup2(null, 2);
        if (geteuid() == 0 && (!user || setgid(user->pw_gid) < 0 || setuid(user->pw_uid) < 0))
            _exit(127);
        prctl(PR_SET_PDEATHSIG, SIGQUIT); /* a test that crashed leaves no server behind */
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    return pid;
}

static inline void start_postgres(struct fixture *f)
{
    const struct passwd *user = getpwnam("postgres");
    char data[96];
    int status = -1;

    snprintf(data, sizeof(data), "%s/pg", f->folder);
    if (geteuid() == 0)
        assert_int_equal(chown(f->folder, user->pw_uid, user->pw_gid), 0);
    const char *const make[] = {PG_BIN "initdb", "-D", data,   "-N",         "-U", "cocoon", "-A",
                                "trust",         "-E", "UTF8", "--locale=C", NULL};
    const char *const serve[] = {PG_BIN "postgres",   "-D", data, "-k", f->folder, "-h", "", "-c",
                                 "max_connections=8", NULL};
    const pid_t made = spawn(user, make);
    assert_int_equal(waitpid(made, &status, 0), made);
    assert_int_equal(status, 0);
    f->server = spawn(user, serve);
    snprintf(f->where, sizeof(f->where), "postgresql://cocoon@/postgres?host=%s", f->folder);
}

/* Tries again while the server is still starting. */
static inline void open_db(struct fixture *f, struct db **out)
{
    AUTO(buf_fini) struct buf why = {0};
    int error = E_UNAVAILABLE;

    for (int i = 0; i < 200 && error == E_UNAVAILABLE; i++) {
        error = db_open(out, f->where, true, &why);
        if (error == E_UNAVAILABLE)
            usleep(50000);
    }
    if (error < 0)
        fail_msg("%s: %s", error_name(error), buf_cstr(&why));
}

static inline void open_books(struct fixture *f)
{
    AUTO(buf_fini) struct buf why = {0};

    if (books_open(&f->books, f->where, true, &why) < 0)
        fail_msg("%s", buf_cstr(&why));
    f->books->fixed_ms = UINT64_C(1750000000000);
    assert_int_equal(bill_keys_read(f->books, false, &f->keys), 0);
}

static inline void close_books(struct fixture *f)
{
    bill_keys_fini(&f->keys);
    books_close(f->books);
    f->books = NULL;
}

#define IN_BOOKS(f, call)                                                                          \
    do {                                                                                           \
        assert_int_equal(books_begin((f)->books), 0);                                              \
        const int in_books_ = books_end((f)->books, (call));                                       \
        if (in_books_ < 0)                                                                         \
            fail_msg("%s: %s (%s)", #call, error_name(in_books_), books_reason());                 \
    } while (0)
#define NOT_IN_BOOKS(f, call, error)                                                               \
    do {                                                                                           \
        assert_int_equal(books_begin((f)->books), 0);                                              \
        assert_int_equal(books_end((f)->books, (call)), error);                                    \
    } while (0)

static inline void add_key(struct fixture *f)
{
    uint8_t public_key[ED25519_KEY_LEN];
    char kid[JWS_KID_LEN + 1], hex[2 * ED25519_KEY_LEN + 1];
    bool added;

    assert_int_equal(ed25519_generate(&f->key), 0);
    ed25519_public(f->key, public_key);
    jws_kid(kid, public_key);
    hex_encode(hex, SPAN_OF(public_key));
    IN_BOOKS(f, bill_keys_add(f->books, &f->keys, span_str(kid), span_str(hex), &added));
    assert_true(added);
}

static inline int begin_fixture(void **state, bool postgres)
{
    struct fixture *f = mem_zero(sizeof(*f));

    f->postgres = postgres;
    /* in memory: thousands of commits, and what a sync costs is not what is tested */
    snprintf(f->folder, sizeof(f->folder), "%s/cocoon-books-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->where, sizeof(f->where), "%s/books.sqlite", f->folder);
    if (postgres)
        start_postgres(f);
    *state = f;
    return 0;
}

static inline int begin_sqlite(void **state)
{
    return begin_fixture(state, false);
}

static inline int begin_postgres(void **state)
{
    return begin_fixture(state, true);
}

static inline int end_fixture(void **state)
{
    struct fixture *f = *state;

    if (f->server > 0) {
        kill(f->server, SIGINT);
        waitpid(f->server, NULL, 0);
    }
    nftw(f->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

static inline void remove_file(const char *path, const char *end)
{
    char name[200];

    snprintf(name, sizeof(name), "%s%s", path, end);
    unlink(name);
}

/* Before each test: empty books that know a gateway's key. */
static inline int empty_books(void **state)
{
    struct fixture *f = *state;
    struct db *db;

    if (f->postgres) {
        open_db(f, &db);
        assert_int_equal(db_script(db, "DROP SCHEMA public CASCADE"), 0);
        assert_int_equal(db_script(db, "CREATE SCHEMA public"), 0);
        db_close(db);
    }
    remove_file(f->where, ""), remove_file(f->where, "-wal"), remove_file(f->where, "-shm");
    open_books(f);
    add_key(f);
    return 0;
}

static inline int leave_books(void **state)
{
    struct fixture *f = *state;

    close_books(f);
    ed25519_free(f->key);
    f->key = NULL;
    return 0;
}

/* ---- What stands in the books ---- */

static inline json_t *json_of(const char *text)
{
    json_t *doc = json_loads(text, 0, NULL);

    if (!doc)
        fail_msg("no JSON: %s", text);
    return doc;
}

static inline void make_account(struct fixture *f, const char *id, int64_t credit)
{
    AUTO_JSON json_t *body = json_pack("{s:s}", "id", id);
    bool fresh;

    IN_BOOKS(f, account_create(f->books, &root, body, NULL));
    if (credit > 0)
        IN_BOOKS(f, account_credit(f->books, &root, id, credit, "first", SPAN(""), &fresh, NULL));
}

static inline int64_t balance_of(struct fixture *f, const char *purse)
{
    struct purse_sums sums;

    IN_BOOKS(f, purse_read(f->books, purse, CURRENCY_TON, &sums));
    return sums.credits - sums.debits;
}

#define PRICE_YAML                                                                                 \
    "version: 1\ncommission_bps: 500\nmodels:\n  m:\n    prompt: 3000000\n    cached: 1000000\n"   \
    "    completion: 7000000\n    per_request: 11\n    minimum: 5\n"

static inline void apply_prices(struct fixture *f)
{
    AUTO_JSON json_t *out = NULL;

    IN_BOOKS(f, prices_apply(f->books, &root, SPAN(PRICE_YAML), false, &out));
}

/* ---- Bills ---- */

struct made_bill {
    struct buf bill, usage;
    char call[33]; /* "": drawn */
    int64_t amount, fee;
};

static inline void made_bill_free(struct made_bill *m)
{
    buf_fini(&m->bill);
    buf_fini(&m->usage);
}

static inline void read_book(struct fixture *f, struct price_book **book)
{
    AUTO_JSON json_t *found = NULL;
    AUTO(buf_fini) struct buf text = {0};

    IN_BOOKS(f, prices_find(f->books, 1, &found));
    record_write(&text, record_at(found, "book"));
    assert_int_equal(price_book_parse(book, buf_span(&text)), 0);
}

/* In the form of a worker's record; nobody of the books looks at its signature. */
static inline void make_usage(struct buf *jws, const char *call, uint32_t attempt, int64_t in,
                              int64_t out)
{
    AUTO(buf_fini) struct buf payload = {0};

    buf_printf(&payload, "{\"call\":\"%s\",\"attempt\":%u,\"in\":%lld,\"out\":%lld}", call, attempt,
               (long long)in, (long long)out);
    buf_append_str(jws, "e30.");
    base64url_encode(jws, buf_span(&payload));
    buf_append_str(jws, ".AA");
}

/* A bill of `in` and `out` tokens at the price of PRICE_YAML, as a gateway signs it. */
static inline void make_bill(struct fixture *f, struct made_bill *m, const char *account,
                             uint32_t attempt, int64_t in, int64_t out)
{
    AUTO(price_book_unref) struct price_book *book = NULL;
    const struct price_tokens tokens = {in, 0, out, 0};
    uint8_t call[16];
    int64_t worker;

    made_bill_free(m);
    if (!m->call[0]) {
        random_bytes(call, sizeof(call));
        hex_encode(m->call, SPAN_OF(call));
    }
    read_book(f, &book);
    assert_int_equal(price_amount(price_book_find(book, SPAN("m")), &tokens, 1000, &m->amount), 0);
    price_split(m->amount, book->commission_bps, &worker, &m->fee);
    make_usage(&m->usage, m->call, attempt, in, out);
    struct bill b = {.attempt = attempt, .model = SPAN("m"), .price = 1, .coefficient = 1000};
    b.in = in, b.out = out, b.amount = m->amount, b.fee = m->fee;
    b.t_ms = f->books->fixed_ms;
    memcpy(b.call, m->call, sizeof(b.call));
    memcpy(b.price_sha256, book->sha256, SHA256_LEN);
    snprintf(b.account, sizeof(b.account), "%s", account);
    snprintf(b.worker, sizeof(b.worker), "0:%064d", 7);
    sha256(b.usage, buf_span(&m->usage));
    assert_int_equal(bill_sign(&b, f->key, &m->bill), 0);
}

static inline struct bill_entry entry_of(const struct made_bill *m, int64_t n)
{
    return (struct bill_entry){.instance = SPAN("gw-1"),
                               .n = n,
                               .bill = buf_span(&m->bill),
                               .usage = buf_span(&m->usage),
                               .project = SPAN(""),
                               .key = SPAN("0a1b2c3d4e5f"),
                               .kind = SPAN("settled"),
                               .endpoint = SPAN("chat")};
}

static inline enum bill_result take(struct fixture *f, const struct made_bill *m, int64_t n)
{
    const struct bill_entry e = entry_of(m, n);
    struct bill_outcome out;

    IN_BOOKS(f, bill_take(f->books, &f->keys, &e, &out));
    return out.result;
}

/* ---- Verify ---- */

struct verified {
    bool good;
    char wrong[200];    /* the first line that is not good */
    char names[100];    /* of all that are not: " I1 I9" */
    char looked[200];   /* names of all lines */
    int64_t difference; /* of all lines together */
};

static inline void note_line(void *arg, const struct verify_line *line)
{
    struct verified *v = arg;

    v->difference += line->difference;
    if (!line->good && !v->wrong[0])
        snprintf(v->wrong, sizeof(v->wrong), "%s: %s", line->name, line->detail);
    if (!line->good)
        snprintf(v->names + strlen(v->names), sizeof(v->names) - strlen(v->names), " %s",
                 line->name);
    snprintf(v->looked + strlen(v->looked), sizeof(v->looked) - strlen(v->looked), " %s",
             line->name);
}

static inline struct verified verify(struct fixture *f)
{
    struct verified v = {0};

    IN_BOOKS(f, books_verify(f->books, note_line, &v, &v.good));
    return v;
}

#define ASSERT_VERIFIED(f)                                                                         \
    do {                                                                                           \
        const struct verified verified_ = verify(f);                                               \
        if (!verified_.good)                                                                       \
            fail_msg("not verified: %s", verified_.wrong);                                         \
    } while (0)

#define CASE(name) cmocka_unit_test_setup_teardown(name, empty_books, leave_books)
/* The same cases on both databases. */
#define RUN_ON_BOTH(tests)                                                                         \
    (cmocka_run_group_tests_name("sqlite", tests, begin_sqlite, end_fixture) +                     \
     cmocka_run_group_tests_name("postgres", tests, begin_postgres, end_fixture))

#endif
