/* Requests and answers of the ledger's admin API. */
#include "tools/ledger.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/encode.h"
#include "tools/admin.h"
#include "tools/output.h"

#define DEFAULT_SOCKET "unix:/run/cocoon-ledger/admin.sock"

struct ledger_flags ledger_flags_default(void)
{
    const char *where = getenv("COCOON_LEDGER");

    return (struct ledger_flags){.where = where && *where ? where : DEFAULT_SOCKET,
                                 .ca = getenv("COCOON_LEDGER_CA"),
                                 .cert = getenv("COCOON_LEDGER_CERT"),
                                 .key = getenv("COCOON_LEDGER_CERT_KEY")};
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
    const struct admin_place at = {f->where, f->ca, f->cert, f->key};
    const int error = admin_send(&at, method, path, type, body, &status, out);

    if (error == E_INVALID)
        return usage_error(
            c, "--ledger must be unix:/path, or https://host:port with --cert and --cert-key");
    if (error < 0)
        return failure(c, "%s %s. Does cocoon-ledger run? Is --ledger right?", f->where,
                       admin_problem(f->where, error));
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

void ledger_query(struct buf *path, const char *name, const char *value)
{
    if (!*value)
        return;
    buf_printf(path, "%c%s=", span_find(buf_span(path), SPAN("?")) < 0 ? '?' : '&', name);
    percent_encode(path, span_str(value));
}

void ledger_path(struct buf *path, const char *fmt, char *const *parameters)
{
    for (; *fmt; fmt++) {
        if (fmt[0] == '%' && fmt[1] == 's') {
            percent_encode(path, span_str(*parameters++));
            fmt++;
        } else {
            buf_byte(path, (uint8_t)*fmt);
        }
    }
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

int ledger_show(const struct command *c, const struct ledger_flags *f, const char *method,
                const char *path, const json_t *body)
{
    AUTO_JSON json_t *doc = NULL;
    const int code = ledger_ask(c, f, method, path, body, &doc);

    return code >= 0 ? code : ledger_print(f, doc);
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

// ---- Whole commands -----------------------------------------------------------------------------

static size_t parameters_of(const char *fmt)
{
    size_t count = 0;

    for (; (fmt = strstr(fmt, "%s")); fmt += 2)
        count++;
    return count;
}

int ledger_command(const struct command *c, int argc, char **argv, const char *method,
                   const char *fmt, json_t *take_body)
{
    struct ledger_flags f = ledger_flags_default();
    const struct option options[] = {LEDGER_FLAGS(f)};
    const size_t count = parameters_of(fmt);
    AUTO(buf_fini) struct buf path = {0};
    AUTO_JSON json_t *body = take_body;
    struct operands operands;
    const int code = options_parse(c, options, COUNT(options), argc, argv, count, count, &operands);

    if (code >= 0)
        return code;
    ledger_path(&path, fmt, operands.items);
    return ledger_show(c, &f, method, buf_cstr(&path), body);
}

// The members that `id` names, joined as they are there.
static void row_id(struct buf *out, const json_t *row, struct span id)
{
    while (id.len > 0) {
        const struct span name = span_split(&id, '/');
        const json_t *member = json_object_getn(row, (const char *)name.data, name.len);
        if (json_is_string(member))
            buf_printf(out, "%s%s", out->len > 0 ? "/" : "", json_string_value(member));
    }
}

// Appends a page's rows to all; what comes behind it is named by *after, empty: nothing.
static int add_page(const struct command *c, const struct ledger_flags *f, struct span path,
                    const char *id, struct buf *after, json_t *all)
{
    AUTO(buf_fini) struct buf where = {0};
    AUTO_JSON json_t *page = NULL;

    buf_append(&where, path);
    if (id)
        ledger_query(&where, "limit", "500");
    ledger_query(&where, "after", buf_cstr(after));
    const int code = ledger_ask(c, f, "GET", buf_cstr(&where), NULL, &page);
    if (code >= 0)
        return code;
    const json_t *rows = json_object_get(page, "data");
    json_array_extend(all, json_object_get(page, "data"));
    after->len = 0;
    if (id && json_is_true(json_object_get(page, "has_more")))
        row_id(after, json_array_get(rows, json_array_size(rows) - 1), span_str(id));
    return -1;
}

int ledger_list(const struct command *c, int argc, char **argv, const struct ledger_listing *l)
{
    struct ledger_flags f = ledger_flags_default();
    const char *filter = "";
    const struct option options[] = {{l->filter, OPTION_TEXT, &filter, l->filter_help},
                                     LEDGER_FLAGS(f)};
    const size_t unused = l->filter ? 0 : 1;
    const size_t count = parameters_of(l->path);
    AUTO(buf_fini) struct buf path = {0};
    AUTO(buf_fini) struct buf after = {0};
    AUTO_JSON json_t *rows = json_array();
    struct operands operands;
    int code = options_parse(c, options + unused, COUNT(options) - unused, argc, argv, count, count,
                             &operands);

    if (code >= 0)
        return code;
    ledger_path(&path, l->path, operands.items);
    ledger_query(&path, l->filter, filter);
    do
        code = add_page(c, &f, buf_span(&path), l->id, &after, rows);
    while (code < 0 && after.len > 0);
    return code >= 0 ? code : ledger_print_rows(&f, rows, l->columns, l->count);
}
