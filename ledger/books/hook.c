/* Deliveries are rows, so that what was queued is told after a crash too. */
#include "ledger/books/hook.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/encode.h"
#include "base/random.h"
#include "config/check.h"
#include "crypto/hash.h"
#include "ledger/books/account.h"
#include "ledger/books/record.h"

enum { ID_BYTES = 8, SECRET_BYTES = 32, URL_MAX = 1000, EVENTS_MAX = 8, DELIVERY_BYTES = 16 };

static json_t *hook_json(const struct rows *rows)
{
    json_t *it = record_object(), *events = json_array();
    struct span words = rows_bytes(rows, 3);

    while (words.len > 0) {
        const struct span word = span_split(&words, ' ');
        json_array_append_new(events, json_stringn((const char *)word.data, word.len));
    }
    record_set_text(it, "id", rows_bytes(rows, 0));
    record_set_text(it, "account", rows_bytes(rows, 1));
    record_set_text(it, "url", rows_bytes(rows, 2));
    record_set(it, "events", events);
    record_set_text(it, "state", rows_bytes(rows, 4));
    record_set_int(it, "created", rows_int(rows, 5));
    return it;
}

#define SELECT_HOOKS "SELECT id, account, url, events, state, created FROM hooks "

static int find(struct books *b, const char *id, json_t **out)
{
    AUTO(rows_free) struct rows *rows = NULL;

    *out = NULL;
    TRY(DB_SELECT(&rows, b->db, SELECT_HOOKS "WHERE id = $1", value_str(id)));
    return record_one(rows, hook_json, out);
}

int hooks_list(struct books *b, const char *account, const char *after, size_t limit, json_t **out)
{
    AUTO(rows_free) struct rows *rows = NULL;

    *out = NULL;
    TRY(DB_SELECT(&rows, b->db,
                  SELECT_HOOKS "WHERE ($1 = '' OR account = $1) AND id > $2 ORDER BY id LIMIT $3",
                  value_str(account), value_str(after), value_int((int64_t)limit + 1)));
    return record_page(rows, limit, hook_json, out);
}

static bool known_event(const char *word)
{
    struct span rest = SPAN(HOOK_EVENTS);

    while (rest.len > 0)
        if (span_is(span_split(&rest, ' '), word))
            return true;
    return false;
}

static int read_events(const json_t *body, struct buf *out)
{
    const json_t *events = json_object_get(body, "events");

    for (size_t i = 0; i < json_array_size(events) && i < EVENTS_MAX; i++) {
        const char *word = json_string_value(json_array_get(events, i));
        if (!word || !known_event(word)) {
            buf_clear(out);
            break;
        }
        buf_printf(out, "%s%s", i ? " " : "", word);
    }
    if (out->len > 0 && json_array_size(events) <= EVENTS_MAX)
        return 0;
    books_why("events must be a list of: " HOOK_EVENTS);
    return E_INVALID;
}

// No user, no fragment; the address is judged when it is dialled (ledger/webhooks.c).
static int read_url(const json_t *body, bool allow_http, const char **out)
{
    const char *url = record_text(body, "url", "");
    const struct span s = span_str(url);
    const bool good =
        span_starts(s, SPAN("https://")) || (allow_http && span_starts(s, SPAN("http://")));

    if (!good || !span_visible(s, URL_MAX) || strchr(url, '@') || strchr(url, '#') ||
        setting_service_url(url)) {
        books_why("url must be https://host/path");
        return E_INVALID;
    }
    *out = url;
    return 0;
}

static int insert(struct books *b, const char *id, const char *account, const char *url,
                  struct span secret, struct span events)
{
    return DB_RUN(b->db, NULL,
                  "INSERT INTO hooks (id, account, url, secret, events, state, created) VALUES "
                  "($1, $2, $3, $4, $5, 'active', $6)",
                  value_str(id), value_str(account), value_str(url), value_text(secret),
                  value_text(events), value_int((int64_t)b->now_s));
}

int hook_create(struct books *b, const struct actor *a, const json_t *body, bool allow_http,
                struct buf *secret, json_t **out)
{
    AUTO(buf_wipe) struct buf made = {0};
    AUTO(buf_fini) struct buf events = {0};
    AUTO_JSON json_t *owner = NULL;
    uint8_t bytes[ID_BYTES + SECRET_BYTES];
    char id[2 * ID_BYTES + 1];
    const char *url;

    *out = NULL;
    if (account_find(b, record_text(body, "account", ""), &owner) < 0) {
        books_why("account must be one that is there");
        return E_INVALID;
    }
    TRY(read_url(body, allow_http, &url));
    TRY(read_events(body, &events));
    random_bytes(bytes, sizeof(bytes));
    hex_encode(id, span_of(bytes, ID_BYTES));
    buf_append_str(&made, HOOK_SECRET_PREFIX);
    base64_encode(&made, span_of(bytes + ID_BYTES, SECRET_BYTES));
    crypto_wipe(bytes, sizeof(bytes));
    TRY(insert(b, id, record_text(owner, "id", ""), url, buf_span(&made), buf_span(&events)));
    TRY(find(b, id, out));
    buf_append(secret, buf_span(&made));
    return audit_note(b, a, "webhook.create", id, NULL, *out);
}

int hook_remove(struct books *b, const struct actor *a, const char *id, json_t **out)
{
    AUTO_JSON json_t *before = NULL;

    *out = NULL;
    TRY(find(b, id, &before));
    TRY(DB_RUN(b->db, NULL, "UPDATE hooks SET state = 'removed' WHERE id = $1", value_str(id)));
    TRY(find(b, id, out));
    return audit_note(b, a, "webhook.remove", id, before, *out);
}

// ---- Telling ------------------------------------------------------------------------------------

static void delivery_id(char out[static 40], const char *account, const char *type,
                        const char *what)
{
    uint8_t hash[SHA256_LEN];
    char hex[2 * DELIVERY_BYTES + 1];
    const struct span parts[] = {span_str(account), SPAN("\0"), span_str(type), SPAN("\0"),
                                 span_str(what)};

    sha256_parts(hash, parts, 5);
    hex_encode(hex, span_of(hash, DELIVERY_BYTES));
    memcpy(out, "msg_", 5);
    memcpy(out + 4, hex, sizeof(hex));
}

static void write_payload(struct buf *out, const struct books *b, const char *account,
                          const char *type, const json_t *data)
{
    AUTO_JSON json_t *payload = record_object();
    char at[32];
    struct tm tm;
    const time_t now = (time_t)b->now_s;

    gmtime_r(&now, &tm);
    strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%SZ", &tm);
    record_set_text(payload, "type", span_str(type));
    record_set_text(payload, "timestamp", span_str(at));
    record_set_text(payload, "account", span_str(account));
    record_set(payload, "data", json_deep_copy(data));
    record_write(out, payload);
}

int hook_tell(struct books *b, const char *account, const char *type, const char *what,
              const json_t *data, size_t *queued)
{
    AUTO(buf_fini) struct buf payload = {0};
    int64_t added = 0;
    char id[40], wanted[64];

    snprintf(wanted, sizeof(wanted), "%% %s %%", type);
    delivery_id(id, account, type, what);
    write_payload(&payload, b, account, type, data);
    TRY(DB_RUN(b->db, &added,
               "INSERT INTO deliveries (id, hook, type, payload, created, due, tries, status, "
               "state) SELECT $1, h.id, $2, $3, $4, $4, 0, 0, 'waiting' FROM hooks h WHERE "
               "h.account = $5 AND h.state = 'active' AND ' ' || h.events || ' ' LIKE $6 "
               "ON CONFLICT DO NOTHING",
               value_str(id), value_str(type), value_text(buf_span(&payload)),
               value_int((int64_t)b->now_s), value_str(account), value_str(wanted)));
    *queued = (size_t)added;
    return 0;
}

// 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h, as Standard Webhooks proposes.
static int64_t pause_s(int64_t tries)
{
    static const int64_t pauses[] = {5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400};
    const int64_t last = sizeof(pauses) / sizeof(pauses[0]) - 1;

    return pauses[tries < last ? tries : last];
}

void hook_due_fini(struct hook_due *d)
{
    free(d->url);
    free(d->payload);
    buf_wipe(&d->secret);
    *d = (struct hook_due){0};
}

static int read_due(struct books *b, const char *busy, struct hook_due *out)
{
    AUTO(rows_free) struct rows *rows = NULL;

    TRY(DB_SELECT(&rows, b->db,
                  "SELECT d.id, d.hook, d.tries, d.payload, h.url, h.secret FROM deliveries d "
                  "JOIN hooks h ON h.id = d.hook WHERE d.state = 'waiting' AND d.due <= $1 AND "
                  "h.state = 'active' AND ' ' || $2 || ' ' NOT LIKE '% ' || h.id || ' %' "
                  "ORDER BY d.due LIMIT 1",
                  value_int((int64_t)b->now_s), value_str(busy)));
    const int row = rows_next(rows);
    if (row <= 0)
        return row < 0 ? row : E_NOT_FOUND;
    TRY(span_cstr(rows_bytes(rows, 0), out->id, sizeof(out->id)));
    TRY(span_cstr(rows_bytes(rows, 1), out->hook, sizeof(out->hook)));
    out->tries = rows_int(rows, 2);
    out->payload = mem_strdup(rows_text(rows, 3));
    out->url = mem_strdup(rows_text(rows, 4));
    if (base64_decode(&out->secret,
                      span_from(rows_bytes(rows, 5), sizeof(HOOK_SECRET_PREFIX) - 1)) < 0)
        buf_wipe(&out->secret);
    return 0;
}

static int note_try(struct books *b, struct hook_due *d)
{
    d->tries++;
    return DB_RUN(b->db, NULL,
                  "UPDATE deliveries SET tries = $3, due = $4 WHERE id = $1 AND hook = $2",
                  value_str(d->id), value_str(d->hook), value_int(d->tries),
                  value_int((int64_t)b->now_s + pause_s(d->tries - 1)));
}

int hook_take_due(struct books *b, const char *busy, struct hook_due *out)
{
    *out = (struct hook_due){0};
    int error = read_due(b, busy, out);
    if (error == 0)
        error = note_try(b, out);
    if (error < 0)
        hook_due_fini(out);
    return error;
}

int hook_told(struct books *b, const struct hook_due *d, int64_t status)
{
    const char *state = status / 100 == 2                             ? "done"
                        : status == 410 || d->tries >= HOOK_TRIES_MAX ? "given_up"
                                                                      : "waiting";

    if (status == 410)
        TRY(DB_RUN(b->db, NULL, "UPDATE hooks SET state = 'gone' WHERE id = $1",
                   value_str(d->hook)));
    return DB_RUN(b->db, NULL,
                  "UPDATE deliveries SET status = $3, state = $4 WHERE id = $1 AND hook = $2",
                  value_str(d->id), value_str(d->hook), value_int(status), value_str(state));
}

static json_t *delivery_json(const struct rows *rows)
{
    static const char *const texts[] = {"id", "hook", "type", "state"};
    static const char *const numbers[] = {"created", "due", "tries", "status"};
    json_t *it = record_object();

    for (size_t i = 0; i < 4; i++)
        record_set_text(it, texts[i], rows_bytes(rows, i));
    for (size_t i = 0; i < 4; i++)
        record_set_int(it, numbers[i], rows_int(rows, 4 + i));
    return it;
}

int hook_deliveries(struct books *b, const char *hook, size_t limit, json_t **out)
{
    AUTO(rows_free) struct rows *rows = NULL;

    *out = NULL;
    TRY(DB_SELECT(&rows, b->db,
                  "SELECT id, hook, type, state, created, due, tries, status FROM deliveries "
                  "WHERE hook = $1 ORDER BY created DESC, id LIMIT $2",
                  value_str(hook), value_int((int64_t)limit + 1)));
    return record_page(rows, limit, delivery_json, out);
}

void hook_sign(struct buf *out, struct span secret, const char *id, int64_t timestamp,
               struct span payload)
{
    AUTO(buf_fini) struct buf text = {0};
    uint8_t mac[SHA256_LEN];

    buf_printf(&text, "%s.%" PRId64 ".", id, timestamp);
    buf_append(&text, payload);
    hmac_sha256(mac, secret, buf_span(&text));
    buf_append_str(out, "v1,");
    base64_encode(out, SPAN_OF(mac));
}
