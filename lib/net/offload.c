/* The pool: threads take jobs from one queue, finished ones come back through a list and an eventfd
 * that the loop watches. */
#include "net/offload.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { WAITING_LIMIT = 10000 };

struct offload {
    struct loop *loop;
    struct loop_fd inbox;
    int inbox_fd; /* an eventfd that is readable while something is finished */
    pthread_t *threads;
    unsigned thread_count;

    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t work_there;
    struct list waiting, finished;
    bool stopping;
    _Atomic size_t waiting_len; /* written under the lock, read without */
};

/* The loop is woken outside the lock, which it takes first. */
static void finish_job(struct offload *o, struct offload_job *job)
{
    uint64_t one = 1;

    pthread_mutex_lock(&o->lock);
    bool ring = list_empty(&o->finished);
    list_push(&o->finished, &job->link);
    pthread_mutex_unlock(&o->lock);
    /* An eventfd refuses only when its counter overflows, and the loop resets it. */
    if (ring)
        CHECK(write(o->inbox_fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
}

/* What waits when the pool stops is still worked on: its owner relies on `done`. */
static void *run_jobs(void *arg)
{
    struct offload *o = arg;

    pthread_mutex_lock(&o->lock);
    for (;;) {
        struct list *link = list_pop(&o->waiting);
        if (link) {
            struct offload_job *job = CONTAINER(link, struct offload_job, link);
            o->waiting_len--;
            pthread_mutex_unlock(&o->lock);
            job->work(job);
            finish_job(o, job);
            pthread_mutex_lock(&o->lock);
        } else if (o->stopping) {
            break;
        } else {
            pthread_cond_wait(&o->work_there, &o->lock);
        }
    }
    pthread_mutex_unlock(&o->lock);
    return NULL;
}

/* Only what is finished now: a job that submits the next one must not hold up the turn. */
static void call_finished(struct offload *o)
{
    struct list batch, *link;

    list_init(&batch);
    pthread_mutex_lock(&o->lock);
    while ((link = list_pop(&o->finished)))
        list_push(&batch, link);
    pthread_mutex_unlock(&o->lock);
    while ((link = list_pop(&batch))) {
        struct offload_job *job = CONTAINER(link, struct offload_job, link);
        /* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): who submits a job has filled it in */
        job->done(job);
    }
}

static void read_inbox(void *arg, uint32_t events)
{
    struct offload *o = arg;
    uint64_t count;

    (void)events;
    if (read(o->inbox_fd, &count, sizeof(count)) == (ssize_t)sizeof(count))
        call_finished(o);
}

/* Signals are the loop's: the threads take none. */
static int start_threads(struct offload *o, unsigned count)
{
    sigset_t all, before;
    int error = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    o->threads = mem_zero(count * sizeof(pthread_t));
    while (o->thread_count < count && error == 0) {
        error = pthread_create(&o->threads[o->thread_count], NULL, run_jobs, o);
        if (error == 0)
            o->thread_count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0 ? 0 : E_IO;
}

int offload_new(struct offload **out, struct loop *l, unsigned threads)
{
    struct offload *o = mem_zero(sizeof(*o));

    CHECK(threads > 0);
    o->loop = l;
    o->inbox_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    list_init(&o->waiting);
    list_init(&o->finished);
    pthread_mutex_init(&o->lock, NULL);
    pthread_cond_init(&o->work_there, NULL);
    if (o->inbox_fd < 0 || loop_fd_add(l, &o->inbox, o->inbox_fd, EPOLLIN, read_inbox, o) < 0 ||
        start_threads(o, threads) < 0) {
        offload_free(o);
        return E_IO;
    }
    *out = o;
    return 0;
}

int offload_submit(struct offload *o, struct offload_job *job)
{
    int error = 0;

    pthread_mutex_lock(&o->lock);
    if (o->stopping) {
        error = E_CLOSED;
    } else if (o->waiting_len >= WAITING_LIMIT) {
        error = E_BUSY;
    } else {
        list_push(&o->waiting, &job->link);
        o->waiting_len++;
    }
    pthread_mutex_unlock(&o->lock);
    if (error == 0) /* outside the lock, or the thread would wake only to wait for it */
        pthread_cond_signal(&o->work_there);
    return error;
}

size_t offload_queued(const struct offload *o)
{
    return atomic_load_explicit(&o->waiting_len, memory_order_relaxed);
}

void offload_stop(struct offload *o)
{
    pthread_mutex_lock(&o->lock);
    o->stopping = true;
    pthread_cond_broadcast(&o->work_there);
    pthread_mutex_unlock(&o->lock);
    if (o->thread_count == 0)
        return; /* no job was ever begun, or all are done */
    while (o->thread_count > 0)
        pthread_join(o->threads[--o->thread_count], NULL);
    call_finished(o);
}

void offload_free(struct offload *o)
{
    if (!o)
        return;
    offload_stop(o);
    loop_fd_del(o->loop, &o->inbox);
    if (o->inbox_fd >= 0)
        close(o->inbox_fd);
    pthread_cond_destroy(&o->work_there);
    pthread_mutex_destroy(&o->lock);
    free(o->threads);
    free(o);
}
