/* What an engine refused, as an error of ours: engines differ in codes, types and words (engine.md
 * §6, §8). Their texts decide and are never shown. */
#include "openai/answer.h"

#include "base/json.h"
#include "openai/check.h"

/* The parts of an engine's error body; all "" when it was none. */
struct words {
    const char *type, *message, *param;
};

/* One way to recognise an error: all that is given must fit. */
struct mark {
    unsigned low, high;  /* HTTP status */
    const char *type;    /* NULL: any */
    const char *message; /* part of the text; NULL: any */
    const struct api_error *error;
    const char *param;
    const char *says; /* NULL: the error's own text */
};

#define ANY 400, 599

static const char no_images[] = "The model does not accept this kind of content.";
static const char no_tools[] = "The model does not support tools.";
static const char bad_tools[] = "The model cannot use one of the tools as it is defined.";
static const char bad_schema[] = "The model cannot use the JSON schema or grammar of the request.";
static const char bad_messages[] = "The model cannot use one of the messages as it is.";
static const char bad_call[] =
    "The model cannot use a tool call of the messages: its arguments are not JSON.";
static const char no_endpoint[] = "The model does not support this endpoint.";

/* The first that fits counts. */
static const struct mark marks[] = {
    /* Overloaded or not ready: another worker may do. */
    {429, 429, NULL, NULL, &ERR_OVERLOADED, NULL, NULL},
    {503, 503, NULL, NULL, &ERR_OVERLOADED, NULL, NULL},
    {408, 408, NULL, NULL, &ERR_OVERLOADED, NULL, NULL},
    /* Too long. llama.cpp; vLLM; SGLang; llama.cpp's embeddings. */
    {ANY, "exceed_context_size_error", NULL, &ERR_CONTEXT_LENGTH, "messages", NULL},
    {ANY, NULL, "exceeds the available context size", &ERR_CONTEXT_LENGTH, "messages", NULL},
    {ANY, NULL, "maximum context length", &ERR_CONTEXT_LENGTH, "messages", NULL},
    {ANY, NULL, "maximum model length", &ERR_CONTEXT_LENGTH, "messages", NULL},
    {ANY, NULL, "longer than the model's context length", &ERR_CONTEXT_LENGTH, "messages", NULL},
    {ANY, NULL, "exceeds the model's context length", &ERR_CONTEXT_LENGTH, "messages", NULL},
    {ANY, NULL, "exceeds the maximum allowed length", &ERR_CONTEXT_LENGTH, "messages", NULL},
    {ANY, NULL, "is too large to process", &ERR_CONTEXT_LENGTH, "input", NULL},
    /* Content that the model has no eyes or ears for: 500 at llama.cpp. */
    {ANY, NULL, "image input is not supported", &ERR_UNSUPPORTED_VALUE, "messages", no_images},
    {ANY, NULL, "audio input is not supported", &ERR_UNSUPPORTED_VALUE, "messages", no_images},
    {ANY, NULL, "video input is not supported", &ERR_UNSUPPORTED_VALUE, "messages", no_images},
    {ANY, NULL, "provide the mmproj", &ERR_UNSUPPORTED_VALUE, "messages", no_images},
    {ANY, NULL, "not a multimodal model", &ERR_UNSUPPORTED_VALUE, "messages", no_images},
    {400, 400, NULL, "may be provided in one", &ERR_UNSUPPORTED_VALUE, "messages", no_images},
    /* Messages: 500 at llama.cpp, where one chat template also refuses roles that another takes. */
    {ANY, NULL, "Failed to parse tool call arguments", &ERR_INVALID_VALUE, "messages", bad_call},
    {ANY, NULL, "Failed to parse messages", &ERR_INVALID_VALUE, "messages", bad_messages},
    {ANY, NULL, "Jinja Exception", &ERR_INVALID_VALUE, "messages", bad_messages},
    /* Tools and schemas. */
    {ANY, NULL, "Failed to parse tools", &ERR_INVALID_VALUE, "tools", bad_tools},
    {ANY, NULL, "Unsupported tool type", &ERR_INVALID_VALUE, "tools", bad_tools},
    {400, 400, NULL, "--enable-auto-tool-choice", &ERR_UNSUPPORTED_PARAMETER, "tools", no_tools},
    {400, 400, NULL, "--tool-call-parser", &ERR_UNSUPPORTED_PARAMETER, "tools", no_tools},
    {400, 400, NULL, "tools param requires", &ERR_UNSUPPORTED_PARAMETER, "tools", no_tools},
    {ANY, NULL, "JSON schema", &ERR_INVALID_VALUE, NULL, bad_schema},
    {ANY, NULL, "parse grammar", &ERR_INVALID_VALUE, NULL, bad_schema},
    {400, 400, NULL, "grammar", &ERR_INVALID_VALUE, NULL, bad_schema},
    /* The model cannot do what the endpoint asks. */
    {501, 501, NULL, NULL, &ERR_UNSUPPORTED_VALUE, "model", no_endpoint},
    {400, 400, NULL, "does not support Embeddings", &ERR_UNSUPPORTED_VALUE, "model", no_endpoint},
    {400, 400, NULL, "does not support Completions", &ERR_UNSUPPORTED_VALUE, "model", no_endpoint},
    {400, 400, NULL, "does not support Chat", &ERR_UNSUPPORTED_VALUE, "model", no_endpoint},
    /* We judged the JSON and spliced it: what does not parse is not the caller's. */
    {400, 400, NULL, "json.exception.parse_error", &ERR_WORKER_ERROR, NULL, NULL},
    {413, 413, NULL, NULL, &ERR_REQUEST_TOO_LARGE, NULL, NULL},
    {400, 400, NULL, NULL, &ERR_ENGINE_REFUSED, NULL, NULL},
    {422, 422, NULL, NULL, &ERR_ENGINE_REFUSED, NULL, NULL},
};
enum { MARKS = sizeof(marks) / sizeof(marks[0]) };

static const char *text_of(json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

/* {"error":{…}}, {"error":"…"}, or the members at the top, as vLLM and SGLang had them. */
static struct words read_words(json_t *doc)
{
    json_t *error = json_object_get(doc, "error");

    if (json_is_string(error))
        return (struct words){.type = "", .message = json_string_value(error), .param = ""};
    if (!json_is_object(error))
        error = doc;
    return (struct words){.type = text_of(error, "type"),
                          .message = text_of(error, "message"),
                          .param = text_of(error, "param")};
}

static bool mark_fits(const struct mark *m, unsigned status, const struct words *w)
{
    return status >= m->low && status <= m->high && (!m->type || strcmp(w->type, m->type) == 0) &&
           (!m->message || strcasestr(w->message, m->message));
}

/* The member that a refusal is about, where the engine names one that is the API's: vLLM's param,
 * llama.cpp's "Field 'x': …". */
static const char *named_param(const struct words *w, char out[static 64])
{
    struct span name = span_str(w->param), text = span_str(w->message);
    const struct span field = SPAN("Field '");

    if (span_starts(text, field)) {
        text = span_from(text, field.len);
        name = span_split(&text, '\'');
    }
    return rule_known(name) && span_cstr(name, out, 64) == 0 ? out : NULL;
}

void engine_fault(enum engine_kind kind, unsigned status, struct span body, struct api_fault *fault)
{
    enum { MOST_READ = 64 << 10 };
    AUTO_JSON json_t *doc = NULL;
    char param[64];

    (void)kind; // the words are distinct enough to tell engines apart
    *fault = (struct api_fault){0};
    if (body.len > MOST_READ || json_read(body, &doc) < 0)
        doc = NULL; // an HTML page, or nothing: the status alone counts
    const struct words w = read_words(doc);
    for (size_t i = 0; i < MARKS; i++) {
        const struct mark *m = &marks[i];
        if (!mark_fits(m, status, &w))
            continue;
        api_fault_set(fault, m->error, m->param ? m->param : named_param(&w, param), NULL);
        if (m->says)
            api_fault_text(fault, m->error, m->param, "%s", m->says);
        return;
    }
    api_fault_set(fault, &ERR_WORKER_ERROR, NULL, NULL);
}
