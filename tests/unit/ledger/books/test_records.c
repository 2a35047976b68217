/* Accounts, keys, prices, invitations, webhooks and statements of the books, on both databases. */
#include "tests/unit/ledger/books/fixture.h"

#include "ledger/books/facts.h"
#include "ledger/books/hook.h"
#include "ledger/books/invite.h"
#include "ledger/books/key.h"
#include "ledger/books/price_file.h"
#include "ledger/books/usage.h"

/* ---- Accounts ---- */

static void an_account_keeps_what_was_set_and_audits_each_change(void **state)
{
    struct fixture *f = *state;
    AUTO_JSON json_t *body = json_of("{\"id\":\"acme\",\"limits\":{\"streams\":4},\"budgets\":"
                                     "{\"month\":\"5000000000\"},\"models\":[\"m\"]}");
    AUTO_JSON json_t *change = json_of("{\"limits\":{\"streams\":null,\"tokens_per_minute\":9},"
                                       "\"state\":\"suspended\"}");
    AUTO_JSON json_t *made = NULL, *changed = NULL, *audit = NULL;

    IN_BOOKS(f, account_create(f->books, &root, body, &made));
    assert_int_equal(record_int(made, "limits.streams", 0), 4);
    IN_BOOKS(f, account_change(f->books, &root, "acme", change, &changed));
    assert_null(record_at(changed, "limits.streams"));
    assert_int_equal(record_int(changed, "limits.tokens_per_minute", 0), 9);
    assert_string_equal(record_text(changed, "budgets.month", ""), "5000000000");
    assert_string_equal(record_text(changed, "state", ""), "suspended");
    assert_int_equal(record_int(changed, "version", 0), 2);
    IN_BOOKS(f, audit_list(f->books, "acme", 0, 10, &audit));
    const json_t *last = json_array_get(json_object_get(audit, "data"), 0);
    assert_string_equal(record_text(last, "action", ""), "account.change");
    assert_string_equal(record_text(last, "who", ""), "uid:0 root");
    assert_int_equal(record_int(last, "before.limits.streams", 0), 4);
    assert_string_equal(record_text(last, "after.state", ""), "suspended");
}

static void what_an_account_cannot_be_is_refused_by_name(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *body, *says;
    } cases[] = {
        {"{}", "id"},
        {"{\"id\":\"a b\"}", "id"},
        {"{\"id\":\"a\",\"limit\":{}}", "member"},
        {"{\"id\":\"a\",\"limits\":{\"stream\":1}}", "limits"},
        {"{\"id\":\"a\",\"limits\":3}", "limits"},
        {"{\"id\":\"a\",\"limits\":{\"streams\":-1}}", "limits.streams"},
        {"{\"id\":\"a\",\"budgets\":{\"day\":5}}", "budgets.day"},
        {"{\"id\":\"a\",\"budgets\":{\"day\":\"9007199254740992\"}}", "budgets.day"},
        {"{\"id\":\"a\",\"models\":[1]}", "models"},
        {"{\"id\":\"a\",\"weight\":0}", "weight"},
        {"{\"id\":\"a\",\"weight\":1001}", "weight"},
        {"{\"id\":\"a\",\"state\":\"closed\"}", "state"},
        {"{\"id\":\"a\",\"name\":\"a\\u0007\"}", "name"},
        {"{\"id\":\"a\",\"per_model\":{\"m\":{\"x\":1}}}", "per_model"},
        {"{\"id\":\"a\",\"limits.streams\":1}", "member"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO_JSON json_t *body = json_of(cases[i].body);
        NOT_IN_BOOKS(f, account_create(f->books, &root, body, NULL), E_INVALID);
        if (!strstr(books_reason(), cases[i].says))
            fail_msg("%s: %s", cases[i].body, books_reason());
    }
    make_account(f, "a", 0);
    AUTO_JSON json_t *again = json_of("{\"id\":\"a\"}");
    NOT_IN_BOOKS(f, account_create(f->books, &root, again, NULL), E_EXISTS);
}

static void limits_of_a_model_that_are_taken_away_stay_as_none(void **state)
{
    struct fixture *f = *state;
    AUTO_JSON json_t *set =
        json_of("{\"per_model\":{\"m\":{\"streams\":2},\"n\":{\"streams\":3}}}");
    AUTO_JSON json_t *less = json_of("{\"per_model\":{\"n\":{\"streams\":4}}}");
    AUTO_JSON json_t *after = NULL;

    make_account(f, "a", 0);
    IN_BOOKS(f, account_change(f->books, &root, "a", set, NULL));
    IN_BOOKS(f, account_change(f->books, &root, "a", less, &after));
    const json_t *m = json_object_get(json_object_get(after, "per_model"), "m");
    assert_true(json_is_object(m)); /* so that Redis is told */
    assert_int_equal(json_object_size(m), 0);
}

/* ---- Keys ---- */

struct projected {
    size_t count, live;
    struct key_record *last;
};

static void note_record(void *arg, const char *lookup, struct span record)
{
    struct projected *p = arg;

    assert_int_equal(strlen(lookup), 2 * KEY_LOOKUP_LEN);
    key_record_unref(p->last);
    p->last = NULL;
    assert_int_equal(key_record_parse(&p->last, record), 0);
    p->count++;
    p->live += key_record_live(p->last);
}

static struct projected project(struct fixture *f, const char *id)
{
    AUTO_JSON json_t *key = NULL;
    struct projected p = {0};

    IN_BOOKS(f, key_find(f->books, id, &key));
    IN_BOOKS(f, key_project(f->books, key, note_record, &p));
    return p;
}

static void create_key(struct fixture *f, const char *body_text, struct buf *text, char id[16])
{
    AUTO_JSON json_t *body = json_of(body_text);
    AUTO_JSON json_t *made = NULL;

    IN_BOOKS(f, key_create(f->books, &root, body, text, &made));
    snprintf(id, 16, "%s", record_text(made, "id", ""));
}

static void a_key_is_bounded_by_its_project_and_account(void **state)
{
    struct fixture *f = *state;
    AUTO_JSON json_t *account = json_of(
        "{\"id\":\"acme\",\"models\":[\"a\",\"b\"],\"max_coefficient\":1500,\"max_output\":100,"
        "\"weight\":300}");
    AUTO_JSON json_t *part =
        json_of("{\"account\":\"acme\",\"id\":\"web\",\"end_to_end_only\":true,\"max_output\":50}");
    AUTO(buf_wipe) struct buf text = {0};
    char id[16];

    IN_BOOKS(f, account_create(f->books, &root, account, NULL));
    IN_BOOKS(f, project_create(f->books, &root, part, NULL));
    create_key(f,
               "{\"account\":\"acme\",\"project\":\"web\",\"scopes\":{\"models\":[\"b\",\"c\"]},"
               "\"limits\":{\"streams\":3,\"max_output\":70},\"budgets\":{\"total\":\"7\"}}",
               &text, id);
    struct projected p = project(f, id);
    assert_true(p.last->metered && p.last->end_to_end_only);
    assert_false(key_allows_model(p.last, SPAN("a")));
    assert_true(key_allows_model(p.last, SPAN("b")));
    assert_false(key_allows_model(p.last, SPAN("c")));
    assert_int_equal(p.last->max_output, 50);
    assert_int_equal(p.last->streams, 3);
    assert_int_equal(p.last->max_coefficient, 1500);
    assert_int_equal(p.last->weight, 300);
    assert_true(p.last->budget_total == 7);
    key_record_unref(p.last);
}

static void answers_are_replayed_where_the_account_says_so_not_the_key(void **state)
{
    struct fixture *f = *state;
    AUTO_JSON json_t *on = json_of("{\"replay_answers\":true}");
    AUTO_JSON json_t *off = json_of("{\"replay_answers\":false}");
    AUTO_JSON json_t *of_key = json_of("{\"account\":\"acme\",\"replay_answers\":true}");
    AUTO(buf_wipe) struct buf text = {0}, none = {0};
    char id[16];

    make_account(f, "acme", 0);
    NOT_IN_BOOKS(f, key_create(f->books, &root, of_key, &none, NULL), E_INVALID);
    create_key(f, "{\"account\":\"acme\"}", &text, id);
    struct projected p = project(f, id);
    assert_false(p.last->replay_answers);
    key_record_unref(p.last);
    IN_BOOKS(f, account_change(f->books, &root, "acme", on, NULL));
    p = project(f, id);
    assert_true(p.last->replay_answers);
    key_record_unref(p.last);
    IN_BOOKS(f, account_change(f->books, &root, "acme", off, NULL));
    p = project(f, id);
    assert_false(p.last->replay_answers);
    key_record_unref(p.last);
}

static void a_rotated_key_has_two_live_secrets_at_most(void **state)
{
    struct fixture *f = *state;
    AUTO(buf_wipe) struct buf text = {0};
    uint64_t version = 0;
    char id[16];

    make_account(f, "acme", 0);
    f->books->fixed_ms = 0; /* records live by the real clock */
    create_key(f, "{\"account\":\"acme\"}", &text, id);
    for (int i = 1; i < 20; i++) {
        IN_BOOKS(f, key_rotate(f->books, &root, id, 3600, &text, NULL));
        struct projected p = project(f, id);
        assert_int_equal(p.live, 2);
        assert_int_equal(p.count, i + 1 < KEY_NOTED_SECRETS ? i + 1 : KEY_NOTED_SECRETS);
        assert_true(p.last->version > version);
        version = p.last->version;
        key_record_unref(p.last);
    }
    IN_BOOKS(f, key_rotate(f->books, &root, id, 0, &text, NULL));
    struct projected p = project(f, id);
    assert_int_equal(p.live, 1);
    key_record_unref(p.last);
}

static void a_revoked_key_never_lives_again(void **state)
{
    struct fixture *f = *state;
    AUTO(buf_wipe) struct buf text = {0};
    AUTO_JSON json_t *change = json_of("{\"name\":\"x\"}");
    char id[16];

    make_account(f, "acme", 0);
    create_key(f, "{\"account\":\"acme\",\"name\":\"k\"}", &text, id);
    IN_BOOKS(f, key_revoke(f->books, &root, "k", NULL));
    NOT_IN_BOOKS(f, key_revoke(f->books, &root, id, NULL), E_EXISTS);
    NOT_IN_BOOKS(f, key_rotate(f->books, &root, id, 0, &text, NULL), E_DENIED);
    IN_BOOKS(f, key_change(f->books, &root, id, change, NULL));
    struct projected p = project(f, id);
    assert_int_equal(p.live, 0);
    assert_true(p.last->revoked);
    key_record_unref(p.last);
}

static void no_secret_is_in_the_books(void **state)
{
    struct fixture *f = *state;
    AUTO(buf_wipe) struct buf text = {0};
    AUTO_JSON json_t *key = NULL, *audit = NULL;
    AUTO(buf_fini) struct buf all = {0};
    char id[16];

    make_account(f, "acme", 0);
    create_key(f, "{\"account\":\"acme\"}", &text, id);
    IN_BOOKS(f, key_find(f->books, id, &key));
    IN_BOOKS(f, audit_list(f->books, "", 0, 100, &audit));
    record_write(&all, key);
    record_write(&all, audit);
    assert_true(span_find(buf_span(&all), SPAN("sk-cocoon-")) < 0);
    assert_true(span_find(buf_span(&all), SPAN("sha256")) < 0);
}

static void a_key_needs_an_account_and_internal_needs_its_grant(void **state)
{
    struct fixture *f = *state;
    AUTO(buf_wipe) struct buf text = {0};
    AUTO_JSON json_t *nowhere = json_of("{\"account\":\"none\"}");
    AUTO_JSON json_t *part = json_of("{\"account\":\"acme\",\"project\":\"none\"}");
    AUTO_JSON json_t *internal = json_of("{\"account\":\"acme\",\"class\":\"internal\"}");
    AUTO_JSON json_t *grant = json_of("{\"internal\":true}"),
                     *taken = json_of("{\"internal\":null}");
    char id[16];

    make_account(f, "acme", 0);
    NOT_IN_BOOKS(f, key_create(f->books, &root, nowhere, &text, NULL), E_INVALID);
    NOT_IN_BOOKS(f, key_create(f->books, &root, part, &text, NULL), E_INVALID);
    NOT_IN_BOOKS(f, key_create(f->books, &root, internal, &text, NULL), E_INVALID);
    IN_BOOKS(f, account_change(f->books, &root, "acme", grant, NULL));
    create_key(f, "{\"account\":\"acme\",\"class\":\"internal\"}", &text, id);
    struct projected p = project(f, id);
    assert_string_equal(p.last->class, "internal");
    key_record_unref(p.last);
    IN_BOOKS(f, account_change(f->books, &root, "acme", taken, NULL));
    p = project(f, id);
    assert_string_equal(p.last->class, "batch");
    key_record_unref(p.last);
}

/* ---- Prices ---- */

static void a_price_book_is_applied_once_and_never_edited(void **state)
{
    struct fixture *f = *state;
    AUTO_JSON json_t *dry = NULL, *first = NULL, *again = NULL, *second = NULL, *out = NULL;
    const struct span changed = SPAN("version: 1\nmodels: {m: {prompt: 1, completion: 2}}\n");
    const struct span next = SPAN("version: 3\nmodels: {m: {prompt: 1, completion: 2}}\n");
    const struct span older = SPAN("version: 2\nmodels: {m: {prompt: 1, completion: 2}}\n");

    IN_BOOKS(f, prices_apply(f->books, &root, SPAN(PRICE_YAML), true, &dry));
    NOT_IN_BOOKS(f, prices_find(f->books, 0, &out), E_NOT_FOUND);
    IN_BOOKS(f, prices_apply(f->books, &root, SPAN(PRICE_YAML), false, &first));
    assert_true(json_is_true(json_object_get(first, "fresh")));
    IN_BOOKS(f, prices_apply(f->books, &root, SPAN(PRICE_YAML), false, &again));
    assert_true(json_is_false(json_object_get(again, "fresh")));
    NOT_IN_BOOKS(f, prices_apply(f->books, &root, changed, false, &out), E_EXISTS);
    IN_BOOKS(f, prices_apply(f->books, &root, next, false, &second));
    assert_string_equal(record_text(second, "before.models.m.prompt", ""), "3000000");
    assert_string_equal(record_text(second, "after.models.m.prompt", ""), "1");
    NOT_IN_BOOKS(f, prices_apply(f->books, &root, older, false, &out), E_EXISTS);
}

static void read_prices(const char *yaml, struct buf *json, struct buf *why)
{
    buf_clear(json);
    buf_clear(why);
    if (price_file_read(span_str(yaml), json, why) < 0)
        fail_msg("%s: %s", yaml, buf_cstr(why));
}

static void a_base_price_with_multipliers_is_exact(void **state)
{
    AUTO(buf_fini) struct buf json = {0};
    AUTO(buf_fini) struct buf why = {0};

    (void)state;
    read_prices("version: 7\nmodels:\n  m: {base: 3, prompt_multiplier: 3333, "
                "cached_multiplier: 1, completion_multiplier: 20000}\n",
                &json, &why);
    assert_string_equal(buf_cstr(&json),
                        "{\"commission_bps\":0,\"currency\":\"TON\",\"format\":\"cgw/prices/v1\","
                        "\"models\":{\"m\":{\"cached\":\"300\",\"completion\":\"6000000\","
                        "\"minimum\":\"0\",\"per_request\":\"0\",\"prompt\":\"999900\","
                        "\"reasoning\":\"6000000\"}},\"version\":7}");
}

static void a_price_file_that_is_wrong_says_where(void **state)
{
    static const struct {
        const char *yaml, *says;
    } cases[] = {
        {"", "1:1"},
        {"[]", "must be a map"},
        {"version: 1\n", "models is missing"},
        {"models: {m: {prompt: 1, completion: 1}}\n", "version is missing"},
        {"version: 0\nmodels: {m: {prompt: 1, completion: 1}}\n", "1:10"},
        {"version: 1\nmodels: {m: {prompt: 1}}\n", "completion is missing"},
        {"version: 1\nmodels: {m: {prompt: -1, completion: 1}}\n", "2:22"},
        {"version: 1\nmodels: {m: {prompt: 1.5, completion: 1}}\n", "2:22"},
        {"version: 1\nmodels: {m: {prompt: 1, completion: 1, base: 1}}\n", "is not known here"},
        {"version: 1\nmodels: {m: {prompt: 1, completion: 1, extra: 1}}\n", "is not known here"},
        {"version: 1\ncommission_bps: 10001\nmodels: {m: {prompt: 1, completion: 1}}\n", "2:17"},
        {"version: 1\nvalid_from: soon\nmodels: {m: {prompt: 1, completion: 1}}\n",
         "must be a date"},
        {"version: 1\nvalid_from: 2027-02-31\nmodels: {m: {prompt: 1, completion: 1}}\n",
         "must be a date"},
        {"version: 1\nmodels: {m: {base: 1000000000000000}}\n", "too large"},
    };
    AUTO(buf_fini) struct buf json = {0};
    AUTO(buf_fini) struct buf why = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        buf_clear(&why);
        assert_int_equal(price_file_read(span_str(cases[i].yaml), &json, &why), E_INVALID);
        if (!strstr(buf_cstr(&why), cases[i].says))
            fail_msg("%s: %s", cases[i].yaml, buf_cstr(&why));
    }
}

/* ---- Invitations ---- */

static int redeem(struct fixture *f, const struct buf *code, const char *id, json_t **out)
{
    AUTO_JSON json_t *body =
        json_pack("{s:s#, s:s}", "code", (const char *)code->data, (int)code->len, "id", id);

    return invite_redeem(f->books, &root, body, out);
}

static void an_invitation_makes_as_many_accounts_as_it_says(void **state)
{
    struct fixture *f = *state;
    AUTO_JSON json_t *body = json_of("{\"uses\":2,\"credit\":\"500\",\"account\":{\"limits\":"
                                     "{\"streams\":1},\"models\":[\"m\"]}}");
    AUTO_JSON json_t *bad = json_of("{\"account\":{\"limit\":1}}");
    AUTO_JSON json_t *invite = NULL, *one = NULL, *two = NULL, *none = NULL;
    AUTO(buf_wipe) struct buf code = {0};

    NOT_IN_BOOKS(f, invite_create(f->books, &root, bad, &code, &none), E_INVALID);
    IN_BOOKS(f, invite_create(f->books, &root, body, &code, &invite));
    IN_BOOKS(f, redeem(f, &code, "one", &one));
    assert_int_equal(record_int(one, "limits.streams", 0), 1);
    assert_string_equal(record_text(one, "balance", ""), "500");
    NOT_IN_BOOKS(f, redeem(f, &code, "one", &none), E_EXISTS); /* and is not counted */
    IN_BOOKS(f, redeem(f, &code, "two", &two));
    NOT_IN_BOOKS(f, redeem(f, &code, "three", &none), E_DENIED);
    ASSERT_VERIFIED(f);
}

static void an_invitation_that_ended_or_was_revoked_makes_none(void **state)
{
    struct fixture *f = *state;
    AUTO_JSON json_t *body = json_pack("{s:I}", "expires", (json_int_t)(1750000000 + 10));
    AUTO_JSON json_t *first = NULL, *second = NULL, *none = NULL, *revoked = NULL;
    AUTO(buf_wipe) struct buf code = {0};
    AUTO(buf_wipe) struct buf other = {0};

    IN_BOOKS(f, invite_create(f->books, &root, body, &code, &first));
    IN_BOOKS(f, invite_create(f->books, &root, body, &other, &second));
    IN_BOOKS(f, invite_revoke(f->books, &root, record_text(second, "id", ""), &revoked));
    NOT_IN_BOOKS(f, redeem(f, &other, "x", &none), E_DENIED);
    f->books->fixed_ms += 11000;
    NOT_IN_BOOKS(f, redeem(f, &code, "x", &none), E_DENIED);
}

/* ---- Webhooks ---- */

static void make_hook(struct fixture *f, const char *events, struct buf *secret)
{
    AUTO_JSON json_t *body = json_pack("{s:s, s:s, s:o}", "account", "acme", "url",
                                       "https://example.org/h", "events", json_of(events));
    AUTO_JSON json_t *out = NULL;

    IN_BOOKS(f, hook_create(f->books, &root, body, false, secret, &out));
}

static void an_event_is_told_once_to_who_wants_it(void **state)
{
    struct fixture *f = *state;
    AUTO(buf_wipe) struct buf secret = {0};
    AUTO_JSON json_t *data = json_of("{\"key\":\"1\"}");
    struct hook_due due;
    size_t queued = 9;

    make_account(f, "acme", 0);
    make_hook(f, "[\"key.revoked\",\"balance.low\"]", &secret);
    make_hook(f, "[\"balance.low\"]", &secret);
    IN_BOOKS(f, hook_tell(f->books, "acme", "key.revoked", "key/1", data, &queued));
    assert_int_equal(queued, 1);
    IN_BOOKS(f, hook_tell(f->books, "acme", "key.revoked", "key/1", data, &queued));
    assert_int_equal(queued, 0);
    IN_BOOKS(f, hook_tell(f->books, "other", "key.revoked", "key/1", data, &queued));
    assert_int_equal(queued, 0);
    IN_BOOKS(f, hook_take_due(f->books, "", &due));
    assert_non_null(strstr(due.payload, "\"type\":\"key.revoked\""));
    assert_int_equal(due.secret.len, 32);
    NOT_IN_BOOKS(f, hook_take_due(f->books, "", &(struct hook_due){0}),
                 E_NOT_FOUND); /* under way */
    IN_BOOKS(f, hook_told(f->books, &due, 200));
    f->books->fixed_ms += 100000000;
    NOT_IN_BOOKS(f, hook_take_due(f->books, "", &(struct hook_due){0}), E_NOT_FOUND);
    hook_due_fini(&due);
}

static void a_hook_that_is_busy_is_passed_over(void **state)
{
    struct fixture *f = *state;
    AUTO(buf_wipe) struct buf secret = {0};
    AUTO_JSON json_t *data = json_of("{}");
    struct hook_due first, second;
    char both[96];
    size_t queued = 0;

    make_account(f, "acme", 0);
    make_hook(f, "[\"balance.low\"]", &secret);
    make_hook(f, "[\"balance.low\"]", &secret);
    IN_BOOKS(f, hook_tell(f->books, "acme", "balance.low", "x", data, &queued));
    IN_BOOKS(f, hook_tell(f->books, "acme", "balance.low", "y", data, &queued));
    IN_BOOKS(f, hook_take_due(f->books, "", &first));
    IN_BOOKS(f, hook_take_due(f->books, first.hook, &second));
    assert_string_not_equal(first.hook, second.hook);
    snprintf(both, sizeof(both), "%s %s", first.hook, second.hook);
    f->books->fixed_ms += 100000000; /* the next try of each is due, too */
    NOT_IN_BOOKS(f, hook_take_due(f->books, both, &(struct hook_due){0}), E_NOT_FOUND);
    hook_due_fini(&second);
    IN_BOOKS(f, hook_take_due(f->books, first.hook, &second));
    assert_string_not_equal(first.hook, second.hook);
    hook_due_fini(&first);
    hook_due_fini(&second);
}

static void what_is_due_is_given_back_when_its_try_is_not_noted(void **state)
{
    struct fixture *f = *state;
    AUTO(buf_wipe) struct buf secret = {0};
    AUTO_JSON json_t *data = json_of("{}");
    struct hook_due due;
    size_t queued;

    make_account(f, "acme", 0);
    make_hook(f, "[\"balance.low\"]", &secret);
    IN_BOOKS(f, hook_tell(f->books, "acme", "balance.low", "x", data, &queued));
    assert_int_equal(db_script(f->books->db, "ALTER TABLE deliveries ADD COLUMN untried INTEGER "
                                             "DEFAULT 0 CHECK (tries = 0)"),
                     0);
    NOT_IN_BOOKS(f, hook_take_due(f->books, "", &due), E_EXISTS);
    assert_null(due.url);
    assert_null(due.payload);
    assert_null(due.secret.data);
}

static void a_hook_whose_secret_is_damaged_holds_up_no_other(void **state)
{
    static const char *const damaged[] = {"whsec_!!", "", "x"};
    struct fixture *f = *state;
    AUTO(buf_wipe) struct buf secret = {0};
    AUTO_JSON json_t *data = json_of("{}");
    size_t queued;

    make_account(f, "acme", 0);
    make_hook(f, "[\"balance.low\"]", &secret);
    for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
        struct hook_due due;
        IN_BOOKS(f, hook_tell(f->books, "acme", "balance.low", damaged[i], data, &queued));
        IN_BOOKS(f,
                 DB_RUN(f->books->db, NULL, "UPDATE hooks SET secret = $1", value_str(damaged[i])));
        IN_BOOKS(f, hook_take_due(f->books, "", &due));
        assert_int_equal(due.secret.len, 0);
        assert_non_null(due.payload);
        hook_due_fini(&due);
        NOT_IN_BOOKS(f, hook_take_due(f->books, "", &(struct hook_due){0}), E_NOT_FOUND);
    }
}

static void a_delivery_is_tried_again_later_and_later_with_the_same_id(void **state)
{
    struct fixture *f = *state;
    AUTO(buf_wipe) struct buf secret = {0};
    AUTO_JSON json_t *data = json_of("{}");
    struct hook_due due;
    char id[40] = "";
    size_t queued;
    int tries = 0;

    make_account(f, "acme", 0);
    make_hook(f, "[\"balance.low\"]", &secret);
    IN_BOOKS(f, hook_tell(f->books, "acme", "balance.low", "x", data, &queued));
    for (int hour = 0; hour < 24 * 7; hour++) {
        assert_int_equal(books_begin(f->books), 0);
        const int found = books_end(f->books, hook_take_due(f->books, "", &due));
        f->books->fixed_ms += 3600000;
        if (found == E_NOT_FOUND)
            continue;
        assert_int_equal(found, 0);
        assert_true(!id[0] || strcmp(id, due.id) == 0);
        snprintf(id, sizeof(id), "%s", due.id);
        IN_BOOKS(f, hook_told(f->books, &due, 500));
        hook_due_fini(&due);
        tries++;
    }
    assert_int_equal(tries, HOOK_TRIES_MAX);
}

// The vector of the Standard Webhooks specification's reference libraries.
static void a_signature_is_that_of_standard_webhooks(void **state)
{
    AUTO(buf_fini) struct buf secret = {0};
    AUTO(buf_fini) struct buf out = {0};

    (void)state;
    assert_int_equal(base64_decode(&secret, SPAN("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")), 0);
    hook_sign(&out, buf_span(&secret), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
              SPAN("{\"test\": 2432232314}"));
    assert_string_equal(buf_cstr(&out), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

static void a_url_that_is_no_public_https_is_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const urls[] = {
        "http://example.org/",      "ftp://example.org/",     "https://",
        "https://u:p@example.org/", "https://example.org/#x", "https://exa mple.org/"};

    make_account(f, "acme", 0);
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        AUTO_JSON json_t *body = json_pack("{s:s, s:s, s:[s]}", "account", "acme", "url", urls[i],
                                           "events", "balance.low");
        AUTO(buf_wipe) struct buf secret = {0};
        AUTO_JSON json_t *out = NULL;
        NOT_IN_BOOKS(f, hook_create(f->books, &root, body, false, &secret, &out), E_INVALID);
    }
}

/* ---- Statements ---- */

static void count_field(void *arg, struct span field, struct span value)
{
    size_t *count = arg;

    ++*count;
    assert_true(span_ends(field, SPAN("||0a1b2c3d4e5f|m")));
    assert_true(span_starts(value, SPAN("2,")) || span_starts(value, SPAN("1,")));
}

static void usage_sums_up_to_the_charge_however_it_is_cut(void **state)
{
    struct fixture *f = *state;
    struct made_bill m[6] = {0};
    int64_t charged = 0;
    size_t fields = 0;

    apply_prices(f);
    make_account(f, "acme", 100000000);
    for (int i = 0; i < 6; i++) {
        make_bill(f, &m[i], "acme", 0, 10 * i, i);
        assert_int_equal(take(f, &m[i], i + 1), BILL_TAKEN);
        charged += m[i].amount;
        f->books->fixed_ms += i % 2 ? 3600000 : 0;
    }
    for (unsigned by = 0; by < 32; by++) {
        const struct usage_filter filter = {"acme", "", "", "", 0, INT32_MAX, by};
        AUTO_JSON json_t *rows = NULL;
        int64_t sum = 0;
        IN_BOOKS(f, usage_read(f->books, &filter, &rows));
        for (size_t i = 0; i < json_array_size(rows); i++)
            sum += record_money(json_array_get(rows, i), "amount");
        assert_true(sum == charged);
        assert_int_equal(json_array_size(rows), by & USAGE_BY_HOUR ? 3 : 1);
    }
    IN_BOOKS(f, usage_day(f->books, "acme", 1750000000 / 86400, count_field, &fields));
    assert_int_equal(fields, 3);
    for (int i = 0; i < 6; i++)
        made_bill_free(&m[i]);
}

static void csv_runs_nothing_in_a_spreadsheet(void **state)
{
    AUTO_JSON json_t *rows =
        json_of("[{\"model\":\"=cmd()\",\"requests\":1,\"in\":2,\"cached\":0,\"out\":3,"
                "\"reasoning\":0,\"amount\":\"9007199254740991\",\"fee\":\"0\"},"
                "{\"model\":\"a\\\"b,c\",\"requests\":1,\"in\":2,\"cached\":0,\"out\":3,"
                "\"reasoning\":0,\"amount\":\"5\",\"fee\":\"0\"}]");
    AUTO(buf_fini) struct buf out = {0};

    (void)state;
    usage_csv(&out, rows, USAGE_BY_MODEL);
    assert_string_equal(buf_cstr(&out), "model,requests,in,cached,out,reasoning,amount,fee\r\n"
                                        "\"'=cmd()\",1,2,0,3,0,9007199254740991,0\r\n"
                                        "\"a\"\"b,c\",1,2,0,3,0,5,0\r\n");
}

// Books of the first version, as they were: the later steps are run when they are opened.
static void older_books_are_brought_up_to_date_and_newer_ones_refused(void **state)
{
    struct fixture *f = *state;
    AUTO(buf_fini) struct buf why = {0};
    struct books *again;
    int64_t n = 0;

    make_account(f, "acme", 7);
    assert_int_equal(db_script(f->books->db, "DROP INDEX transfers_reference"), 0);
    assert_int_equal(db_script(f->books->db,
                               "ALTER TABLE bill_keys DROP COLUMN revoked;"
                               "DROP TABLE cursors;"
                               "CREATE TABLE cursors ("
                               " stream TEXT PRIMARY KEY, last TEXT NOT NULL, n BIGINT NOT NULL);"
                               "INSERT INTO cursors VALUES ('gateway', '0-0', 5)"),
                     0);
    assert_int_equal(db_script(f->books->db, "UPDATE schema_version SET version = 1"), 0);
    assert_int_equal(books_open(&again, f->where, false, &why), E_UNSUPPORTED);
    close_books(f);
    open_books(f);
    assert_int_equal(balance_of(f, "client:acme"), 7);
    IN_BOOKS(f, bill_cursor(f->books, SPAN("gateway"), &n));
    assert_int_equal(n, 5);
    assert_int_equal(books_open(&again, f->where, false, &why), 0);
    books_close(again);
    assert_int_equal(db_script(f->books->db, "UPDATE schema_version SET version = 99"), 0);
    close_books(f);
    assert_int_equal(books_open(&again, f->where, true, &why), E_UNSUPPORTED);
    assert_non_null(strstr(buf_cstr(&why), "another version"));
    struct db *db;
    open_db(f, &db);
    assert_int_equal(db_script(db, "UPDATE schema_version SET version = 4"), 0);
    db_close(db);
    open_books(f);
}

static void numbers_that_only_grow_do(void **state)
{
    struct fixture *f = *state;
    char before[FACTS_MARKER_LEN], after[FACTS_MARKER_LEN];
    AUTO(buf_wipe) struct buf text = {0};
    int64_t n;
    char id[16];

    make_account(f, "acme", 0);
    IN_BOOKS(f, facts_keys_marker(f->books, before));
    create_key(f, "{\"account\":\"acme\"}", &text, id);
    IN_BOOKS(f, facts_keys_marker(f->books, after));
    assert_memory_equal(before, after, 33);
    assert_string_not_equal(before, after);
    IN_BOOKS(f, facts_epoch_next(f->books, 0, &n));
    assert_int_equal(n, 1);
    IN_BOOKS(f, facts_epoch_next(f->books, 41, &n));
    assert_int_equal(n, 42);
    IN_BOOKS(f, facts_epoch_next(f->books, 0, &n));
    assert_int_equal(n, 43);
}

struct walked {
    size_t count;
    char last[65];
};

static void walk_project(void *arg, const json_t *project)
{
    struct walked *w = arg;
    const char *id = record_text(project, "id", "");

    assert_string_equal(record_text(project, "account", ""), "acme");
    assert_true(w->count == 0 || strcmp(w->last, id) < 0);
    snprintf(w->last, sizeof(w->last), "%s", id);
    w->count++;
}

static int make_projects(struct books *b, const char *account, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char id[24];
        snprintf(id, sizeof(id), "p%04zu", i);
        AUTO_JSON json_t *body = json_pack("{s:s,s:s}", "account", account, "id", id);
        TRY(project_create(b, &root, body, NULL));
    }
    return 0;
}

static void each_of_a_long_list_comes_once_and_no_others(void **state)
{
    struct fixture *f = *state;
    struct walked w = {0};

    make_account(f, "acme", 0);
    make_account(f, "acme.2", 0);
    IN_BOOKS(f, make_projects(f->books, "acme", 1001));
    IN_BOOKS(f, make_projects(f->books, "acme.2", 3));
    IN_BOOKS(f, projects_each(f->books, "acme", walk_project, &w));
    assert_int_equal(w.count, 1001);
    w.count = 0;
    IN_BOOKS(f, projects_each(f->books, "none", walk_project, &w));
    assert_int_equal(w.count, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        CASE(an_account_keeps_what_was_set_and_audits_each_change),
        CASE(what_an_account_cannot_be_is_refused_by_name),
        CASE(limits_of_a_model_that_are_taken_away_stay_as_none),
        CASE(a_key_is_bounded_by_its_project_and_account),
        CASE(answers_are_replayed_where_the_account_says_so_not_the_key),
        CASE(a_rotated_key_has_two_live_secrets_at_most),
        CASE(a_revoked_key_never_lives_again),
        CASE(no_secret_is_in_the_books),
        CASE(a_key_needs_an_account_and_internal_needs_its_grant),
        CASE(a_price_book_is_applied_once_and_never_edited),
        CASE(an_invitation_makes_as_many_accounts_as_it_says),
        CASE(an_invitation_that_ended_or_was_revoked_makes_none),
        CASE(an_event_is_told_once_to_who_wants_it),
        CASE(a_hook_that_is_busy_is_passed_over),
        CASE(what_is_due_is_given_back_when_its_try_is_not_noted),
        CASE(a_hook_whose_secret_is_damaged_holds_up_no_other),
        CASE(a_delivery_is_tried_again_later_and_later_with_the_same_id),
        CASE(a_url_that_is_no_public_https_is_refused),
        CASE(usage_sums_up_to_the_charge_however_it_is_cut),
        CASE(older_books_are_brought_up_to_date_and_newer_ones_refused),
        CASE(numbers_that_only_grow_do),
        CASE(each_of_a_long_list_comes_once_and_no_others),
    };
    static const struct CMUnitTest pure[] = {
        cmocka_unit_test(a_base_price_with_multipliers_is_exact),
        cmocka_unit_test(a_price_file_that_is_wrong_says_where),
        cmocka_unit_test(a_signature_is_that_of_standard_webhooks),
        cmocka_unit_test(csv_runs_nothing_in_a_spreadsheet),
    };

    return RUN_ON_BOTH(tests) + cmocka_run_group_tests(pure, NULL, NULL);
}
