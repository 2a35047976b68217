/* Closing a connection whose client is still sending: the answer is out and the sending side shut,
 * the rest is read and thrown away for a while. libmicrohttpd closes its own descriptor at once;
 * ours is a second one of the same socket. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/http_impl.h"

enum {
    LINGER_MS = 5000,
    LINGER_BYTES = 64 << 20,
    LINGER_MAX = 256,  /* at a time; beyond, a reset must do */
    READS_A_TURN = 16, /* of 64 KiB */
};

struct leaver {
    struct http_server *server;
    struct list link;
    int fd;
    struct loop_fd watch;
    struct loop_timer timer;
    size_t bytes;
};

static void linger_stop(struct leaver *g)
{
    struct http_server *s = g->server;

    loop_fd_del(s->loop, &g->watch);
    loop_timer_cancel(s->loop, &g->timer);
    list_del(&g->link);
    s->linger_count--;
    close(g->fd);
    free(g);
}

static void on_linger_late(void *arg)
{
    linger_stop(arg);
}

static void on_readable(void *arg, uint32_t events)
{
    struct leaver *g = arg;
    uint8_t waste[64 << 10];

    (void)events;
    for (int i = 0; i < READS_A_TURN; i++) {
        ssize_t n = recv(g->fd, waste, sizeof(waste), MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        g->bytes += n > 0 ? (size_t)n : 0;
        if (n <= 0 || g->bytes > LINGER_BYTES) {
            linger_stop(g);
            return;
        }
    }
}

void http_linger(struct http_server *s, int fd)
{
    int own = s->linger_count < LINGER_MAX ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;

    if (own < 0)
        return;
    struct leaver *g = mem_zero(sizeof(*g));
    g->server = s;
    g->fd = own;
    list_push(&s->lingering, &g->link);
    s->linger_count++;
    (void)shutdown(own, SHUT_WR);
    loop_timer_set(s->loop, &g->timer, LINGER_MS, on_linger_late, g);
    if (loop_fd_add(s->loop, &g->watch, own, EPOLLIN, on_readable, g) < 0)
        linger_stop(g);
}

void http_linger_stop_all(struct http_server *s)
{
    struct list *link;

    while ((link = list_pop(&s->lingering)))
        linger_stop(CONTAINER(link, struct leaver, link));
}
