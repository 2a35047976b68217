/* Words that differ between the databases: BIGINT and BYTEA are PostgreSQL's and become INTEGER and
 * BLOB for SQLite, whose tables are STRICT. */
#include "ledger/books/schema.h"

#include "base/buf.h"

struct step {
    const char *common;            /* for both */
    const char *sqlite, *postgres; /* afterwards, for one of them */
};

static const struct step steps[] = {
    {
        /* who may call: accounts -> projects -> keys -> secrets (hashes only) */
        "CREATE TABLE accounts ("
        " id TEXT PRIMARY KEY, version BIGINT NOT NULL, state TEXT NOT NULL, created BIGINT NOT "
        "NULL,"
        " settings TEXT NOT NULL, chain_seq BIGINT NOT NULL, chain_head BYTEA NOT NULL) STRICT;"
        "CREATE TABLE projects ("
        " account TEXT NOT NULL REFERENCES accounts(id), id TEXT NOT NULL, version BIGINT NOT NULL,"
        " state TEXT NOT NULL, created BIGINT NOT NULL, settings TEXT NOT NULL,"
        " PRIMARY KEY (account, id)) STRICT;"
        "CREATE TABLE keys ("
        " id TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts(id), project TEXT NOT "
        "NULL,"
        " name TEXT NOT NULL, version BIGINT NOT NULL, state TEXT NOT NULL, created BIGINT NOT "
        "NULL,"
        " settings TEXT NOT NULL) STRICT;"
        "CREATE INDEX keys_account ON keys(account);"
        "CREATE TABLE secrets ("
        " key TEXT NOT NULL REFERENCES keys(id), n BIGINT NOT NULL, sha256 TEXT NOT NULL UNIQUE,"
        " created BIGINT NOT NULL, expires BIGINT NOT NULL, PRIMARY KEY (key, n)) STRICT;"
        "CREATE TABLE invites ("
        " id TEXT PRIMARY KEY, code_sha256 TEXT NOT NULL UNIQUE, state TEXT NOT NULL,"
        " created BIGINT NOT NULL, expires BIGINT NOT NULL, uses BIGINT NOT NULL,"
        " used BIGINT NOT NULL, credit BIGINT NOT NULL, settings TEXT NOT NULL,"
        " CHECK (used <= uses)) STRICT;"
        /* money: immutable transfers, and the sums that follow from them */
        "CREATE TABLE transfers ("
        " id BYTEA PRIMARY KEY, seq BIGINT NOT NULL UNIQUE, debit TEXT NOT NULL,"
        " credit TEXT NOT NULL, currency TEXT NOT NULL, amount BIGINT NOT NULL,"
        " code TEXT NOT NULL, reference TEXT NOT NULL, time BIGINT NOT NULL,"
        " CHECK (amount > 0), CHECK (debit <> credit)) STRICT;"
        "CREATE INDEX transfers_debit ON transfers(debit, seq);"
        "CREATE INDEX transfers_credit ON transfers(credit, seq);"
        "CREATE TABLE purses ("
        " name TEXT NOT NULL, currency TEXT NOT NULL, debits BIGINT NOT NULL,"
        " credits BIGINT NOT NULL, PRIMARY KEY (name, currency)) STRICT;"
        "CREATE TABLE prices ("
        " version BIGINT PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, book TEXT NOT NULL,"
        " applied BIGINT NOT NULL, who TEXT NOT NULL) STRICT;"
        /* bills: chained per account, leaves of a tree per day */
        "CREATE TABLE bills ("
        " call TEXT NOT NULL, attempt BIGINT NOT NULL, account TEXT NOT NULL REFERENCES "
        "accounts(id),"
        " seq BIGINT NOT NULL, head BYTEA NOT NULL, bill TEXT NOT NULL, usage TEXT NOT NULL,"
        " kind TEXT NOT NULL, endpoint TEXT NOT NULL, instance TEXT NOT NULL, project TEXT NOT "
        "NULL, key TEXT NOT NULL,"
        " model TEXT NOT NULL, worker TEXT NOT NULL, price BIGINT NOT NULL,"
        " coefficient BIGINT NOT NULL, tokens_in BIGINT NOT NULL, cached BIGINT NOT NULL,"
        " tokens_out BIGINT NOT NULL, reasoning BIGINT NOT NULL, amount BIGINT NOT NULL,"
        " fee BIGINT NOT NULL, hour BIGINT NOT NULL, taken BIGINT NOT NULL, day BIGINT NOT NULL,"
        " leaf BIGINT NOT NULL, PRIMARY KEY (call, attempt), UNIQUE (account, seq),"
        " UNIQUE (day, leaf), CHECK (fee >= 0 AND fee <= amount)) STRICT;"
        "CREATE INDEX bills_hour ON bills(account, hour);"
        "CREATE TABLE days ("
        " day BIGINT PRIMARY KEY, leaves BIGINT NOT NULL, tree BYTEA NOT NULL, root BYTEA NOT NULL,"
        " closed BIGINT NOT NULL) STRICT;"
        "CREATE TABLE bill_keys ("
        " kid TEXT PRIMARY KEY, public_key TEXT NOT NULL, since BIGINT NOT NULL) STRICT;"
        "CREATE TABLE cursors ("
        " stream TEXT PRIMARY KEY, last TEXT NOT NULL, n BIGINT NOT NULL) STRICT;"
        "CREATE TABLE conflicts ("
        " seq BIGINT PRIMARY KEY, time BIGINT NOT NULL, source TEXT NOT NULL, reason TEXT NOT NULL,"
        " entry TEXT NOT NULL) STRICT;"
        /* what happened, and who is told */
        "CREATE TABLE audit ("
        " seq BIGINT PRIMARY KEY, time BIGINT NOT NULL, who TEXT NOT NULL, role TEXT NOT NULL,"
        " action TEXT NOT NULL, object TEXT NOT NULL, before TEXT NOT NULL,"
        " after TEXT NOT NULL) STRICT;"
        "CREATE TABLE hooks ("
        " id TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts(id), url TEXT NOT NULL,"
        " secret TEXT NOT NULL, events TEXT NOT NULL, state TEXT NOT NULL,"
        " created BIGINT NOT NULL) STRICT;"
        "CREATE TABLE deliveries ("
        " id TEXT NOT NULL, hook TEXT NOT NULL REFERENCES hooks(id), type TEXT NOT NULL,"
        " payload TEXT NOT NULL, created BIGINT NOT NULL, due BIGINT NOT NULL,"
        " tries BIGINT NOT NULL, status BIGINT NOT NULL, state TEXT NOT NULL,"
        " PRIMARY KEY (id, hook)) STRICT;"
        "CREATE INDEX deliveries_due ON deliveries(state, due);"
        "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;",
        /* what is written stays written */
        "CREATE TRIGGER transfers_stay BEFORE UPDATE ON transfers"
        " BEGIN SELECT RAISE(ABORT, 'immutable'); END;"
        "CREATE TRIGGER transfers_remain BEFORE DELETE ON transfers"
        " BEGIN SELECT RAISE(ABORT, 'immutable'); END;"
        "CREATE TRIGGER prices_stay BEFORE UPDATE ON prices"
        " BEGIN SELECT RAISE(ABORT, 'immutable'); END;"
        "CREATE TRIGGER bills_stay BEFORE UPDATE ON bills"
        " BEGIN SELECT RAISE(ABORT, 'immutable'); END;"
        "CREATE TRIGGER audit_stays BEFORE UPDATE ON audit"
        " BEGIN SELECT RAISE(ABORT, 'immutable'); END;",
        "CREATE FUNCTION stays() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'immutable'; END $$;"
        "CREATE TRIGGER transfers_stay BEFORE UPDATE OR DELETE ON transfers"
        " FOR EACH ROW EXECUTE FUNCTION stays();"
        "CREATE TRIGGER prices_stay BEFORE UPDATE ON prices"
        " FOR EACH ROW EXECUTE FUNCTION stays();"
        "CREATE TRIGGER bills_stay BEFORE UPDATE ON bills"
        " FOR EACH ROW EXECUTE FUNCTION stays();"
        "CREATE TRIGGER audit_stays BEFORE UPDATE ON audit"
        " FOR EACH ROW EXECUTE FUNCTION stays();",
    },
    {
        /* the transfers of a bill, which verifying looks for bill by bill */
        "CREATE INDEX transfers_reference ON transfers(reference);",
        "",
        "",
    },
    {
        /* dropped, 1: no recovery waits for it; where its bills go on is known all the same */
        "ALTER TABLE cursors DROP COLUMN last;"
        "ALTER TABLE cursors ADD COLUMN dropped BIGINT NOT NULL DEFAULT 0;",
        "",
        "",
    },
    {
        /* since when no bill of that key is taken, Unix seconds; 0: they are */
        "ALTER TABLE bill_keys ADD COLUMN revoked BIGINT NOT NULL DEFAULT 0;",
        "",
        "",
    },
};
enum { STEPS = sizeof(steps) / sizeof(steps[0]) };

static const struct word {
    const char *common, *sqlite, *postgres;
} words[] = {
    {"BIGINT", "INTEGER", "BIGINT"},
    {"BYTEA", "BLOB", "BYTEA"},
    {" STRICT", " STRICT", ""},
};

// Puts each database's own words into the common text.
static void translate(struct buf *out, const char *sql, bool postgres)
{
    while (*sql) {
        const struct word *found = NULL;
        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]) && !found; i++)
            if (strncmp(sql, words[i].common, strlen(words[i].common)) == 0)
                found = &words[i];
        if (!found) {
            buf_byte(out, (uint8_t)*sql++);
            continue;
        }
        buf_append_str(out, postgres ? found->postgres : found->sqlite);
        sql += strlen(found->common);
    }
}

static int read_version(struct db *s, int64_t *version)
{
    AUTO(rows_free) struct rows *rows = NULL;

    TRY(db_select(&rows, s, "SELECT version FROM schema_version", NULL, 0));
    const int row = rows_next(rows);
    TRY(row);
    *version = row > 0 ? rows_int(rows, 0) : 0;
    return 0;
}

static int make_version(struct db *s)
{
    AUTO(buf_fini) struct buf sql = {0};

    translate(&sql, "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL) STRICT",
              db_is_postgres(s));
    return db_script(s, buf_cstr(&sql));
}

static int run_step(struct db *s, int64_t number)
{
    const struct step *step = &steps[number];
    const char *own = db_is_postgres(s) ? step->postgres : step->sqlite;
    AUTO(buf_fini) struct buf sql = {0};

    translate(&sql, step->common, db_is_postgres(s));
    TRY(db_script(s, buf_cstr(&sql)));
    if (*own)
        TRY(db_script(s, own));
    TRY(db_run(s, "DELETE FROM schema_version", NULL, 0, NULL));
    return DB_RUN(s, NULL, "INSERT INTO schema_version (version) VALUES ($1)",
                  value_int(number + 1));
}

int schema_migrate(struct db *s)
{
    int64_t version = 0;

    TRY(make_version(s));
    TRY(read_version(s, &version));
    if (version > STEPS)
        return E_UNSUPPORTED;
    for (; version < STEPS; version++) {
        TRY(db_begin(s));
        TRY(db_end(s, run_step(s, version)));
    }
    return 0;
}

int schema_check(struct db *s)
{
    int64_t version = 0;

    if (read_version(s, &version) < 0)
        return E_UNSUPPORTED;
    return version == STEPS ? 0 : E_UNSUPPORTED;
}
