/* The error table as objects, and faults rendered in OpenAI's shape or read back from it. */
#include "openai/error.h"

#include <stdio.h>

#include "base/json.h"

#define API_ERROR(id, http, kind, code_text, text, never, after_ms)                                \
    const struct api_error ERR_##id = {.name = #id,                                                \
                                       .status = (http),                                           \
                                       .type = (kind),                                             \
                                       .code = (code_text),                                        \
                                       .message = (text),                                          \
                                       .never_retry = (never),                                     \
                                       .retry_after_ms = (after_ms)};
#include "openai/errors.def"
#undef API_ERROR

#define API_ERROR(id, ...) &ERR_##id,
static const struct api_error *const table[] = {
#include "openai/errors.def"
};
#undef API_ERROR

enum { TABLE_LEN = sizeof(table) / sizeof(table[0]), ARG_MAX_CHARS = 64 };

/* Cuts a text that was longer than its room at the last whole character. */
static void cut_utf8(char *text)
{
    size_t len = strlen(text);

    while (len > 0 && !span_utf8(span_of(text, len)))
        len--;
    text[len] = '\0';
}

static void set_common(struct api_fault *f, const struct api_error *e, const char *param)
{
    f->error = e;
    f->retry_after_ms = e->retry_after_ms;
    snprintf(f->param, sizeof(f->param), "%s", param ? param : "");
    cut_utf8(f->param);
}

/* What of arg may be shown, as a C string. */
static void clean_arg(char out[static ARG_MAX_CHARS + 1], const char *arg)
{
    size_t n = 0;

    for (; arg && arg[n] && n < ARG_MAX_CHARS; n++)
        out[n] = arg[n] >= 0x20 && arg[n] < 0x7f ? arg[n] : '?';
    out[n] = '\0';
}

int api_fault_set(struct api_fault *f, const struct api_error *e, const char *param,
                  const char *arg)
{
    char shown[ARG_MAX_CHARS + 1];
    const char *hole = strstr(e->message, "{}");

    set_common(f, e, param);
    clean_arg(shown, arg);
    if (hole)
        snprintf(f->message, sizeof(f->message), "%.*s%s%s", (int)(hole - e->message), e->message,
                 shown, hole + 2);
    else
        snprintf(f->message, sizeof(f->message), "%s", e->message);
    return E_INVALID;
}

int api_fault_text(struct api_fault *f, const struct api_error *e, const char *param,
                   const char *fmt, ...)
{
    va_list args;

    set_common(f, e, param);
    va_start(args, fmt);
    vsnprintf(f->message, sizeof(f->message), fmt, args);
    va_end(args);
    cut_utf8(f->message);
    return E_INVALID;
}

static void append_quoted(struct buf *out, const char *text)
{
    buf_byte(out, '"');
    buf_json_escape(out, span_str(text));
    buf_byte(out, '"');
}

static void append_or_null(struct buf *out, const char *text)
{
    if (text && *text)
        append_quoted(out, text);
    else
        buf_append_str(out, "null");
}

void api_fault_body(const struct api_fault *f, struct buf *out)
{
    const struct api_error *e = f->error ? f->error : &ERR_INTERNAL;

    buf_append_str(out, "{\"error\":{\"message\":");
    append_quoted(out, f->error ? f->message : e->message);
    buf_append_str(out, ",\"type\":");
    append_quoted(out, e->type);
    buf_append_str(out, ",\"param\":");
    append_or_null(out, f->param);
    buf_append_str(out, ",\"code\":");
    append_or_null(out, e->code);
    buf_append_str(out, "}}");
}

void api_fault_event(const struct api_fault *f, struct buf *out)
{
    buf_append_str(out, "data: ");
    api_fault_body(f, out);
    buf_append_str(out, "\n\n");
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static const struct api_error *find_entry(unsigned status, const char *type, const char *code)
{
    for (size_t i = 0; i < TABLE_LEN; i++) {
        if (table[i]->status == status && same_text(table[i]->type, type) &&
            same_text(table[i]->code, code))
            return table[i];
    }
    return NULL;
}

int api_fault_parse(struct api_fault *f, unsigned status, struct span body)
{
    AUTO_JSON json_t *doc = NULL;
    const struct api_error *e;
    json_t *error;
    const char *param, *message;

    if (json_read(body, &doc) < 0)
        return E_NOT_FOUND;
    error = json_object_get(doc, "error");
    e = find_entry(status, json_string_value(json_object_get(error, "type")),
                   json_string_value(json_object_get(error, "code")));
    message = json_string_value(json_object_get(error, "message"));
    param = json_string_value(json_object_get(error, "param"));
    if (!e || !message)
        return E_NOT_FOUND;
    if (e == &ERR_INVALID_JSON && same_text(param, "stream_options"))
        e = &ERR_STREAM_OPTIONS; /* the one other 400 without a code */
    api_fault_text(f, e, param, "%s", message);
    return 0;
}
