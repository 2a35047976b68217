/* Whose bills count while the books cannot be read, and afterwards. */
#include "tests/unit/ledger/books/fixture.h"

#include "ledger/keyring.h"

struct ring {
    struct ledger_config settings;
    struct config_snapshot config;
    struct ledger ledger;
    struct keyring *keys;
    char kid[JWS_KID_LEN + 1]; /* of the fixture's gateway */
};

static void open_ring(struct ring *r, struct fixture *f)
{
    uint8_t public_key[ED25519_KEY_LEN];

    *r = (struct ring){.config.values = &r->settings,
                       .ledger = {.config = &r->config, .books = f->books}};
    ed25519_public(f->key, public_key);
    jws_kid(r->kid, public_key);
    assert_int_equal(keyring_new(&r->keys, &r->ledger), 0);
}

static enum bill_key_state state_of(const struct ring *r)
{
    return bill_keys_state(keyring_keys(r->keys), span_str(r->kid));
}

static void revoke_key(struct ring *r, struct fixture *f)
{
    AUTO_JSON json_t *shown = NULL;

    IN_BOOKS(f, bill_key_revoke(f->books, &root, r->kid, true, &shown));
    keyring_changed(r->keys);
}

static void take_away(struct fixture *f)
{
    assert_int_equal(db_script(f->books->db, "ALTER TABLE bill_keys RENAME TO away"), 0);
}

static void give_back(struct fixture *f)
{
    assert_int_equal(db_script(f->books->db, "ALTER TABLE away RENAME TO bill_keys"), 0);
}

static void keys_that_cannot_be_read_anew_stay_as_they_were(void **state)
{
    struct fixture *f = *state;
    struct ring r;

    open_ring(&r, f);
    revoke_key(&r, f);
    assert_int_equal(keyring_ready(r.keys), 0);
    assert_int_equal(state_of(&r), BILL_KEY_REVOKED);
    take_away(f);
    keyring_changed(r.keys);
    assert_true(keyring_ready(r.keys) < 0);
    assert_int_equal(state_of(&r), BILL_KEY_REVOKED);
    give_back(f);
    keyring_free(r.keys);
}

static void nothing_is_ready_until_a_key_that_was_revoked_is_seen_so(void **state)
{
    struct fixture *f = *state;
    struct ring r;

    open_ring(&r, f);
    assert_int_equal(keyring_ready(r.keys), 0);
    assert_int_equal(state_of(&r), BILL_KEY_COUNTS);
    revoke_key(&r, f);
    take_away(f);
    for (int i = 0; i < 3; i++)
        assert_true(keyring_ready(r.keys) < 0);
    give_back(f);
    assert_int_equal(keyring_ready(r.keys), 0);
    assert_int_equal(state_of(&r), BILL_KEY_REVOKED);
    take_away(f); /* no more is read than must be */
    assert_int_equal(keyring_ready(r.keys), 0);
    give_back(f);
    keyring_free(r.keys);
}

static void a_key_that_is_added_anew_is_what_the_books_say_of_it(void **state)
{
    struct fixture *f = *state;
    AUTO(bill_keys_fini) struct bill_keys empty = {0};
    char hex[2 * ED25519_KEY_LEN + 1];
    uint8_t public_key[ED25519_KEY_LEN];
    bool added = true;
    struct ring r;

    open_ring(&r, f);
    revoke_key(&r, f);
    ed25519_public(f->key, public_key);
    hex_encode(hex, SPAN_OF(public_key));
    IN_BOOKS(f, bill_keys_add(f->books, &empty, span_str(r.kid), span_str(hex), &added));
    assert_false(added);
    assert_int_equal(bill_keys_state(&empty, span_str(r.kid)), BILL_KEY_REVOKED);
    NOT_IN_BOOKS(f, bill_keys_add(f->books, &empty, SPAN("another"), span_str(hex), &added),
                 E_INVALID);
    keyring_free(r.keys);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        CASE(keys_that_cannot_be_read_anew_stay_as_they_were),
        CASE(nothing_is_ready_until_a_key_that_was_revoked_is_seen_so),
        CASE(a_key_that_is_added_anew_is_what_the_books_say_of_it),
    };

    return RUN_ON_BOTH(tests);
}
