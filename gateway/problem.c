/* Problem documents from faults. */
#include "gateway/problem.h"

#define TYPES "https://iana.org/assignments/http-problem-types#"

const struct api_error problem_ohttp_key = {
    "OHTTP_KEY", 400, TYPES "ohttp-key", "ohttp_key", "The key is unknown or no longer valid.",
    false,       0};
const struct api_error problem_bad_message = {
    "BAD_MESSAGE", 400, "about:blank", "bad_message", "The message cannot be opened.", false, 0};
const struct api_error problem_replay = {
    "REPLAY", 409, "urn:cocoon:error:replay", "replay", "The message was seen before.", false, 0};

bool problem_is_said(const struct call *c)
{
    return c->route && (c->route->kind == ROUTE_END_TO_END || c->route->kind == ROUTE_PUBLIC);
}

static bool is_own(const struct api_error *e)
{
    return e == &problem_ohttp_key || e == &problem_bad_message || e == &problem_replay;
}

/* Texts with a place for something of the request are for the OpenAI API. */
static const char *title_of(const struct api_error *e)
{
    if (e == &ERR_UNSUPPORTED_MEDIA_TYPE)
        return "The body must be sent as message/ohttp-chunked-req.";
    if (!strstr(e->message, "{}"))
        return e->message;
    switch (e->status) {
    case 400:
        return "The request is not what this endpoint takes.";
    case 403:
        return "The key may not use this model or endpoint.";
    case 404:
        return "There is no such thing.";
    case 405:
        return "This method is not allowed here.";
    default:
        return "A limit is reached.";
    }
}

/* The OpenAI API has refusals without a code. */
static const char *code_of(const struct api_error *e)
{
    if (e->code)
        return e->code;
    return e->status == 401 ? "no_api_key" : e->status == 403 ? "forbidden" : "internal_error";
}

/* Names what was counted or which header is meant. */
static bool tells_more(const struct api_error *e)
{
    return e == &ERR_NO_CAPACITY || e == &ERR_NO_ATTESTED_WORKER || e == &ERR_INVALID_HEADER ||
           e == &ERR_MISSING_PARAMETER;
}

void problem_body(const struct call *c, struct buf *out)
{
    const struct api_fault *f = &c->fault;
    const struct api_error *e = f->error;

    buf_printf(out, "{\"type\":\"%s\",\"title\":\"", is_own(e) ? e->type : "about:blank");
    buf_json_escape(out, span_str(title_of(e)));
    buf_printf(out, "\",\"status\":%u,\"code\":\"%s\"", e->status, code_of(e));
    if (tells_more(e)) {
        buf_append_str(out, ",\"detail\":\"");
        buf_json_escape(out, span_str(f->message));
        buf_append_str(out, "\"");
    }
    if (e == &ERR_NO_CAPACITY && c->lowest_ask > 0)
        buf_printf(out, ",\"lowest_ask\":%lld", (long long)c->lowest_ask);
    buf_append_str(out, "}");
}
