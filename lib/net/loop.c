/* The event loop over epoll: a binary heap of timers, hooks in the order of a turn, masks written
 * once a turn, deferred free. */
#include "net/loop.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"

enum { BATCH = 256 };

struct deferred {
    void *obj;
    void (*free_fn)(void *obj);
};

struct loop {
    int epoll_fd;
    uint64_t now_ms;
    bool stopped, in_turn, again;

    struct epoll_event batch[BATCH];
    int batch_len, batch_at; /* events of this turn; those from batch_at on are not delivered yet */
    struct list dirty;       /* watches whose mask epoll does not know yet */

    struct heap timers; /* smallest (due_ms, seq) first */
    uint64_t timer_seq;

    struct list hooks[LOOP_STEPS];
    struct list *hook_next; /* the hook that runs after the present one */

    struct deferred *deferred;
    size_t deferred_len, deferred_cap;

    struct loop_fd signal_watch;
    loop_signal_fn *signal_fn;
    void *signal_arg;
};

static struct loop_timer *timer_at(struct heap_link *at)
{
    return CONTAINER(at, struct loop_timer, link);
}

static bool is_earlier(struct heap_link *x, struct heap_link *y)
{
    const struct loop_timer *a = timer_at(x), *b = timer_at(y);

    return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : a->seq < b->seq;
}

int loop_new(struct loop **out)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0)
        return E_IO;
    struct loop *l = mem_zero(sizeof(*l));
    l->epoll_fd = fd;
    l->now_ms = clock_mono_ms();
    list_init(&l->dirty);
    l->timers.before = is_earlier;
    for (int i = 0; i < LOOP_STEPS; i++)
        list_init(&l->hooks[i]);
    *out = l;
    return 0;
}

uint64_t loop_now(const struct loop *l)
{
    return l->now_ms;
}

void loop_stop(struct loop *l)
{
    l->stopped = true;
}

void loop_again(struct loop *l)
{
    l->again = true;
}

/* ---- Descriptors ---- */

/* Tells epoll the wanted mask. A mask of 0 leaves epoll altogether, since epoll reports EPOLLHUP
 * unasked. */
static int apply_mask(struct loop *l, struct loop_fd *w)
{
    struct epoll_event ev = {.events = w->wanted, .data.ptr = w};
    int op = w->applied == 0 ? EPOLL_CTL_ADD : w->wanted == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;

    if (w->wanted == w->applied)
        return 0;
    if (epoll_ctl(l->epoll_fd, op, w->fd, &ev) < 0)
        return E_IO;
    w->applied = w->wanted;
    return 0;
}

int loop_fd_add(struct loop *l, struct loop_fd *w, int fd, uint32_t events, loop_fd_fn *fn,
                void *arg)
{
    CHECK(!w->fn && fn);
    *w = (struct loop_fd){.fd = fd, .wanted = events, .fn = fn, .arg = arg};
    int error = apply_mask(l, w);
    if (error < 0)
        *w = (struct loop_fd){0};
    return error;
}

void loop_fd_want(struct loop *l, struct loop_fd *w, uint32_t events)
{
    CHECK(w->fn);
    w->wanted = events;
    if (list_empty(&w->dirty))
        list_push(&l->dirty, &w->dirty);
}

/* The owner may close the descriptor or free the watch next, so this cannot wait for the end of the
 * turn. */
void loop_fd_del(struct loop *l, struct loop_fd *w)
{
    if (!w->fn)
        return;
    if (w->applied != 0)
        epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
    list_del(&w->dirty);
    for (int i = l->batch_at; i < l->batch_len; i++)
        if (l->batch[i].data.ptr == w)
            l->batch[i].data.ptr = NULL;
    *w = (struct loop_fd){0};
}

static void apply_dirty(struct loop *l)
{
    struct list *link;

    /* A descriptor closed while it is still watched is a mistake of the owner's, never of a peer.
     */
    while ((link = list_pop(&l->dirty)))
        CHECK(apply_mask(l, CONTAINER(link, struct loop_fd, dirty)) == 0);
}

static void deliver_events(struct loop *l)
{
    while (l->batch_at < l->batch_len) {
        struct epoll_event *ev = &l->batch[l->batch_at++];
        struct loop_fd *w = ev->data.ptr;
        if (w)
            w->fn(w->arg, ev->events);
    }
}

/* ---- Timers ---- */

void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t after_ms, loop_timer_fn *fn,
                    void *arg)
{
    t->due_ms = after_ms > UINT64_MAX - l->now_ms ? UINT64_MAX : l->now_ms + after_ms;
    t->seq = ++l->timer_seq;
    t->fn = fn;
    t->arg = arg;
    heap_set(&l->timers, &t->link);
}

void loop_timer_cancel(struct loop *l, struct loop_timer *t)
{
    heap_del(&l->timers, &t->link);
}

/* Timers set meanwhile have a later seq: they wait for the next turn, however short they are. */
static void fire_timers(struct loop *l)
{
    uint64_t seq_end = l->timer_seq;

    for (struct heap_link *at; (at = heap_first(&l->timers)) != NULL;) {
        struct loop_timer *t = timer_at(at);
        if (t->due_ms > l->now_ms || t->seq > seq_end)
            return;
        loop_timer_cancel(l, t);
        t->fn(t->arg);
    }
}

/* ---- Hooks ---- */

void loop_hook_add(struct loop *l, struct loop_hook *h)
{
    list_push(&l->hooks[h->step], &h->link);
}

void loop_hook_del(struct loop *l, struct loop_hook *h)
{
    if (l->hook_next == &h->link)
        l->hook_next = h->link.next;
    list_del(&h->link);
}

static void run_hooks(struct loop *l, struct list *hooks)
{
    for (struct list *it = hooks->next; it != hooks; it = l->hook_next) {
        struct loop_hook *h = CONTAINER(it, struct loop_hook, link);
        l->hook_next = it->next;
        h->run(h->arg);
    }
    l->hook_next = NULL;
}

/* ---- Deferred free ---- */

void loop_defer_free(struct loop *l, void *obj, void (*free_fn)(void *obj))
{
    if (l->deferred_len == l->deferred_cap) {
        l->deferred_cap = l->deferred_cap ? 2 * l->deferred_cap : 32;
        l->deferred = mem_grow(l->deferred, l->deferred_cap * sizeof(struct deferred));
    }
    l->deferred[l->deferred_len++] = (struct deferred){obj, free_fn};
}

/* free_fn may defer more. */
static void run_deferred(struct loop *l)
{
    for (size_t i = 0; i < l->deferred_len; i++) {
        struct deferred d = l->deferred[i];
        d.free_fn(d.obj);
    }
    l->deferred_len = 0;
}

/* ---- A turn ---- */

static int shorter_wait(int a, int b)
{
    return a < 0 ? b : b < 0 ? a : a < b ? a : b;
}

/* The clock is read anew: the turn that set the timers may have been a long one. */
static int timer_wait(const struct loop *l)
{
    struct heap_link *first = heap_first(&l->timers);

    if (!first)
        return -1;
    uint64_t now = clock_mono_ms(), due = timer_at(first)->due_ms;
    if (due <= now)
        return 0;
    return due - now > INT_MAX ? INT_MAX : (int)(due - now);
}

static int hooks_wait(struct loop *l)
{
    int wait = -1;

    for (int step = 0; step < LOOP_STEPS; step++) {
        LIST_FOREACH(it, &l->hooks[step]) {
            struct loop_hook *h = CONTAINER(it, struct loop_hook, link);
            if (h->before_wait)
                wait = shorter_wait(wait, h->before_wait(h->arg));
        }
    }
    return wait;
}

static void wait_events(struct loop *l, int max_wait_ms)
{
    int wait = shorter_wait(max_wait_ms, shorter_wait(timer_wait(l), hooks_wait(l)));

    apply_dirty(l);
    if (l->again || l->deferred_len > 0)
        wait = 0;
    l->again = false;
    int n = epoll_wait(l->epoll_fd, l->batch, BATCH, wait);
    CHECK(n >= 0 || errno == EINTR);
    l->batch_at = 0;
    l->batch_len = n < 0 ? 0 : n;
    l->now_ms = clock_mono_ms();
}

void loop_turn(struct loop *l, int max_wait_ms)
{
    CHECK(!l->in_turn);
    l->in_turn = true;
    wait_events(l, max_wait_ms);
    deliver_events(l);
    fire_timers(l);
    for (int step = 0; step < LOOP_STEPS; step++)
        run_hooks(l, &l->hooks[step]);
    run_deferred(l);
    l->in_turn = false;
}

void loop_run(struct loop *l)
{
    l->stopped = false;
    while (!l->stopped)
        loop_turn(l, -1);
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    run_deferred(l);
    loop_signals_end(l);
    CHECK(!l->in_turn && l->timers.len == 0);
    close(l->epoll_fd);
    heap_fini(&l->timers);
    free(l->deferred);
    free(l);
}

/* ---- Signals ---- */

static void read_signals(void *arg, uint32_t events)
{
    struct loop *l = arg;
    struct signalfd_siginfo info;

    (void)events;
    while (read(l->signal_watch.fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        l->signal_fn(l->signal_arg, (int)info.ssi_signo);
}

int loop_signals(struct loop *l, const int *signos, size_t count, loop_signal_fn *fn, void *arg)
{
    sigset_t set;

    CHECK(!l->signal_watch.fn);
    sigemptyset(&set);
    for (size_t i = 0; i < count; i++)
        sigaddset(&set, signos[i]);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
        return E_IO;
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        return E_IO;
    l->signal_fn = fn;
    l->signal_arg = arg;
    int error = loop_fd_add(l, &l->signal_watch, fd, EPOLLIN, read_signals, l);
    if (error < 0)
        close(fd);
    return error;
}

void loop_signals_end(struct loop *l)
{
    const int fd = l->signal_watch.fd;

    if (!l->signal_watch.fn)
        return;
    loop_fd_del(l, &l->signal_watch);
    close(fd);
}
