/* Service tokens, read strictly. */
#include "auth/service.h"

#include "auth/keys.h"
#include "crypto/jws.h"

enum { WORD_MAX = 64, ITEM_MAX = 256, LIST_MAX = 100 };
#define TYP "cgw-service+jwt"

void service_claims_fini(struct service_claims *c)
{
    json_decref(c->doc);
    *c = (struct service_claims){0};
}

bool service_token_is(struct span text)
{
    return span_starts(text, SPAN("eyJ")) && span_find(text, SPAN(".")) > 0;
}

static struct span text_of(const json_t *item)
{
    return span_of(json_string_value(item), json_string_length(item));
}

static int read_word(const json_t *doc, const char *name, struct span *out)
{
    if (json_obj_string(doc, name, out) < 0 || !span_visible(*out, WORD_MAX))
        return E_INVALID;
    return 0;
}

static bool class_good(struct span s)
{
    return span_is(s, "interactive") || span_is(s, "batch") || span_is(s, "internal");
}

static int read_class(struct service_claims *c)
{
    if (!json_object_get(c->doc, "class"))
        return 0;
    TRY(read_word(c->doc, "class", &c->class));
    return class_good(c->class) ? 0 : E_INVALID;
}

static int check_list(const char *name, const json_t *list)
{
    const bool endpoints = strcmp(name, "endpoints") == 0;

    if ((!endpoints && strcmp(name, "models") != 0) || !json_is_array(list) ||
        json_array_size(list) > LIST_MAX)
        return E_INVALID;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        if (!json_is_string(item) || !span_visible(text_of(item), ITEM_MAX) ||
            (endpoints && !key_endpoint_known(text_of(item))))
            return E_INVALID;
    }
    return 0;
}

static int check_scopes(const json_t *doc)
{
    json_t *scopes = json_object_get(doc, "scopes"), *list;
    const char *name;

    if (!scopes)
        return 0;
    if (!json_is_object(scopes))
        return E_INVALID;
    json_object_foreach(scopes, name, list)
        TRY(check_list(name, list));
    return 0;
}

static int read_time(const json_t *doc, const char *name, int64_t *out)
{
    return json_obj_int(doc, name, 0, INT32_MAX * INT64_C(1000), out) < 0 ? E_INVALID : 0;
}

static int check_time(const json_t *doc, uint64_t now_s)
{
    const int64_t now = (int64_t)now_s;
    int64_t issued, expires, begins = 0;

    TRY(read_time(doc, "iat", &issued));
    TRY(read_time(doc, "exp", &expires));
    if (json_object_get(doc, "nbf"))
        TRY(read_time(doc, "nbf", &begins));
    if (expires <= issued || expires - issued > SERVICE_LIFE_S)
        return E_INVALID;
    if (begins < issued)
        begins = issued;
    return now >= expires || begins > now + SERVICE_SKEW_S ? E_EXPIRED : 0;
}

/* RFC 7519 §4.1.3. */
static int check_audience(const json_t *doc, struct span audience)
{
    const json_t *said = json_object_get(doc, "aud");
    bool named = false;

    if (!said)
        return audience.len == 0 ? 0 : E_INVALID;
    if (json_is_string(said))
        return audience.len > 0 && span_eq(text_of(said), audience) ? 0 : E_INVALID;
    for (size_t i = 0; i < json_array_size(said); i++) {
        if (!json_is_string(json_array_get(said, i)))
            return E_INVALID;
        named |= audience.len > 0 && span_eq(text_of(json_array_get(said, i)), audience);
    }
    return named ? 0 : E_INVALID;
}

static int read_claims(struct span payload, struct span audience, uint64_t now_s,
                       struct service_claims *out)
{
    if (json_read(payload, &out->doc) < 0)
        return E_INVALID;
    TRY(read_word(out->doc, "account", &out->account));
    TRY(read_word(out->doc, "jti", &out->jti));
    TRY(read_class(out));
    TRY(check_scopes(out->doc));
    TRY(check_audience(out->doc, audience));
    return check_time(out->doc, now_s);
}

int service_token_read(const struct ed25519 *issuer, struct span token, struct span audience,
                       uint64_t now_s, struct service_claims *out)
{
    AUTO(buf_fini) struct buf payload = {0};

    *out = (struct service_claims){0};
    TRY(jws_verify(issuer, TYP, token, &payload));
    const int error = read_claims(buf_span(&payload), audience, now_s, out);
    if (error < 0)
        service_claims_fini(out);
    return error;
}

bool service_allows(const struct service_claims *c, const char *list, struct span word)
{
    const json_t *items = json_object_get(json_object_get(c->doc, "scopes"), list);

    for (size_t i = 0; i < json_array_size(items); i++) {
        if (span_eq(text_of(json_array_get(items, i)), word))
            return true;
    }
    return !items;
}
