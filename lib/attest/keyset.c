/* Reads and writes keysets. The JSON is foreign until its quote has been verified: every member is
 * bounded and checked. */
#include "attest/keyset.h"

#include <inttypes.h>

#include "base/encode.h"
#include "base/json.h"

enum { MODEL_MAX = 256, ENGINE_MAX = 128, WORKER_ID_MAX = 64, GPU_MAX = 64, PPID_LEN = 16 };
enum { MINUTE = 60, AGE_MAX_S = 70 * MINUTE, AHEAD_MAX_S = 24 * 60 * MINUTE };

/* ---- Members ---- */

static int text_get(const json_t *object, const char *name, struct span *out)
{
    const json_t *value = json_object_get(object, name);

    if (!json_is_string(value))
        return E_INVALID;
    *out = span_of(json_string_value(value), json_string_length(value));
    return 0;
}

static bool text_is(const json_t *object, const char *name, const char *want)
{
    struct span text;

    return text_get(object, name, &text) == 0 && span_is(text, want);
}

/* 1 to max bytes, no control characters; jansson has seen to UTF-8. */
static bool printable(struct span s, size_t max)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] < 0x20 || s.data[i] == 0x7F)
            return false;
    return s.len >= 1 && s.len <= max;
}

static bool lower_hex(struct span s, size_t digits)
{
    for (size_t i = 0; i < s.len; i++)
        if (!(s.data[i] >= '0' && s.data[i] <= '9') && !(s.data[i] >= 'a' && s.data[i] <= 'f'))
            return false;
    return s.len == digits;
}

static int hex_get(const json_t *object, const char *name, uint8_t *out, size_t len)
{
    struct span text;

    TRY(text_get(object, name, &text));
    return lower_hex(text, 2 * len) ? hex_decode(out, len, text) : E_INVALID;
}

static int integer_get(const json_t *object, const char *name, uint64_t max, uint64_t *out)
{
    const json_t *value = json_object_get(object, name);
    json_int_t number = json_integer_value(value);

    if (!json_is_integer(value) || number < 0 || (uint64_t)number > max)
        return E_INVALID;
    *out = (uint64_t)number;
    return 0;
}

/* Storage has room for the whole text, and nothing decoded is longer than it was: it never moves.
 */
static struct span keep(struct keyset *k, struct span s)
{
    size_t at = k->storage.len;

    buf_append(&k->storage, s);
    return span_of(k->storage.data + at, s.len);
}

/* A raw TON address: workchain 0 or -1, then the account's 64 digits. */
static bool payout_good(struct span s)
{
    return (span_starts(s, SPAN("0:")) && lower_hex(span_from(s, 2), 64)) ||
           (span_starts(s, SPAN("-1:")) && lower_hex(span_from(s, 3), 64));
}

static int identity_read(struct keyset *k, const json_t *doc)
{
    struct span worker_id, payout;

    TRY(text_get(doc, "worker_id", &worker_id));
    TRY(text_get(doc, "payout", &payout));
    if (!span_visible(worker_id, WORKER_ID_MAX) || !payout_good(payout))
        return E_INVALID;
    TRY(span_cstr(worker_id, k->worker_id, sizeof(k->worker_id)));
    TRY(span_cstr(payout, k->payout, sizeof(k->payout)));
    TRY(hex_get(doc, "tls_spki_sha256", k->tls_spki, sizeof(k->tls_spki)));
    return hex_get(doc, "receipt_ed25519", k->receipt_key, sizeof(k->receipt_key));
}

static bool hpke_known(const struct keyset *k, uint8_t key_id)
{
    for (size_t i = 0; i < k->hpke_count; i++)
        if (k->hpke[i].data[0] == key_id)
            return true;
    return false;
}

static int hpke_read(struct keyset *k, const json_t *list)
{
    const json_t *item;
    size_t i;

    if (!json_is_array(list) || json_array_size(list) < 1 ||
        json_array_size(list) > KEYSET_MAX_HPKE)
        return E_INVALID;
    json_array_foreach(list, i, item) {
        struct span text = span_of(json_string_value(item), json_string_length(item));
        uint8_t config[KEYSET_HPKE_LEN];

        if (!lower_hex(text, 2 * sizeof(config)))
            return E_INVALID;
        TRY(hex_decode(config, sizeof(config), text));
        if (hpke_known(k, config[0])) /* a request names its key by this byte alone */
            return E_INVALID;
        k->hpke[k->hpke_count++] = keep(k, SPAN_OF(config));
    }
    return 0;
}

static bool model_known(const struct keyset *k, struct span model)
{
    for (size_t i = 0; i < k->model_count; i++)
        if (span_eq(k->models[i], model))
            return true;
    return false;
}

static int models_read(struct keyset *k, const json_t *list)
{
    const json_t *item;
    size_t i;

    if (!json_is_array(list) || json_array_size(list) < 1 ||
        json_array_size(list) > KEYSET_MAX_MODELS)
        return E_INVALID;
    json_array_foreach(list, i, item) {
        struct span model = span_of(json_string_value(item), json_string_length(item));

        if (!printable(model, MODEL_MAX) || model_known(k, model))
            return E_INVALID;
        k->models[k->model_count++] = keep(k, model);
    }
    return 0;
}

bool keyset_model_digest_good(struct span s)
{
    const struct span kind = span_cut(s, 0, 7);

    return (span_is(kind, "sha256:") || span_is(kind, "verity:")) && lower_hex(span_from(s, 7), 64);
}

bool keyset_config_good(struct span s)
{
    return lower_hex(s, 64);
}

static int software_read(struct keyset *k, const json_t *doc)
{
    struct span digest, config, engine;

    TRY(text_get(doc, "model_digest", &digest));
    TRY(text_get(doc, "config_sha256", &config));
    TRY(text_get(doc, "engine", &engine));
    if (!keyset_model_digest_good(digest) || !keyset_config_good(config) ||
        !printable(engine, ENGINE_MAX))
        return E_INVALID;
    k->model_digest = keep(k, digest);
    k->config_sha256 = keep(k, config);
    k->engine = keep(k, engine);
    return 0;
}

static int gpu_read(struct keyset *k, const json_t *doc)
{
    uint64_t count;

    k->gpu_nvidia = text_is(doc, "gpu", "nvidia-cc");
    if (!k->gpu_nvidia && !text_is(doc, "gpu", "none"))
        return E_INVALID;
    count = k->gpu_nvidia ? 1 : 0;
    if (json_object_get(doc, "gpu_count"))
        TRY(integer_get(doc, "gpu_count", GPU_MAX, &count));
    if ((count > 0) != k->gpu_nvidia)
        return E_INVALID;
    k->gpu_count = (uint32_t)count;
    return 0;
}

static int window_read(struct keyset *k, const json_t *doc)
{
    TRY(integer_get(doc, "not_before", KEYSET_TIME_MAX, &k->not_before));
    TRY(integer_get(doc, "not_after", KEYSET_TIME_MAX, &k->not_after));
    return k->not_before < k->not_after ? 0 : E_INVALID;
}

static int members_read(struct keyset *k, const json_t *doc)
{
    if (!text_is(doc, "format", "cgw/keyset/v1"))
        return E_INVALID;
    TRY(identity_read(k, doc));
    TRY(hpke_read(k, json_object_get(doc, "hpke")));
    TRY(models_read(k, json_object_get(doc, "models")));
    TRY(software_read(k, doc));
    TRY(gpu_read(k, doc));
    return window_read(k, doc);
}

/* ---- Keysets ---- */

int keyset_parse(struct keyset *out, struct span bytes)
{
    AUTO_JSON json_t *doc = NULL;
    AUTO(keyset_fini) struct keyset k = {0};

    if (bytes.len > KEYSET_MAX_BYTES)
        return E_TOO_LARGE;
    if (json_read(bytes, &doc) < 0)
        return E_INVALID;
    buf_reserve(&k.storage, bytes.len);
    TRY(members_read(&k, doc));
    buf_append(&k.bytes, bytes);
    sha256(k.digest, bytes);
    *out = k;
    k = (struct keyset){0};
    return 0;
}

static void member_text(struct buf *out, const char *name, struct span value)
{
    buf_printf(out, "\"%s\":\"", name);
    buf_json_escape(out, value);
    buf_append_str(out, "\",");
}

static void member_hex(struct buf *out, const char *name, struct span value)
{
    char hex[2 * KEYSET_HPKE_LEN + 1];

    CHECK(value.len <= KEYSET_HPKE_LEN);
    hex_encode(hex, value);
    if (name)
        buf_printf(out, "\"%s\":\"%s\",", name, hex);
    else
        buf_printf(out, "\"%s\"", hex);
}

static void lists_write(const struct keyset *k, struct buf *out)
{
    buf_append_str(out, "\"hpke\":[");
    for (size_t i = 0; i < k->hpke_count; i++) {
        buf_append_str(out, i > 0 ? "," : "");
        member_hex(out, NULL, k->hpke[i]);
    }
    buf_append_str(out, "],\"models\":[");
    for (size_t i = 0; i < k->model_count; i++) {
        buf_append_str(out, i > 0 ? ",\"" : "\"");
        buf_json_escape(out, k->models[i]);
        buf_append_str(out, "\"");
    }
    buf_append_str(out, "],");
}

void keyset_write(const struct keyset *k, struct buf *out)
{
    buf_append_str(out, "{\"format\":\"cgw/keyset/v1\",");
    member_text(out, "worker_id", span_str(k->worker_id));
    member_text(out, "payout", span_str(k->payout));
    lists_write(k, out);
    member_hex(out, "tls_spki_sha256", SPAN_OF(k->tls_spki));
    member_hex(out, "receipt_ed25519", SPAN_OF(k->receipt_key));
    member_text(out, "model_digest", k->model_digest);
    member_text(out, "config_sha256", k->config_sha256);
    member_text(out, "engine", k->engine);
    member_text(out, "gpu", k->gpu_nvidia ? SPAN("nvidia-cc") : SPAN("none"));
    buf_printf(out,
               "\"gpu_count\":%" PRIu32 ",\"not_before\":%" PRIu64 ",\"not_after\":%" PRIu64 "}",
               k->gpu_count, k->not_before, k->not_after);
}

void keyset_fini(struct keyset *k)
{
    buf_fini(&k->bytes);
    buf_fini(&k->storage);
    *k = (struct keyset){0};
}

void keyset_iid(const struct keyset *k, char out[static IID_LEN + 1])
{
    hex_encode(out, span_of(k->tls_spki, IID_LEN / 2));
}

void keyset_wid(const struct keyset *k, const uint8_t *ppid, char out[static 33])
{
    static const uint8_t none[PPID_LEN];
    const struct span parts[] = {span_of(ppid ? ppid : none, PPID_LEN), span_str(k->payout)};
    uint8_t digest[SHA256_LEN];

    sha256_parts(digest, parts, 2);
    hex_encode(out, span_of(digest, 16));
}

void keyset_machine(const struct keyset *k, const uint8_t ppid[static 16], char out[static 33])
{
    static const uint8_t none[PPID_LEN];
    uint8_t digest[SHA256_LEN];

    if (memcmp(ppid, none, PPID_LEN) == 0) {
        keyset_wid(k, ppid, out);
        return;
    }
    sha256(digest, span_of(ppid, PPID_LEN));
    hex_encode(out, span_of(digest, 16));
}

int keyset_valid_at(const struct keyset *k, uint64_t now_s)
{
    if (now_s > KEYSET_TIME_MAX || now_s + KEYSET_SKEW_S < k->not_before ||
        now_s > k->not_after + KEYSET_SKEW_S || now_s > k->not_before + AGE_MAX_S ||
        k->not_after > now_s + AHEAD_MAX_S)
        return E_EXPIRED;
    return 0;
}

uint64_t keyset_until(const struct keyset *k)
{
    const uint64_t old = k->not_before + AGE_MAX_S;

    return old < k->not_after ? old : k->not_after;
}
