/* A key that counted once stays: bills that were taken are verified by it for ever, also after it
 * was revoked. */
#include "ledger/books/bill_keys.h"

#include <stdlib.h>

#include "base/encode.h"
#include "crypto/jws.h"
#include "ledger/books/record.h"

void bill_keys_fini(struct bill_keys *k)
{
    for (size_t i = 0; i < k->count; i++)
        ed25519_free(k->items[i].key);
    free(k->items);
    *k = (struct bill_keys){0};
}

static int add_key(struct bill_keys *k, struct span kid, struct span hex, bool revoked)
{
    AUTO(ed25519_free) struct ed25519 *key = NULL;
    uint8_t public_key[ED25519_KEY_LEN];
    char own[JWS_KID_LEN + 1];

    TRY(hex_decode(public_key, sizeof(public_key), hex));
    jws_kid(own, public_key);
    if (!span_is(kid, own))
        return E_INVALID;
    TRY(ed25519_from_public(&key, SPAN_OF(public_key)));
    k->items = mem_grow(k->items, (k->count + 1) * sizeof(*k->items));
    struct bill_key *it = &k->items[k->count++];
    *it = (struct bill_key){.key = key, .revoked = revoked};
    key = NULL;
    memcpy(it->kid, own, sizeof(own));
    return 0;
}

// Columns kid, public_key, revoked. What is no key is passed over, and told at the end.
static int add_rows(struct bill_keys *k, struct rows *rows, bool believed)
{
    int row, error = 0;

    while ((row = rows_next(rows)) > 0)
        if (add_key(k, rows_bytes(rows, 0), rows_bytes(rows, 1),
                    !believed && rows_int(rows, 2) != 0) < 0)
            error = E_INVALID;
    return row < 0 ? row : error;
}

int bill_keys_read(struct books *b, bool believed, struct bill_keys *out)
{
    AUTO(rows_free) struct rows *rows = NULL;

    *out = (struct bill_keys){0};
    TRY(db_select(&rows, b->db, "SELECT kid, public_key, revoked FROM bill_keys", NULL, 0));
    return add_rows(out, rows, believed);
}

enum bill_key_state bill_keys_state(const struct bill_keys *k, struct span kid)
{
    for (size_t i = 0; i < k->count; i++)
        if (span_is(kid, k->items[i].kid))
            return k->items[i].revoked ? BILL_KEY_REVOKED : BILL_KEY_COUNTS;
    return BILL_KEY_UNKNOWN;
}

int bill_keys_add(struct books *b, struct bill_keys *k, struct span kid, struct span hex,
                  bool *added)
{
    AUTO(rows_free) struct rows *rows = NULL;
    int64_t inserted;

    *added = false;
    if (bill_keys_state(k, kid) != BILL_KEY_UNKNOWN)
        return 0;
    TRY(DB_RUN(b->db, &inserted,
               "INSERT INTO bill_keys (kid, public_key, since) VALUES ($1, $2, $3) "
               "ON CONFLICT DO NOTHING",
               value_text(kid), value_text(hex), value_int((int64_t)b->now_s)));
    *added = inserted > 0;
    TRY(DB_SELECT(&rows, b->db, "SELECT kid, public_key, revoked FROM bill_keys WHERE kid = $1",
                  value_text(kid)));
    return add_rows(k, rows, false);
}

// The key of the header is found before any signature is computed: others are refused by their kid.
int bill_keys_verify(const struct bill_keys *k, struct span jws, struct bill *out)
{
    int error = E_AUTH;

    for (size_t i = 0; i < k->count && error == E_AUTH; i++)
        if (!k->items[i].revoked)
            error = bill_verify(out, k->items[i].key, jws);
    return error;
}

// ---- What the operator sees and does ------------------------------------------------------------

static json_t *key_json(const struct rows *rows)
{
    json_t *it = record_object();

    record_set_text(it, "kid", rows_bytes(rows, 0));
    record_set_text(it, "ed25519", rows_bytes(rows, 1));
    record_set_int(it, "since", rows_int(rows, 2));
    record_set_int(it, "revoked", rows_int(rows, 3));
    return it;
}

#define SELECT_KEYS "SELECT kid, public_key, since, revoked FROM bill_keys "

int bill_keys_list(struct books *b, const char *account, const char *after, size_t limit,
                   json_t **out)
{
    AUTO(rows_free) struct rows *rows = NULL;

    (void)account;
    *out = NULL;
    TRY(DB_SELECT(&rows, b->db, SELECT_KEYS "WHERE kid > $1 ORDER BY kid LIMIT $2",
                  value_str(after), value_int((int64_t)limit + 1)));
    return record_page(rows, limit, key_json, out);
}

static int find(struct books *b, const char *kid, json_t **out)
{
    AUTO(rows_free) struct rows *rows = NULL;

    *out = NULL;
    TRY(DB_SELECT(&rows, b->db, SELECT_KEYS "WHERE kid = $1", value_str(kid)));
    return record_one(rows, key_json, out);
}

int bill_key_revoke(struct books *b, const struct actor *a, const char *kid, bool revoked,
                    json_t **out)
{
    AUTO_JSON json_t *before = NULL;

    *out = NULL;
    TRY(find(b, kid, &before));
    if (revoked == (record_int(before, "revoked", 0) != 0)) {
        books_why(revoked ? "it is revoked already" : "it is not revoked");
        return E_DENIED;
    }
    TRY(DB_RUN(b->db, NULL, "UPDATE bill_keys SET revoked = $2 WHERE kid = $1", value_str(kid),
               value_int(revoked ? (int64_t)b->now_s : 0)));
    TRY(find(b, kid, out));
    return audit_note(b, a, revoked ? "bill_key.revoke" : "bill_key.reinstate", kid, before, *out);
}
