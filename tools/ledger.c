/* Requests and answers of the ledger's admin API. */
#include "tools/ledger.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "tools/admin.h"
#include "tools/output.h"

#define DEFAULT_SOCKET "unix:/run/cocoon-ledger/admin.sock"

struct ledger_flags ledger_flags_default(void)
{
    const char *where = getenv("COCOON_LEDGER");

    return (struct ledger_flags){.where = where && *where ? where : DEFAULT_SOCKET};
}

bool ledger_is_named(void)
{
    const char *where = getenv("COCOON_LEDGER");

    return where && *where;
}

// What the ledger said is wrong.
static int refused(const struct command *c, unsigned status, struct span answer)
{
    AUTO_JSON json_t *doc = NULL;
    const char *message = NULL;

    if (json_read(answer, &doc) == 0)
        message = json_string_value(json_object_get(json_object_get(doc, "error"), "message"));
    char *shown = text_shown(span_str(message ? message : "refused"));
    const int code = failure(c, "%s (%u)", shown, status);
    free(shown);
    return code;
}

int ledger_send(const struct command *c, const struct ledger_flags *f, const char *method,
                const char *path, const char *type, struct span body, struct buf *out)
{
    unsigned status = 0;
    const int error = admin_send(f->where, method, path, type, body, &status, out);

    if (error == E_INVALID)
        return usage_error(c, "--ledger must be unix:/path");
    if (error < 0)
        return failure(c, "%s %s. Does cocoon-ledger run? Is --ledger right?", f->where,
                       admin_problem(error));
    return status / 100 == 2 ? -1 : refused(c, status, buf_span(out));
}

int ledger_ask(const struct command *c, const struct ledger_flags *f, const char *method,
               const char *path, const json_t *body, json_t **doc)
{
    AUTO(buf_wipe) struct buf out = {0};
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;

    *doc = NULL;
    const int code = ledger_send(c, f, method, path, NULL, span_str(text), &out);
    free(text);
    if (code < 0)
        *doc = json_loadb((const char *)out.data, out.len, 0, NULL); /* ours, and may be long */
    if (code < 0 && !*doc)
        return failure(c, "%s answers something else than a ledger", f->where);
    return code;
}

int ledger_list(const struct command *c, const struct ledger_flags *f, const char *path,
                const char *id, json_t **rows)
{
    AUTO_JSON json_t *all = json_array();
    char after[200] = "";
    bool more = true;

    *rows = NULL;
    while (more) {
        AUTO(buf_fini) struct buf page_path = {0};
        AUTO_JSON json_t *page = NULL;
        buf_append_str(&page_path, path);
        ledger_query(&page_path, "limit", "500");
        ledger_query(&page_path, "after", after);
        const int code = ledger_ask(c, f, "GET", buf_cstr(&page_path), NULL, &page);
        if (code >= 0)
            return code;
        const json_t *data = json_object_get(page, "data");
        json_array_extend(all, json_object_get(page, "data"));
        const json_t *last = json_array_get(data, json_array_size(data) - 1);
        const char *account = strcmp(id, "account/id") == 0
                                  ? json_string_value(json_object_get(last, "account"))
                                  : NULL;
        const char *name = json_string_value(json_object_get(last, "id"));
        snprintf(after, sizeof(after), "%s%s%s", account ? account : "", account ? "/" : "",
                 name ? name : "");
        more = json_is_true(json_object_get(page, "has_more")) && name;
    }
    *rows = json_incref(all);
    return -1;
}

static void encode(struct buf *out, const char *text)
{
    for (; *text; text++) {
        const bool plain = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
                           (*text >= '0' && *text <= '9') || strchr("-._~", *text);
        if (plain)
            buf_byte(out, (uint8_t)*text);
        else
            buf_printf(out, "%%%02X", (unsigned char)*text);
    }
}

void ledger_query(struct buf *path, const char *name, const char *value)
{
    if (!*value)
        return;
    buf_printf(path, "%c%s=", memchr(path->data, '?', path->len) ? '&' : '?', name);
    encode(path, value);
}

const char *ledger_path(struct arena *a, const char *fmt, ...)
{
    AUTO(buf_fini) struct buf out = {0};
    va_list args;

    va_start(args, fmt);
    for (; *fmt; fmt++) {
        if (fmt[0] == '%' && fmt[1] == 's') {
            encode(&out, va_arg(args, const char *));
            fmt++;
        } else {
            buf_byte(&out, (uint8_t)*fmt);
        }
    }
    va_end(args);
    return arena_strdup(a, buf_span(&out));
}

int ledger_print_rows(const struct ledger_flags *f, const json_t *rows, const char *const *columns,
                      size_t count)
{
    if (f->json)
        json_print(rows);
    else
        table_of(rows, columns, count);
    return EXIT_DONE;
}

int ledger_print(const struct ledger_flags *f, json_t *doc)
{
    if (f->json)
        json_print(doc);
    else
        json_print_flat(doc);
    return EXIT_DONE;
}

int ledger_print_secret(const struct ledger_flags *f, json_t *doc, const char *member,
                        const char *what, bool quiet)
{
    const char *secret = json_string_value(json_object_get(doc, member));
    const char *id = json_string_value(json_object_get(doc, "id"));

    if (f->json) {
        json_print(doc);
        return EXIT_DONE;
    }
    if (!quiet)
        printf("%s %s. This is shown only once:\n", what, id ? id : "");
    printf("%s\n", secret ? secret : "");
    return EXIT_DONE;
}
