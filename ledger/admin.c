/* Receives a request, runs its handler in one transaction of the books, and answers when gateways
 * know what was changed, or soon after. */
#include "ledger/admin.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fail_point.h"
#include "base/log.h"
#include "ledger/books/record.h"
#include "ledger/pages.h"
#include "ledger/projection.h"
#include "ledger/routes.h"
#include "net/tls_front.h"

enum { KNOWN_MS = 2000, ROLES_MAX = 64 };

struct admin {
    struct ledger *ledger;
    struct http_server *http, *https; /* of the socket; of who has a certificate, or NULL */
    struct tls_ctx *tls;
    struct {
        uid_t uid;
        char san[REQUEST_WHO]; /* "": it is a user */
        enum role role;
    } roles[ROLES_MAX];
    size_t role_count;
};

// ---- Who ----------------------------------------------------------------------------------------

static int find_user(const char *name, uid_t *uid)
{
    uint64_t number;
    const struct passwd *user = getpwnam(name);

    if (user)
        *uid = user->pw_uid;
    else if (span_u64(span_str(name), UINT32_MAX - 1, &number) == 0)
        *uid = (uid_t)number;
    else
        return E_NOT_FOUND;
    return 0;
}

static int read_role(struct admin *a, const struct ledger_role *from)
{
    TRY(role_read(span_str(from->role), &a->roles[a->role_count].role));
    if ((from->user[0] == 0) == (from->san[0] == 0))
        return E_INVALID;
    if (from->user[0])
        TRY(find_user(from->user, &a->roles[a->role_count].uid));
    snprintf(a->roles[a->role_count++].san, REQUEST_WHO, "%s", from->san);
    return 0;
}

static int read_roles(struct admin *a)
{
    const struct config_list *list = &ledger_settings(a->ledger)->roles;
    const struct ledger_role *items = list->items;

    for (size_t i = 0; i < list->count && i < ROLES_MAX; i++) {
        const int error = read_role(a, &items[i]);
        if (error < 0) {
            log_event(LOG_ERROR, "role_refused", "roles=%zu why=%s", i,
                      error == E_NOT_FOUND ? "no_such_user" : "user_or_san");
            return error;
        }
    }
    return 0;
}

// The first role that names a user counts; who runs the ledger could change its books anyway.
static enum role role_of_user(const struct admin *a, uid_t uid)
{
    for (size_t i = 0; i < a->role_count; i++)
        if (!a->roles[i].san[0] && a->roles[i].uid == uid)
            return a->roles[i].role;
    return uid == 0 || uid == geteuid() ? ROLE_ADMIN : ROLE_NONE;
}

static void identify_user(const struct admin *a, struct request *r)
{
    const int64_t peer = http_peer_uid(r->ex);
    const uid_t uid = (uid_t)peer;

    if (peer < 0)
        return;
    const struct passwd *user = getpwuid(uid);
    snprintf(r->who, sizeof(r->who), "uid:%u %.64s", uid, user ? user->pw_name : "?");
    r->actor.role = role_of_user(a, uid);
}

// A connection may last longer than the certificate that it began with.
static void identify_certificate(const struct admin *a, struct request *r,
                                 const struct tls_client *client)
{
    struct span names = buf_span(&client->names);
    const struct span first = span_split(&names, '\n');

    snprintf(r->who, sizeof(r->who), "%.*s", SPAN_FMT(first));
    if (clock_wall_ms() / 1000 > client->until_s)
        return;
    for (size_t i = 0; i < a->role_count; i++) {
        const char *san = a->roles[i].san;
        if (!san[0] || !tls_client_is(client, span_str(san)))
            continue;
        snprintf(r->who, sizeof(r->who), "%s", san);
        r->actor.role = a->roles[i].role;
        return;
    }
}

static void identify(const struct admin *a, struct request *r)
{
    const struct tls_client *client = http_peer_tls(r->ex);

    r->actor = (struct actor){r->who, ROLE_NONE};
    if (client)
        identify_certificate(a, r, client);
    else
        identify_user(a, r);
}

// ---- Answering ----------------------------------------------------------------------------------

static void request_free(struct request *r)
{
    if (--r->waits > 0)
        return;
    json_decref(r->json);
    json_decref(r->out);
    buf_wipe(&r->body);
    buf_wipe(&r->text);
    free(r);
}

static const struct failure {
    int error;
    unsigned status;
    const char *code, *message;
} failures[] = {
    {E_INVALID, 400, "invalid", "the request is not valid"},
    {E_NOT_FOUND, 404, "not_found", "there is no such thing"},
    {E_UNSUPPORTED, 405, "method_not_allowed", "this path does not take that method"},
    {E_EXISTS, 409, "conflict", "it is there already, with other content"},
    {E_DENIED, 409, "not_possible", "this is not possible as things are"},
    {E_AUTH, 403, "role", "your role does not allow this"},
    {E_TOO_LARGE, 413, "too_large", "that is too large"},
    {E_BUSY, 503, "busy", "the books are busy; try again"},
    {E_UNAVAILABLE, 503, "unavailable", "the books or Redis are away"},
    {E_IO, 503, "books", "the books cannot be read or written; see the log"},
};

static void fill_failure(struct request *r, int error)
{
    const struct failure *f = &failures[sizeof(failures) / sizeof(failures[0]) - 1];
    const char *reason = books_reason();

    for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++)
        if (failures[i].error == error)
            f = &failures[i];
    json_decref(r->out);
    r->status = f->status;
    r->type = NULL;
    r->out = record_object();
    json_t *body = record_object();
    record_set_text(body, "code", span_str(f->code));
    record_set_text(body, "message", span_str(*reason ? reason : f->message));
    record_set(r->out, "error", body);
}

static void reply_now(struct request *r, bool projected)
{
    const struct http_field fields[] = {
        {"Content-Type", r->type ? r->type : "application/json"},
        {"Cache-Control", "no-store"},
        {"Cocoon-Projected", projected ? "yes" : "no"},
    };

    if (r->ex) {
        if (!r->type) {
            record_write(&r->text, r->out);
            buf_byte(&r->text, '\n');
        }
        http_reply(r->ex, r->status, fields, 3, &r->text, false);
    }
    request_free(r);
}

static void on_known(void *arg, bool known)
{
    reply_now(arg, known);
}

static void log_request(const struct request *r, int error)
{
    const bool write = r->route && r->route->kind == ROUTE_WRITE;

    log_event(write || error < 0 ? LOG_INFO : LOG_DEBUG, "admin",
              "who=\"%s\" role=%s path=%s %s=%s", r->who, role_name(r->actor.role),
              r->route ? r->route->path : "?", error < 0 ? "error" : "result",
              error < 0 ? error_name(error) : "ok");
}

void admin_answer(struct request *r, int error)
{
    struct ledger *l = r->ledger;

    log_request(r, error);
    l->counters.requests++;
    l->counters.refused += error < 0;
    if (error < 0)
        fill_failure(r, error);
    if (error == 0 && r->route->kind == ROUTE_WRITE)
        projection_await(l->projection, page_missing(l) ? 0 : KNOWN_MS, on_known, r);
    else
        reply_now(r, error == 0);
}

// ---- Running ------------------------------------------------------------------------------------

static int read_body(struct request *r)
{
    const struct span type = http_header(r->ex, "Content-Type");

    if (r->body.len == 0 || !span_starts(type, SPAN("application/json")))
        return 0;
    if (json_read(buf_span(&r->body), &r->json) == 0)
        return 0;
    books_why("the body is not JSON");
    return E_INVALID;
}

static int run(struct request *r)
{
    struct books *b = r->ledger->books;

    r->status = 200;
    if (r->ledger->stopping) {
        books_why("the ledger is stopping");
        return E_UNAVAILABLE;
    }
    if (!(r->route->roles & 1u << r->actor.role))
        return E_AUTH;
    TRY(read_body(r));
    if (r->route->kind == ROUTE_RAW)
        return r->route->run(r);
    TRY(books_begin(b));
    const int error = r->route->run(r);
    fail_point("books.admin.before");
    const int committed = books_end(b, error);
    fail_point("books.admin.after");
    return committed;
}

static void finish(struct request *r)
{
    books_why("%s", "");
    const int error = run(r);
    if (error != E_AGAIN)
        admin_answer(r, error);
}

// ---- HTTP ---------------------------------------------------------------------------------------

static void reply_page(struct http_exchange *ex, unsigned status, const char *type,
                       struct buf *text)
{
    const struct http_field fields[] = {{"Content-Type", type}, {"Cache-Control", "no-store"}};

    http_set_user(ex, NULL);
    http_reply(ex, status, fields, 2, text, false);
}

static bool show_page(struct admin *a, struct http_exchange *ex)
{
    AUTO(buf_fini) struct buf text = {0};
    const char *type;
    unsigned status;

    if (!span_is(http_method(ex), "GET") ||
        page_write(a->ledger, http_path(ex), &status, &type, &text) < 0)
        return false;
    reply_page(ex, status, type, &text);
    return true;
}

// Who may connect to the socket may see how the ledger is; a certificate alone is no reason.
static bool may_look(const struct admin *a, struct http_exchange *ex)
{
    struct request r = {.ex = ex};

    identify(a, &r);
    return !http_peer_tls(ex) || r.actor.role != ROLE_NONE;
}

static void on_head(void *arg, struct http_exchange *ex)
{
    struct admin *a = arg;

    http_set_user(ex, NULL);
    if (may_look(a, ex) && show_page(a, ex))
        return;
    struct request *r = mem_zero(sizeof(*r));
    r->ledger = a->ledger;
    r->ex = ex;
    r->waits = 1; /* the exchange */
    http_set_user(ex, r);
    identify(a, r);
    books_why("%s", "");
    const int error = route_find(http_method(ex), http_path(ex), r);
    if (error == 0 && http_content_length(ex) <= REQUEST_BODY_MAX &&
        http_content_length(ex) != -3) {
        http_receive(ex);
        return;
    }
    r->waits++;
    admin_answer(r, error < 0 ? error : E_TOO_LARGE);
}

static void on_body(void *arg, struct http_exchange *ex, struct span part)
{
    struct request *r = http_user(ex);

    (void)arg;
    if (r->body.len + part.len <= REQUEST_BODY_MAX) {
        buf_append(&r->body, part);
        return;
    }
    books_why("%s", "");
    r->waits++;
    admin_answer(r, E_TOO_LARGE);
}

static void on_body_end(void *arg, struct http_exchange *ex)
{
    struct request *r = http_user(ex);

    (void)arg;
    r->waits++;
    finish(r);
}

static void on_done(void *arg, struct http_exchange *ex, bool complete)
{
    struct request *r = http_user(ex);

    (void)arg, (void)complete;
    if (!r)
        return;
    r->ex = NULL;
    request_free(r);
}

static const struct http_handler handler = {
    .head = on_head,
    .body = on_body,
    .body_end = on_body_end,
    .done = on_done,
};

// Root's and ours, and the group's where there is one.
static int share_socket(const char *path, const char *group)
{
    const struct group *g = group[0] ? getgrnam(group) : NULL;

    if (group[0] && !g) {
        log_event(LOG_ERROR, "admin_group", "why=no_such_group");
        return E_NOT_FOUND;
    }
    if (g && chown(path, (uid_t)-1, g->gr_gid) < 0)
        return E_DENIED;
    return chmod(path, g ? 0660 : 0600) == 0 ? 0 : E_IO;
}

static int listen_private(struct admin *a, const struct http_server_options *o)
{
    const struct ledger_config *s = ledger_settings(a->ledger);
    struct net_addr at;

    TRY(http_server_new(&a->http, a->ledger->loop, o, &handler, a));
    TRY(net_addr_parse(&at, s->admin));
    const mode_t before = umask(0177);
    const int error = http_server_listen(a->http, &at, -1);
    umask(before);
    TRY(error);
    return share_socket(s->admin + sizeof("unix:") - 1, s->admin_group);
}

static int listen_tls(struct admin *a, const struct http_server_options *o)
{
    const struct ledger_config *s = ledger_settings(a->ledger);
    struct http_server_options own = *o;
    struct net_addr at;

    if (!s->tls_listen[0])
        return 0;
    if (tls_services_new(&a->tls, s->tls_chain, s->tls_key, s->tls_client_ca) < 0) {
        log_event(LOG_ERROR, "admin_tls", "why=chain_key_or_client_ca");
        return E_INVALID;
    }
    own.tls = a->tls;
    TRY(net_addr_parse(&at, s->tls_listen));
    TRY(http_server_new(&a->https, a->ledger->loop, &own, &handler, a));
    return http_server_listen_alone(a->https, &at);
}

int admin_new(struct admin **out, struct ledger *l)
{
    struct http_server_options options = http_server_defaults;
    struct admin *a = mem_zero(sizeof(*a));

    a->ledger = l;
    options.daemons = 1;
    options.connection_limit = 256;
    options.drain_ms = 1000;
    int error = read_roles(a);
    if (error == 0)
        error = listen_private(a, &options);
    if (error == 0)
        error = listen_tls(a, &options);
    if (error < 0) {
        admin_free(a);
        return error;
    }
    *out = a;
    return 0;
}

void admin_reload(struct admin *a)
{
    const struct ledger_config *s = ledger_settings(a->ledger);
    struct tls_ctx *tls = NULL;

    if (a->https && tls_services_new(&tls, s->tls_chain, s->tls_key, s->tls_client_ca) < 0) {
        log_event(LOG_ERROR, "reload_refused", "why=\"%s\"",
                  "admin_tls: chain, key or client_ca is no such file, or not a pair");
        return;
    }
    if (a->https) {
        http_server_use_tls(a->https, tls);
        tls_ctx_free(a->tls);
        a->tls = tls;
    }
    log_event(LOG_INFO, "reloaded", "admin_tls=%s", a->https ? "yes" : "no");
}

void admin_free(struct admin *a)
{
    if (!a)
        return;
    http_server_free(a->http);
    http_server_free(a->https);
    tls_ctx_free(a->tls);
    free(a);
}
