/* SQLite: one file in WAL mode, where a commit is synced before it returns. */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/map.h"
#include "ledger/books/db_impl.h"

enum { BUSY_MS = 5000, CACHE_KIB = 32 * 1024 };

struct sqlite_db {
    struct db base;
    sqlite3 *db;
    struct map prepared; /* SQL text -> statement that rests */
    int lock;            /* of "<path>.lock", while we write; -1: none */
};

struct sqlite_rows {
    struct rows base;
    struct sqlite_db *db;
    sqlite3_stmt *statement;
    const char *sql;
};

static struct sqlite_db *of(struct db *s)
{
    return (struct sqlite_db *)(void *)s;
}

static int failed(struct sqlite_db *s)
{
    const int code = sqlite3_extended_errcode(s->db);

    snprintf(s->base.fault, sizeof(s->base.fault), "sqlite-%d", code);
    switch (code & 0xFF) {
    case SQLITE_CONSTRAINT:
        return E_EXISTS;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return E_BUSY;
    default:
        return E_IO;
    }
}

static int script(struct db *base, const char *sql)
{
    struct sqlite_db *s = of(base);

    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : failed(s);
}

/* ---- Statements ---- */

// A statement of that text that nobody uses; it goes back with put_back.
static int take(struct sqlite_db *s, const char *sql, sqlite3_stmt **out)
{
    *out = map_del(&s->prepared, span_str(sql));
    if (*out)
        return 0;
    if (sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL) != SQLITE_OK)
        return failed(s);
    return 0;
}

static void put_back(struct sqlite_db *s, const char *sql, sqlite3_stmt *statement)
{
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    sqlite3_finalize(map_put(&s->prepared, span_str(sql), statement));
}

static int bind_one(sqlite3_stmt *statement, int at, const struct value *v)
{
    switch (v->type) {
    case VALUE_INT:
        return sqlite3_bind_int64(statement, at, v->number);
    case VALUE_TEXT:
        return sqlite3_bind_text(statement, at, v->bytes.data ? (const char *)v->bytes.data : "",
                                 (int)v->bytes.len, SQLITE_TRANSIENT);
    case VALUE_BLOB:
        return sqlite3_bind_blob(statement, at, v->bytes.data, (int)v->bytes.len, SQLITE_TRANSIENT);
    case VALUE_NULL:
        break;
    }
    return sqlite3_bind_null(statement, at);
}

// $n is a name for SQLite, which counts names in the order in which they first stand.
static int bind(struct sqlite_db *s, sqlite3_stmt *statement, const struct value *args,
                size_t count)
{
    char name[24];

    for (size_t i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "$%zu", i + 1);
        const int at = sqlite3_bind_parameter_index(statement, name);
        if (at > 0 && bind_one(statement, at, &args[i]) != SQLITE_OK)
            return failed(s);
    }
    return 0;
}

static int step_all(struct sqlite_db *s, sqlite3_stmt *statement)
{
    int code = SQLITE_ROW;

    while (code == SQLITE_ROW)
        code = sqlite3_step(statement);
    return code == SQLITE_DONE ? 0 : failed(s);
}

static int run(struct db *base, const char *sql, const struct value *args, size_t count,
               int64_t *changed)
{
    struct sqlite_db *s = of(base);
    sqlite3_stmt *statement;

    TRY(take(s, sql, &statement));
    int error = bind(s, statement, args, count);
    if (error == 0)
        error = step_all(s, statement);
    *changed = error == 0 ? sqlite3_changes64(s->db) : 0;
    put_back(s, sql, statement);
    return error;
}

/* ---- Rows ---- */

static struct sqlite_rows *rows_of(const struct rows *r)
{
    return (struct sqlite_rows *)(void *)(uintptr_t)r;
}

static int next(struct rows *base)
{
    struct sqlite_rows *r = rows_of(base);
    const int code = sqlite3_step(r->statement);

    if (code == SQLITE_ROW)
        return 1;
    return code == SQLITE_DONE ? 0 : failed(r->db);
}

static int64_t number(const struct rows *base, size_t column)
{
    return sqlite3_column_int64(rows_of(base)->statement, (int)column);
}

static struct span bytes(const struct rows *base, size_t column)
{
    sqlite3_stmt *statement = rows_of(base)->statement;
    const void *data = sqlite3_column_type(statement, (int)column) == SQLITE_BLOB
                           ? sqlite3_column_blob(statement, (int)column)
                           : (const void *)sqlite3_column_text(statement, (int)column);

    return span_of(data, (size_t)sqlite3_column_bytes(statement, (int)column));
}

static bool is_null(const struct rows *base, size_t column)
{
    return sqlite3_column_type(rows_of(base)->statement, (int)column) == SQLITE_NULL;
}

static void free_rows(struct rows *base)
{
    struct sqlite_rows *r = rows_of(base);

    put_back(r->db, r->sql, r->statement);
    free(r);
}

static const struct rows_driver rows_driver = {next, number, bytes, is_null, free_rows};

static int select_rows(struct rows **out, struct db *base, const char *sql,
                       const struct value *args, size_t count)
{
    struct sqlite_db *s = of(base);
    sqlite3_stmt *statement;

    TRY(take(s, sql, &statement));
    const int error = bind(s, statement, args, count);
    if (error < 0) {
        put_back(s, sql, statement);
        return error;
    }
    struct sqlite_rows *r = mem_zero(sizeof(*r));
    *r = (struct sqlite_rows){{&rows_driver}, s, statement, sql};
    *out = &r->base;
    return 0;
}

/* ---- Opening ---- */

static void close_store(struct db *base)
{
    struct sqlite_db *s = of(base);
    size_t at = 0;
    struct span key;
    void *statement;

    while (map_next(&s->prepared, &at, &key, &statement))
        sqlite3_finalize(statement);
    map_fini(&s->prepared);
    sqlite3_close(s->db);
    if (s->lock >= 0)
        close(s->lock); /* and unlocks */
    free(s);
}

static const struct db_driver driver = {
    .script = script,
    .run = run,
    .select = select_rows,
    .close = close_store,
};

static int take_lock(struct sqlite_db *s, const char *path, struct buf *why)
{
    char *name = NULL;

    CHECK(asprintf(&name, "%s.lock", path) > 0);
    s->lock = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    free(name);
    if (s->lock < 0) {
        buf_printf(why, "%s.lock cannot be made: %s", path, strerror(errno));
        return E_IO;
    }
    if (flock(s->lock, LOCK_EX | LOCK_NB) == 0)
        return 0;
    buf_printf(why, "%s: another process writes these books", path);
    return E_BUSY;
}

// The file holds keys' hashes and what everybody spent; whose copy is read is his matter.
static int check_file(const char *path, bool for_writing, struct buf *why)
{
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | (for_writing ? O_CREAT : 0), 0600);

    if (fd < 0) {
        buf_printf(why, "%s: %s", path, strerror(errno));
        return errno == ENOENT ? E_NOT_FOUND : E_IO;
    }
    const bool open_to_others = fstat(fd, &st) < 0 || (st.st_mode & (S_IRWXG | S_IRWXO));
    close(fd);
    if (!for_writing || !open_to_others)
        return 0;
    buf_printf(why, "%s: others than its owner may read it; chmod 600 it", path);
    return E_DENIED;
}

static const char writer_settings[] = "PRAGMA journal_mode=WAL;"
                                      "PRAGMA synchronous=FULL;"
                                      "PRAGMA foreign_keys=ON;"
                                      "PRAGMA trusted_schema=OFF;"
                                      "PRAGMA cell_size_check=ON;";
static const char reader_settings[] = "PRAGMA query_only=ON;"
                                      "PRAGMA trusted_schema=OFF;"
                                      "PRAGMA cell_size_check=ON;";

static int set_up(struct sqlite_db *s, const char *path, bool for_writing)
{
    const int flags = for_writing ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
                                  : SQLITE_OPEN_READWRITE; /* the WAL's index must be made */
    char cache[64];

    if (sqlite3_open_v2(path, &s->db, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        return failed(s);
    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_busy_timeout(s->db, BUSY_MS);
    snprintf(cache, sizeof(cache), "PRAGMA cache_size=-%d", CACHE_KIB);
    TRY(script(&s->base, cache));
    return script(&s->base, for_writing ? writer_settings : reader_settings);
}

int db_sqlite_open(struct db **out, const char *path, bool for_writing, struct buf *why)
{
    AUTO(db_close) struct db *made = NULL;
    struct sqlite_db *s = mem_zero(sizeof(*s));

    made = &s->base;
    s->base.driver = &driver;
    s->base.begin = for_writing ? "BEGIN IMMEDIATE" : "BEGIN";
    s->lock = -1;
    if (for_writing)
        TRY(take_lock(s, path, why));
    TRY(check_file(path, for_writing, why));
    const int error = set_up(s, path, for_writing);
    if (error < 0) {
        buf_printf(why, "%s: cannot be used as books (%s)", path, s->base.fault);
        return error;
    }
    *out = made;
    made = NULL;
    return 0;
}
