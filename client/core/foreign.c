/* Readers of the gateway's plain answers. */
#include "client/core/foreign.h"

#include "base/encode.h"
#include "base/json.h"

enum { ASK_MAX = 999999999, TTL_MAX_S = 3600, CODE_MAX = 64, JWS_MAX = 16 * 1024 };

/* ---- Workers ---- */

static int kfp_read(uint8_t out[static KFP_LEN], struct span hex)
{
    return hex_decode(out, KFP_LEN, hex);
}

int worker_list_read(struct worker_list *out, struct span json)
{
    AUTO_JSON json_t *doc = NULL;
    struct span model, kfp;
    int64_t ttl = 0;

    *out = (struct worker_list){0};
    TRY(json_read(json, &doc));
    TRY(json_obj_string(doc, "model", &model));
    if (!span_visible(model, MODEL_LEN))
        return E_INVALID;
    TRY(span_cstr(model, out->model, sizeof(out->model)));
    TRY(json_obj_int(doc, "ttl", 1, TTL_MAX_S, &ttl));
    out->ttl_s = (uint64_t)ttl;
    const json_t *list = json_object_get(doc, "workers");
    if (!json_is_array(list))
        return E_INVALID;
    for (size_t i = 0; i < json_array_size(list) && out->count < LISTED_MAX; i++)
        if (json_obj_string(json_array_get(list, i), "kfp", &kfp) == 0 &&
            kfp_read(out->kfp[out->count], kfp) == 0)
            out->count++;
    return 0;
}

size_t next_read(uint8_t out[static NEXT_MAX][KFP_LEN], struct span text)
{
    size_t count = 0;

    while (text.len > 0 && count < NEXT_MAX)
        if (kfp_read(out[count], span_trim(span_split(&text, ','))) == 0)
            count++;
    return count;
}

/* ---- Records ---- */

int receipts_read(struct span json, struct buf *jws)
{
    AUTO_JSON json_t *doc = NULL;
    struct span text;

    TRY(json_read(json, &doc));
    TRY(json_obj_string(doc, "usage", &text));
    if (!span_visible(text, JWS_MAX))
        return E_INVALID;
    buf_append(jws, text);
    return 0;
}

/* ---- Refusals ---- */

/* A problem document has its code at the top, an error of the API one level below. */
static struct span code_of(const json_t *doc)
{
    struct span code = {0};

    if (json_obj_string(doc, "code", &code) < 0 &&
        json_obj_string(json_object_get(doc, "error"), "code", &code) < 0)
        return (struct span){0};
    return span_visible(code, CODE_MAX) ? code : (struct span){0};
}

bool refusal_is(struct span body, const char *code)
{
    AUTO_JSON json_t *doc = NULL;

    return json_read(body, &doc) == 0 && span_is(code_of(doc), code);
}

/* Problems that the table of errors knows by another number or not at all. */
static const struct {
    unsigned status;
    const char *code;
    const struct api_error *error;
} problems[] = {
    {401, "invalid_api_key", &ERR_INVALID_KEY},
    {401, "", &ERR_NO_KEY},
    {403, "model_not_allowed", &ERR_MODEL_NOT_ALLOWED},
    {403, "endpoint_not_allowed", &ERR_ENDPOINT_NOT_ALLOWED},
    {403, "", &ERR_FORBIDDEN},
    {404, "model_not_found", &ERR_MODEL_NOT_FOUND},
    {413, "", &ERR_REQUEST_TOO_LARGE},
    {429, "insufficient_quota", &ERR_INSUFFICIENT_QUOTA},
    {429, "", &ERR_RATE_LIMIT},
    {503, "no_capacity", &ERR_NO_CAPACITY},
    {503, "no_attested_worker", &ERR_NO_ATTESTED_WORKER},
    {503, "retry_other_worker", &ERR_NO_CAPACITY},
    {503, "overloaded", &ERR_OVERLOADED},
    {503, "service_unavailable", &ERR_SERVICE_UNAVAILABLE},
    {503, "", &ERR_NO_CAPACITY},
    {504, "", &ERR_UPSTREAM_TIMEOUT},
};

static const struct api_error *problem_find(unsigned status, struct span code)
{
    for (size_t i = 0; i < sizeof(problems) / sizeof(problems[0]); i++)
        if (problems[i].status == status &&
            (problems[i].code[0] == '\0' || span_is(code, problems[i].code)))
            return problems[i].error;
    return NULL;
}

/* The bid was below what every worker asks for. */
static int64_t lowest_ask_of(const json_t *doc)
{
    int64_t ask = 0;

    return json_obj_int(doc, "lowest_ask", 1, ASK_MAX, &ask) == 0 ? ask : 0;
}

void refusal_read(unsigned status, struct span body, const char *model, struct api_fault *fault)
{
    AUTO_JSON json_t *doc = NULL;
    char code[CODE_MAX + 1] = "";

    if (api_fault_parse(fault, status, body) == 0 && fault->error != &ERR_RETRY_OTHER_WORKER)
        return;
    if (json_read(body, &doc) == 0)
        (void)!span_cstr(code_of(doc), code, sizeof(code));
    const struct api_error *e = problem_find(status, span_str(code));
    if (e == &ERR_RATE_LIMIT)
        api_fault_text(fault, e, NULL, "Rate limit reached. Please try again later.");
    else if (e == &ERR_MODEL_NOT_FOUND || e == &ERR_MODEL_NOT_ALLOWED)
        api_fault_set(fault, e, "model", model);
    else if (e == &ERR_NO_CAPACITY && lowest_ask_of(doc) > 0)
        api_fault_text(fault, e, NULL,
                       "No worker takes this request at its bid. The lowest price asked is "
                       "%lld/1000.",
                       (long long)lowest_ask_of(doc));
    else if (e)
        api_fault_set(fault, e, NULL, NULL);
    else
        api_fault_text(fault, &ERR_WORKER_ERROR, NULL,
                       "The gateway refused the encrypted request (HTTP %u%s%s).", status,
                       code[0] ? ", " : "", code);
}

/* ---- Counts ---- */

static int64_t detail(const json_t *usage, const char *group, const char *name)
{
    int64_t n = 0;

    (void)!json_obj_int(json_object_get(usage, group), name, 0, INT64_MAX, &n);
    return n;
}

int counts_read(struct span shown, struct usage *out)
{
    AUTO_JSON json_t *usage = NULL;
    struct json_member m;

    *out = (struct usage){0};
    if (span_starts(shown, SPAN("data: ")))
        shown = span_from(shown, 6);
    const int error = json_member_find(shown, "usage", &m);
    if (error < 0 || span_is(m.value, "null"))
        return error < 0 ? error : E_NOT_FOUND;
    TRY(json_read(m.value, &usage));
    if (json_obj_int(usage, "prompt_tokens", 0, INT64_MAX, &out->in) < 0)
        return E_INVALID;
    const int none = json_obj_int(usage, "completion_tokens", 0, INT64_MAX, &out->out);
    if (none < 0 && none != E_NOT_FOUND) /* embeddings have none */
        return E_INVALID;
    out->cached = detail(usage, "prompt_tokens_details", "cached_tokens");
    out->reasoning = detail(usage, "completion_tokens_details", "reasoning_tokens");
    return 0;
}
