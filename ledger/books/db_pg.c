/* PostgreSQL through libpq: for books that one machine's SQLite no longer carries. */
#include <inttypes.h>
#include <postgresql/libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/map.h"
#include "ledger/books/db_impl.h"

enum { LOCK_TRIES = 20, LOCK_PAUSE_US = 50000, ARGS_MAX = 32, TEXT_FORMAT = 0, BINARY_FORMAT = 1 };

struct pg_db {
    struct db base;
    PGconn *connection;
    struct map prepared; /* SQL text -> 1 + number of the statement "s<n>" */
    size_t count;
    bool for_writing;
};

struct pg_rows {
    struct rows base;
    PGresult *result;
    int at; /* the present row; -1 before the first */
};

static struct pg_db *of(struct db *s)
{
    return (struct pg_db *)(void *)s;
}

static void forget_prepared(struct pg_db *s)
{
    map_fini(&s->prepared);
    s->prepared = (struct map){0};
}

// Classes of SQLSTATE: 23 a constraint, 40 a conflict of transactions, 08 and 57 the server is
// gone.
static int failed(struct pg_db *s, const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    snprintf(s->base.fault, sizeof(s->base.fault), "sqlstate-%s", state ? state : "none");
    if (PQstatus(s->connection) == CONNECTION_BAD)
        return E_UNAVAILABLE;
    if (state && strncmp(state, "23", 2) == 0)
        return E_EXISTS;
    if (state && (strncmp(state, "40", 2) == 0 || strncmp(state, "55P03", 5) == 0))
        return E_BUSY;
    return E_IO;
}

static bool good(const PGresult *result)
{
    const ExecStatusType status = PQresultStatus(result);

    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

static int simple(struct pg_db *s, const char *sql)
{
    PGresult *result = PQexec(s->connection, sql);
    const bool undone = strcmp(sql, "COMMIT") == 0 &&
                        strcmp(PQcmdStatus(result), "COMMIT") != 0; /* it had failed */
    const int error = good(result) ? 0 : failed(s, result);

    PQclear(result);
    return error == 0 && undone ? E_IO : error;
}

/* ---- Opening ---- */

static int try_lock(struct pg_db *s)
{
    PGresult *result = PQexec(s->connection, "SELECT pg_try_advisory_lock(7161126011)");
    int error = good(result) ? 0 : failed(s, result);

    if (error == 0 && strcmp(PQgetvalue(result, 0, 0), "t") != 0)
        error = E_BUSY;
    PQclear(result);
    return error;
}

// The lock lives as long as the connection: whoever lost it has lost the books too. The server
// notices a process that ended a little later.
static int take_lock(struct pg_db *s)
{
    int error = try_lock(s);

    for (int i = 0; i < LOCK_TRIES && error == E_BUSY; i++) {
        usleep(LOCK_PAUSE_US);
        error = try_lock(s);
    }
    return error;
}

static int set_up(struct pg_db *s)
{
    if (PQstatus(s->connection) != CONNECTION_OK)
        return E_UNAVAILABLE;
    forget_prepared(s);
    TRY(simple(s, "SET client_min_messages = warning"));
    if (!s->for_writing)
        return simple(s, "SET default_transaction_read_only = on");
    TRY(simple(s, "SET synchronous_commit = on"));
    return take_lock(s);
}

static int connect_again(struct pg_db *s)
{
    PQreset(s->connection);
    return set_up(s);
}

// A connection that was lost comes back between transactions, never inside one: that it is lost is
// often found by the very first word of the next one.
static int script(struct db *base, const char *sql)
{
    struct pg_db *s = of(base);

    if (sql != base->begin)
        return simple(s, sql);
    if (PQstatus(s->connection) == CONNECTION_BAD)
        TRY(connect_again(s));
    const int error = simple(s, sql);
    if (error != E_UNAVAILABLE)
        return error;
    TRY(connect_again(s));
    return simple(s, sql);
}

static void close_store(struct db *base)
{
    struct pg_db *s = of(base);

    forget_prepared(s);
    PQfinish(s->connection);
    free(s);
}

/* ---- Statements ---- */

static int prepare(struct pg_db *s, const char *sql, char name[static 24])
{
    uintptr_t number = (uintptr_t)map_get(&s->prepared, span_str(sql));

    if (number == 0)
        number = ++s->count;
    snprintf(name, 24, "s%zu", (size_t)number);
    if (map_get(&s->prepared, span_str(sql)))
        return 0;
    PGresult *result = PQprepare(s->connection, name, sql, 0, NULL);
    const int error = good(result) ? 0 : failed(s, result);
    PQclear(result);
    if (error == 0)
        map_put(&s->prepared, span_str(sql), (void *)number);
    return error;
}

struct bound {
    const char *values[ARGS_MAX];
    int lengths[ARGS_MAX], formats[ARGS_MAX];
    char *texts[ARGS_MAX]; /* NUL-terminated copies */
};

static void bind_all(struct bound *b, const struct value *args, size_t count)
{
    static const char empty[1] = "";

    CHECK(count <= ARGS_MAX);
    *b = (struct bound){0};
    for (size_t i = 0; i < count; i++) {
        const struct value *v = &args[i];
        if (v->type == VALUE_INT)
            CHECK(asprintf(&b->texts[i], "%" PRId64, v->number) > 0);
        if (v->type == VALUE_TEXT)
            CHECK(asprintf(&b->texts[i], "%.*s", SPAN_FMT(v->bytes)) >= 0);
        b->formats[i] = v->type == VALUE_BLOB ? BINARY_FORMAT : TEXT_FORMAT;
        b->lengths[i] = (int)v->bytes.len;
        b->values[i] = b->texts[i];
        if (v->type == VALUE_BLOB)
            b->values[i] = v->bytes.data ? (const char *)v->bytes.data : empty;
    }
}

static int execute(struct pg_db *s, const char *sql, const struct value *args, size_t count,
                   PGresult **out)
{
    struct bound b;
    char name[24];

    TRY(prepare(s, sql, name));
    bind_all(&b, args, count);
    *out = PQexecPrepared(s->connection, name, (int)count, b.values, b.lengths, b.formats,
                          BINARY_FORMAT);
    for (size_t i = 0; i < count; i++)
        free(b.texts[i]);
    if (good(*out))
        return 0;
    const int error = failed(s, *out);
    PQclear(*out);
    return error;
}

static int run(struct db *base, const char *sql, const struct value *args, size_t count,
               int64_t *changed)
{
    PGresult *result;
    uint64_t rows = 0;

    *changed = 0;
    TRY(execute(of(base), sql, args, count, &result));
    if (span_u64(span_str(PQcmdTuples(result)), INT64_MAX, &rows) == 0)
        *changed = (int64_t)rows;
    PQclear(result);
    return 0;
}

/* ---- Rows ---- */

static struct pg_rows *rows_of(const struct rows *r)
{
    return (struct pg_rows *)(void *)(uintptr_t)r;
}

static int next(struct rows *base)
{
    struct pg_rows *r = rows_of(base);

    return ++r->at < PQntuples(r->result) ? 1 : 0;
}

static struct span bytes(const struct rows *base, size_t column)
{
    const struct pg_rows *r = rows_of(base);

    if (PQgetisnull(r->result, r->at, (int)column))
        return span_of(NULL, 0);
    return span_of(PQgetvalue(r->result, r->at, (int)column),
                   (size_t)PQgetlength(r->result, r->at, (int)column));
}

// int2, int4 and int8 in network order.
static int64_t number(const struct rows *base, size_t column)
{
    const struct span s = bytes(base, column);
    uint64_t v = s.len > 0 && (s.data[0] & 0x80) ? UINT64_MAX : 0;

    CHECK(s.len <= 8);
    for (size_t i = 0; i < s.len; i++)
        v = v << 8 | s.data[i];
    return (int64_t)v;
}

static bool is_null(const struct rows *base, size_t column)
{
    const struct pg_rows *r = rows_of(base);

    return PQgetisnull(r->result, r->at, (int)column);
}

static void free_rows(struct rows *base)
{
    struct pg_rows *r = rows_of(base);

    PQclear(r->result);
    free(r);
}

static const struct rows_driver rows_driver = {next, number, bytes, is_null, free_rows};

static int select_rows(struct rows **out, struct db *base, const char *sql,
                       const struct value *args, size_t count)
{
    PGresult *result;

    TRY(execute(of(base), sql, args, count, &result));
    struct pg_rows *r = mem_zero(sizeof(*r));
    *r = (struct pg_rows){{&rows_driver}, result, -1};
    *out = &r->base;
    return 0;
}

static const struct db_driver driver = {
    .script = script,
    .run = run,
    .select = select_rows,
    .close = close_store,
};

int db_pg_open(struct db **out, const char *url, bool for_writing, struct buf *why)
{
    AUTO(db_close) struct db *made = NULL;
    struct pg_db *s = mem_zero(sizeof(*s));

    made = &s->base;
    s->base.driver = &driver;
    s->base.begin = for_writing ? "BEGIN" : "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    s->for_writing = for_writing;
    s->connection = PQconnectdb(url);
    const int error = set_up(s);
    if (error == E_BUSY)
        buf_append_str(why, "another process writes these books");
    else if (error < 0)
        buf_append_str(why, "PostgreSQL does not let us in: is it up, and is the URL right?");
    TRY(error);
    *out = made;
    made = NULL;
    return 0;
}

bool db_is_postgres(const struct db *s)
{
    return s->driver == &driver;
}
