/* One row a fact. */
#include "ledger/books/facts.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/encode.h"
#include "base/random.h"

enum { MARK_BYTES = 16 };

// "" when there is none.
static int fact_read(struct books *b, const char *name, char *out, size_t size)
{
    AUTO(rows_free) struct rows *rows = NULL;

    out[0] = '\0';
    TRY(DB_SELECT(&rows, b->db, "SELECT value FROM facts WHERE name = $1", value_str(name)));
    const int row = rows_next(rows);
    return row > 0 ? span_cstr(rows_bytes(rows, 0), out, size) : row;
}

static int fact_write(struct books *b, const char *name, const char *value)
{
    return DB_RUN(b->db, NULL,
                  "INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE "
                  "SET value = excluded.value",
                  value_str(name), value_str(value));
}

static int sum_versions(struct books *b, int64_t *sum)
{
    AUTO(rows_free) struct rows *rows = NULL;

    TRY(db_select(&rows, b->db, "SELECT CAST(COALESCE(SUM(version), 0) AS BIGINT) FROM keys", NULL,
                  0));
    const int row = rows_next(rows);
    *sum = row > 0 ? rows_int(rows, 0) : 0;
    return row < 0 ? row : 0;
}

int facts_keys_marker(struct books *b, char out[static FACTS_MARKER_LEN])
{
    char mark[2 * MARK_BYTES + 1];
    uint8_t bytes[MARK_BYTES];
    int64_t sum;

    TRY(fact_read(b, "mark", mark, sizeof(mark)));
    if (!mark[0]) {
        random_bytes(bytes, sizeof(bytes));
        hex_encode(mark, SPAN_OF(bytes));
        TRY(fact_write(b, "mark", mark));
    }
    TRY(sum_versions(b, &sum));
    snprintf(out, FACTS_MARKER_LEN, "%s:%" PRId64, mark, sum);
    return 0;
}

int facts_epoch(struct books *b, int64_t *n)
{
    char text[24];
    uint64_t number = 0;

    TRY(fact_read(b, "epoch", text, sizeof(text)));
    if (text[0])
        TRY(span_u64(span_str(text), INT32_MAX, &number));
    *n = (int64_t)number;
    return 0;
}

int facts_epoch_next(struct books *b, int64_t above, int64_t *n)
{
    char text[24];

    TRY(facts_epoch(b, n));
    *n = (*n > above ? *n : above) + 1;
    if (*n > INT32_MAX)
        return E_TOO_LARGE;
    snprintf(text, sizeof(text), "%" PRId64, *n);
    return fact_write(b, "epoch", text);
}
