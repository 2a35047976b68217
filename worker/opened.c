/* The checks of an opened request, in the order of wire.md §7: message, date, binding, then the
 * API's own. */
#include "worker/opened.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/random.h"

enum { DATE_WINDOW_S = 300, PING_MIN_MS = 1000, PING_MAX_MS = 3600000, RANDOM_SALT = 16 };

struct reading {
    struct opened *o;
    const struct outer *outer;
    const struct worker_config *config;
    uint64_t now_s;
    const struct bhttp_field *fields;
    size_t count;
};

/* ---- Refusing ---- */

static int refuse(struct reading *r, const struct api_error *e, const char *param, const char *arg)
{
    r->o->outcome = USAGE_REJECTED;
    return api_fault_set(&r->o->fault, e, param, arg);
}

static int mismatch(struct reading *r, const char *field)
{
    r->o->outcome = USAGE_BINDING_MISMATCH;
    return api_fault_set(&r->o->fault, &ERR_INVALID_HEADER, NULL, field);
}

/* ---- The message ---- */

static int read_message(struct reading *r, struct span plain)
{
    struct opened *o = r->o;
    enum bhttp_event event = BHTTP_NEED_MORE;
    struct span content = {0};

    bhttp_feed(o->reader, plain);
    bhttp_finish(o->reader);
    do {
        TRY(bhttp_next(o->reader, &event, &content));
        if (event == BHTTP_CONTENT)
            buf_append(&o->body, content);
    } while (event != BHTTP_END && event != BHTTP_NEED_MORE);
    const struct bhttp_head *head = bhttp_head_of(o->reader);
    if (event != BHTTP_END || !head)
        return E_INVALID;
    r->fields = head->fields;
    r->count = head->count;
    return 0;
}

static int check_message(struct reading *r, struct span plain)
{
    if (read_message(r, plain) == 0)
        return 0;
    r->o->outcome = USAGE_REJECTED;
    return api_fault_text(&r->o->fault, &ERR_INVALID_HEADER, NULL,
                          "The encapsulated request is malformed.");
}

/* ---- Fields ---- */

static int required(struct reading *r, const char *name, struct span *out)
{
    if (bhttp_field_get(r->fields, r->count, name, out) == 0)
        return 0;
    return refuse(r, &ERR_INVALID_HEADER, NULL, name);
}

/* Absent: `otherwise`. Twice: refused. */
static int optional(struct reading *r, const char *name, struct span otherwise, struct span *out)
{
    const int error = bhttp_field_get(r->fields, r->count, name, out);

    if (error == E_NOT_FOUND)
        *out = otherwise;
    else if (error < 0)
        return refuse(r, &ERR_INVALID_HEADER, NULL, name);
    return 0;
}

static int check_date(struct reading *r)
{
    struct span text = {0};
    time_t date = 0;

    TRY(required(r, "date", &text));
    if (clock_http_parse(text, &date) < 0)
        return refuse(r, &ERR_INVALID_HEADER, NULL, "date");
    const int64_t off = (int64_t)date - (int64_t)r->now_s;
    if (off >= -DATE_WINDOW_S && off <= DATE_WINDOW_S)
        return 0;
    r->o->bad_date = true;
    return refuse(r, &ERR_INVALID_HEADER, NULL, "date");
}

static int same_number(struct reading *r, const char *name, int64_t outer)
{
    struct span text = {0};
    uint64_t inner = 0;

    TRY(required(r, name, &text));
    if (span_u64(text, INT64_MAX, &inner) < 0 || (int64_t)inner != outer)
        return mismatch(r, name);
    return 0;
}

static int check_binding(struct reading *r)
{
    struct span model = {0};

    TRY(required(r, "cocoon-model", &model));
    if (!span_is(model, r->outer->model))
        return mismatch(r, "cocoon-model");
    TRY(same_number(r, "cocoon-max-tokens", r->outer->max_tokens));
    return same_number(r, "cocoon-max-input", r->outer->max_input);
}

static int read_padding(struct span text, enum answer_padding *out)
{
    static const char *const names[] = {
        [PADDING_NONE] = "none", [PADDING_POW2] = "pow2", [PADDING_64] = "64"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (!span_is(text, names[i]))
            continue;
        *out = (enum answer_padding)i;
        return 0;
    }
    return E_INVALID;
}

static int read_flag(struct span text, bool *out)
{
    *out = span_is(text, "?1");
    return *out || span_is(text, "?0") ? 0 : E_INVALID;
}

static int read_ping(struct span text, uint64_t *out)
{
    TRY(span_u64(text, PING_MAX_MS, out));
    return *out == 0 || *out >= PING_MIN_MS ? 0 : E_INVALID;
}

/* No salt given: one of this request's own, so nothing is shared (wire.md §10). */
static int read_salt(struct span text, char out[static SALT_MAX + 1])
{
    AUTO(buf_fini) struct buf made = {0};
    uint8_t raw[RANDOM_SALT];

    if (!text.data) {
        random_bytes(raw, sizeof(raw));
        base64url_encode(&made, SPAN_OF(raw));
        text = buf_span(&made);
    }
    if (!span_visible(text, SALT_MAX))
        return E_INVALID;
    memcpy(out, text.data, text.len);
    out[text.len] = '\0';
    return 0;
}

static int read_wishes(struct reading *r)
{
    struct opened *o = r->o;
    struct span text = {0};

    TRY(optional(r, "cocoon-public-model", span_str(r->outer->model), &o->public_model));
    if (!span_visible(o->public_model, OUTER_MODEL_MAX))
        return refuse(r, &ERR_INVALID_HEADER, NULL, "cocoon-public-model");
    TRY(optional(r, "cocoon-include-usage", SPAN("?0"), &text));
    if (read_flag(text, &o->include_usage) < 0)
        return refuse(r, &ERR_INVALID_HEADER, NULL, "cocoon-include-usage");
    TRY(optional(r, "cocoon-strict", SPAN("?0"), &text));
    if (read_flag(text, &o->strict) < 0)
        return refuse(r, &ERR_INVALID_HEADER, NULL, "cocoon-strict");
    TRY(optional(r, "cocoon-padding", SPAN("none"), &text));
    if (read_padding(text, &o->padding) < 0)
        return refuse(r, &ERR_INVALID_HEADER, NULL, "cocoon-padding");
    TRY(optional(r, "cocoon-ping-ms", SPAN("0"), &text));
    if (read_ping(text, &o->ping_ms) < 0)
        return refuse(r, &ERR_INVALID_HEADER, NULL, "cocoon-ping-ms");
    TRY(optional(r, "cocoon-cache-salt", (struct span){0}, &text));
    if (read_salt(text, o->cache_salt) < 0)
        return refuse(r, &ERR_INVALID_HEADER, NULL, "cocoon-cache-salt");
    return 0;
}

static int read_rid(struct reading *r)
{
    struct span rid = {0};

    TRY(required(r, "cocoon-request-id", &rid));
    if (!span_visible(rid, RID_MAX))
        return refuse(r, &ERR_INVALID_HEADER, NULL, "cocoon-request-id");
    r->o->rid = rid;
    return 0;
}

/* ---- The API's own checks ---- */

bool model_serves(const struct worker_model *m, enum endpoint endpoint)
{
    static const char *const names[] = {
        [EP_CHAT] = "chat", [EP_COMPLETIONS] = "completions", [EP_EMBEDDINGS] = "embeddings"};

    for (size_t i = 0; i < m->endpoints.count; i++)
        if (strcmp(m->endpoints.items[i], names[endpoint]) == 0)
            return true;
    return m->endpoints.count == 0 && endpoint != EP_EMBEDDINGS;
}

static int find_model(struct reading *r, enum endpoint endpoint)
{
    const struct worker_model *models = r->config->models.items;

    for (size_t i = 0; i < r->config->models.count && !r->o->model; i++)
        if (strcmp(models[i].name, r->outer->model) == 0)
            r->o->model = &models[i];
    if (!r->o->model)
        return refuse(r, &ERR_MODEL_NOT_FOUND, "model", r->outer->model);
    if (!model_serves(r->o->model, endpoint))
        return refuse(r, &ERR_MODEL_UNSUPPORTED_ENDPOINT, "model", r->outer->model);
    return 0;
}

static int check_request(struct reading *r)
{
    const struct bhttp_head *head = bhttp_head_of(r->o->reader);
    const struct request_rules rules = {
        .strict = r->o->strict,
        .allowed = (const char *const *)r->config->extras_allowed.items,
        .denied = (const char *const *)r->config->extras_denied.items,
        .max_n = 128};
    struct span type = {0};
    enum endpoint endpoint;

    if (!span_is(head->method, "POST") || endpoint_of(head->path, &endpoint) < 0)
        return refuse(r, &ERR_UNKNOWN_URL, NULL, "POST");
    TRY(required(r, "content-type", &type));
    if (!span_ieq(type, SPAN("application/json")))
        return refuse(r, &ERR_UNSUPPORTED_MEDIA_TYPE, NULL, NULL);
    TRY(find_model(r, endpoint));
    if (request_parse(&r->o->request, endpoint, buf_span(&r->o->body), &rules, &r->o->fault) < 0) {
        r->o->outcome = USAGE_REJECTED;
        return E_INVALID;
    }
    if (!span_is(buf_span(&r->o->request.model), r->outer->model))
        return mismatch(r, "cocoon-model");
    return 0;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The sum over all sequences stays within what was held for (wire.md §5). */
static int set_cap(struct reading *r)
{
    const struct request *rq = &r->o->request;
    const int64_t sequences = rq->sequences > 0 ? rq->sequences : 1;
    const int64_t share = r->outer->max_tokens / sequences;

    if (rq->endpoint == EP_EMBEDDINGS)
        return 0;
    r->o->cap = least(share, r->o->model->max_output);
    if (rq->cap >= 0)
        r->o->cap = least(rq->cap, r->o->cap);
    return share == 0 && rq->cap != 0 ? mismatch(r, "cocoon-max-tokens") : 0;
}

static int read_all(struct reading *r, struct span plain)
{
    TRY(check_message(r, plain));
    TRY(read_rid(r));
    TRY(check_date(r));
    TRY(check_binding(r));
    TRY(read_wishes(r));
    TRY(check_request(r));
    return set_cap(r);
}

void opened_read(struct opened *out, struct span plain, const struct outer *outer,
                 const struct worker_config *config, uint64_t now_s)
{
    struct reading r = {.o = out, .outer = outer, .config = config, .now_s = now_s};

    *out = (struct opened){.reader = bhttp_reader_new(true, (size_t)config->body_bytes)};
    const int error = read_all(&r, plain);
    CHECK((error < 0) == (out->fault.error != NULL));
    sha256(out->body_sha256, buf_span(&out->body));
}

void opened_forget_body(struct opened *o)
{
    request_forget_body(&o->request);
    buf_wipe(&o->body);
}

void opened_fini(struct opened *o)
{
    request_fini(&o->request);
    bhttp_reader_free(o->reader);
    buf_wipe(&o->body);
    *o = (struct opened){0};
}
