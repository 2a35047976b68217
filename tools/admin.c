/* A small blocking client of admin listeners and other URLs, over the loop's HTTP client. */
#include "tools/admin.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "net/http_client.h"
#include "tools/command.h"

enum { ANSWER_MAX = 32 << 20, TOTAL_MS = 60000, CONNECT_MS = 3000 };

struct asked {
    struct loop *loop;
    struct buf *out;
    unsigned status;
    int error;
    bool ended;
};

static void on_head(void *arg, struct http_transfer *t, unsigned status, struct span content_type)
{
    struct asked *a = arg;

    (void)t, (void)content_type;
    a->status = status;
}

static void on_data(void *arg, struct http_transfer *t, struct span bytes)
{
    struct asked *a = arg;

    if (a->out->len + bytes.len <= ANSWER_MAX) {
        buf_append(a->out, bytes);
        return;
    }
    http_transfer_cancel(t);
    a->error = E_TOO_LARGE;
    a->ended = true;
}

static void on_done(void *arg, struct http_transfer *t, int error)
{
    struct asked *a = arg;

    (void)t;
    a->error = error;
    a->ended = true;
}

// Splits where into the URL and the UNIX socket that curl needs.
static int find_target(struct arena *arena, const char *where, const char *path,
                       struct http_fetch *f)
{
    if (strncmp(where, "unix:", 5) == 0)
        where += 5;
    if (*where == '/') {
        f->unix_socket = where;
        f->url = arena_printf(arena, "http://localhost%s", path);
        return 0;
    }
    struct span rest = span_str(where);
    const bool tls = span_starts(rest, SPAN("https://"));
    if (tls && !(f->cert_file && f->key_file))
        return E_INVALID;
    if (tls || span_starts(rest, SPAN("http://")))
        rest = span_from(rest, tls ? 8 : 7);
    while (span_ends(rest, SPAN("/")))
        rest.len--;
    if (!span_visible(rest, 255) || span_find(rest, SPAN("/")) >= 0)
        return E_INVALID;
    f->url = arena_printf(arena, "%s://%.*s%s", tls ? "https" : "http", SPAN_FMT(rest), path);
    return 0;
}

static int fetch(struct asked *a, const struct http_fetch *f)
{
    static const struct http_client_options options = {.connect_ms = CONNECT_MS};
    static const struct http_transfer_events events = {on_head, on_data, on_done};
    struct http_client *client;
    struct http_transfer *t;

    TRY(http_client_new(&client, a->loop, &options));
    const int error = http_client_start(client, f, &events, a, &t);
    while (error == 0 && !a->ended)
        loop_turn(a->loop, 1000);
    http_client_free(client);
    return error < 0 ? error : a->error;
}

int admin_send(const struct admin_place *at, const char *method, const char *path, const char *type,
               struct span body, unsigned *status, struct buf *out)
{
    AUTO(buf_wipe) struct buf sent = {0};
    struct asked a = {.out = out};
    struct http_fetch f = {.method = method,
                           .total_ms = TOTAL_MS,
                           .ca_file = at->ca,
                           .cert_file = at->cert,
                           .key_file = at->key};
    struct arena arena = {0};

    const char *const headers[] = {
        arena_printf(&arena, "Content-Type: %s", type ? type : "application/json")};
    if (body.data) {
        buf_append(&sent, body);
        f.take_body = &sent;
        f.headers = headers;
        f.header_count = 1;
    }
    int error = find_target(&arena, at->where, path, &f);
    if (error == 0)
        error = loop_new(&a.loop);
    if (error == 0) {
        error = fetch(&a, &f);
        loop_free(a.loop);
    }
    arena_fini(&arena);
    *status = a.status;
    return error;
}

int admin_request(const char *where, const char *method, const char *path, const char *body,
                  unsigned *status, struct buf *out)
{
    const struct admin_place at = {.where = where};

    return admin_send(&at, method, path, NULL, span_str(body), status, out);
}

int url_get(const char *url, unsigned *status, struct buf *out)
{
    const struct http_fetch f = {.method = "GET", .url = url, .total_ms = TOTAL_MS};
    struct asked a = {.out = out};

    TRY(loop_new(&a.loop));
    const int error = fetch(&a, &f);
    loop_free(a.loop);
    *status = a.status;
    return error;
}

const char *admin_problem(const char *where, int error)
{
    if (error != E_TIMEOUT && strncmp(where, "https://", 8) == 0)
        return "does not listen, or one of the two does not accept the other's certificate";
    switch (error) {
    case E_UNAVAILABLE:
        return "does not listen";
    case E_TIMEOUT:
        return "does not answer";
    default:
        return "answers something else than an admin listener";
    }
}

// What the listener said about a refusal: its first line, shortened, without control characters.
static int refused(const struct command *c, unsigned status, const struct buf *answer)
{
    struct span rest = buf_span(answer);
    const struct span line = span_split(&rest, '\n');
    char said[201] = "";

    for (size_t i = 0; i < line.len && i < sizeof(said) - 1; i++)
        said[i] = line.data[i] < 0x20 || line.data[i] == 0x7F ? '?' : (char)line.data[i];
    return failure(c, "refused (%u): %s", status, said);
}

int admin_ask(const struct command *c, const char *where, const char *option, const char *method,
              const char *path, const char *body, json_t **doc)
{
    AUTO(buf_fini) struct buf answer = {0};
    unsigned status = 0;

    *doc = NULL;
    const int error = admin_request(where, method, path, body, &status, &answer);
    if (error == E_INVALID)
        return usage_error(c, "%s must be unix:/path or http://host:port", option);
    if (error < 0)
        return failure(c, "%s %s. Does it run? Is %s right?", where, admin_problem(where, error),
                       option);
    if (status / 100 != 2)
        return refused(c, status, &answer);
    if (json_read(buf_span(&answer), doc) < 0)
        *doc = NULL;
    return -1;
}
