/* Closing a connection whose client is still sending: the answer is out and the sending side shut,
 * the rest is read and thrown away for a while. libmicrohttpd closes its own descriptor at once;
 * ours is a second one of the same socket. A connection above the limit, which libmicrohttpd never
 * sees, is answered here: once the client has said something, as clients expect it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/http_impl.h"

enum {
    LINGER_MS = 5000,
    LINGER_BYTES = 64 << 20,
    LINGER_MAX = 256, /* at a time; beyond, a reset must do */
    REFUSE_MS = 2000,
    REFUSE_BYTES = 1 << 20,
    REFUSE_MAX =
        128, /* of LINGER_MAX; beyond, the answer goes out at once and the socket with it */
    READS_A_TURN = 16, /* of 64 KiB */
};

struct leaver {
    struct http_server *server;
    struct list link;
    int fd;
    struct loop_fd watch;
    struct loop_timer timer;
    size_t bytes, most;
    struct span answer; /* to be sent still */
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

/* What a fresh socket has no room for is lost with it. */
static void say(int fd, struct span answer)
{
    if (answer.len > 0)
        (void)!send(fd, answer.data, answer.len, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)shutdown(fd, SHUT_WR);
}

static void on_linger_late(void *arg)
{
    struct leaver *g = arg;

    say(g->fd, g->answer);
    linger_stop(g);
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
        if (g->answer.len > 0)
            say(g->fd, g->answer);
        g->answer = (struct span){0};
        if (n <= 0 || g->bytes > g->most) {
            linger_stop(g);
            return;
        }
    }
}

/* Takes fd. */
static void linger(struct http_server *s, int fd, struct span answer, uint64_t ms, size_t most)
{
    struct leaver *g = mem_zero(sizeof(*g));

    *g = (struct leaver){.server = s, .fd = fd, .most = most, .answer = answer};
    list_push(&s->lingering, &g->link);
    s->linger_count++;
    loop_timer_set(s->loop, &g->timer, ms, on_linger_late, g);
    if (loop_fd_add(s->loop, &g->watch, fd, EPOLLIN, on_readable, g) < 0)
        linger_stop(g);
}

void http_linger(struct http_server *s, int fd)
{
    int own = s->linger_count < LINGER_MAX ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;

    if (own < 0)
        return;
    (void)shutdown(own, SHUT_WR);
    linger(s, own, (struct span){0}, LINGER_MS, LINGER_BYTES);
}

void http_refuse(struct http_server *s, int fd)
{
    s->refused++;
    if (s->o.full_answer.len > 0 && s->linger_count < REFUSE_MAX) {
        linger(s, fd, s->o.full_answer, REFUSE_MS, REFUSE_BYTES);
        return;
    }
    say(fd, s->o.full_answer);
    close(fd);
}

void http_linger_stop_all(struct http_server *s)
{
    struct list *link;

    while ((link = list_pop(&s->lingering)))
        linger_stop(CONTAINER(link, struct leaver, link));
}
