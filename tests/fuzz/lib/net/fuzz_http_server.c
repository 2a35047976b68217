/* A client's bytes through a real server on a UNIX socket; libmicrohttpd parses, our steps answer.
 * The path's length picks what the handler does. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/http_server.h"
#include "net/socket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void reply(struct http_exchange *ex, unsigned status)
{
    struct buf body = {0};
    const struct http_field field = {"Content-Type", "text/plain"};

    buf_append_str(&body, "text");
    http_reply(ex, status, &field, 1, &body, status >= 400);
}

static void on_head(void *arg, struct http_exchange *ex)
{
    struct buf token = {0};

    (void)arg;
    (void)http_query(ex);
    (void)http_header_count(ex, "Host");
    if (http_content_length(ex) == -3) {
        reply(ex, 400);
        return;
    }
    switch (http_path(ex).len % 4) {
    case 0:
        reply(ex, 200);
        break;
    case 1:
        http_receive(ex);
        break;
    case 2:
        http_stream_begin(ex, 200, NULL, 0);
        buf_append_str(&token, "data: 1\n\n");
        http_stream_write(ex, buf_span(&token));
        buf_fini(&token);
        http_stream_end(ex, NULL, 0);
        break;
    default:
        break; /* parked until the client leaves */
    }
}

static void on_body(void *arg, struct http_exchange *ex, struct span part)
{
    size_t *total = arg;

    *total += part.len;
    if (*total % 7 == 0)
        reply(ex, 413);
}

static void on_body_end(void *arg, struct http_exchange *ex)
{
    (void)arg;
    reply(ex, 200);
}

static const struct http_handler handler = {
    .head = on_head, .body = on_body, .body_end = on_body_end};

struct rig {
    struct loop *loop;
    struct http_server *server;
    struct net_addr at;
    size_t total;
};

static struct rig r;

static void rig_free(void)
{
    http_server_free(r.server);
    loop_free(r.loop);
}

static struct rig *rig_get(void)
{
    struct http_server_options o = http_server_defaults;
    char path[64];

    if (r.loop)
        return &r;
    o.daemons = 1;
    snprintf(path, sizeof(path), "unix:/tmp/cocoon-fuzz-%d.sock", (int)getpid());
    CHECK(loop_new(&r.loop) == 0 && atexit(rig_free) == 0);
    CHECK(http_server_new(&r.server, r.loop, &o, &handler, &r.total) == 0);
    CHECK(net_addr_parse(&r.at, path) == 0);
    CHECK(http_server_listen(r.server, &r.at, -1) == 0);
    return &r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct rig *g = rig_get();
    char waste[4096];
    int fd;

    g->total = 0;
    CHECK(net_connect(&g->at, &fd) == 0);
    loop_turn(g->loop, 0);
    (void)!send(fd, data, len / 2, MSG_NOSIGNAL);
    loop_turn(g->loop, 0);
    (void)!send(fd, data + len / 2, len - len / 2, MSG_NOSIGNAL);
    for (int i = 0; i < 4; i++)
        loop_turn(g->loop, 0);
    while (recv(fd, waste, sizeof(waste), MSG_DONTWAIT) > 0)
        ;
    close(fd);
    for (int i = 0; i < 100 && http_server_connections(g->server) > 0; i++)
        loop_turn(g->loop, 0);
    CHECK(http_server_exchanges(g->server) == 0 && http_server_connections(g->server) == 0);
    return 0;
}
