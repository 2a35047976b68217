/* The offload pool: results come back in the loop, nothing submitted is lost, limits hold. */
#include "net/offload.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <setjmp.h>
#include <cmocka.h>

struct sum {
    struct offload_job job;
    struct offload *pool;
    pthread_t loop_thread;
    int input, output;
    int *done_count;
    int again; /* submit once more from `done` so many times */
};

static atomic_bool gate_open;

static void square(struct offload_job *job)
{
    struct sum *s = CONTAINER(job, struct sum, job);

    assert_false(pthread_equal(s->loop_thread, pthread_self()));
    s->output = s->input * s->input;
}

static void wait_gate(struct offload_job *job)
{
    (void)job;
    while (!atomic_load(&gate_open))
        sched_yield();
}

static void count_done(struct offload_job *job)
{
    struct sum *s = CONTAINER(job, struct sum, job);

    assert_true(pthread_equal(s->loop_thread, pthread_self()));
    ++*s->done_count;
    if (s->again-- > 0)
        assert_int_equal(offload_submit(s->pool, job), 0);
}

static struct sum make_job(struct offload *pool, int input, int *done_count)
{
    return (struct sum){.job = {.work = square, .done = count_done},
                        .pool = pool,
                        .loop_thread = pthread_self(),
                        .input = input,
                        .done_count = done_count};
}

static void every_result_comes_back_in_the_loop_thread(void **state)
{
    struct loop *l = NULL;
    struct offload *pool = NULL;
    static struct sum jobs[500];
    int done = 0;

    (void)state;
    assert_int_equal(loop_new(&l), 0);
    assert_int_equal(offload_new(&pool, l, 3), 0);
    for (int i = 0; i < 500; i++) {
        jobs[i] = make_job(pool, i, &done);
        assert_int_equal(offload_submit(pool, &jobs[i].job), 0);
    }
    while (done < 500)
        loop_turn(l, 1000);
    for (int i = 0; i < 500; i++)
        assert_int_equal(jobs[i].output, i * i);
    assert_int_equal(offload_queued(pool), 0);
    offload_free(pool);
    loop_free(l);
}

static void a_done_may_submit_its_job_again(void **state)
{
    struct loop *l = NULL;
    struct offload *pool = NULL;
    int done = 0;

    (void)state;
    assert_int_equal(loop_new(&l), 0);
    assert_int_equal(offload_new(&pool, l, 2), 0);
    struct sum job = make_job(pool, 3, &done);
    job.again = 99;
    assert_int_equal(offload_submit(pool, &job.job), 0);
    while (done < 100)
        loop_turn(l, 1000);
    offload_free(pool);
    loop_free(l);
}

static void freeing_the_pool_works_off_what_waits_and_calls_every_done(void **state)
{
    struct loop *l = NULL;
    struct offload *pool = NULL;
    static struct sum jobs[100];
    int done = 0;

    (void)state;
    assert_int_equal(loop_new(&l), 0);
    assert_int_equal(offload_new(&pool, l, 2), 0);
    for (int i = 0; i < 100; i++) {
        jobs[i] = make_job(pool, i, &done);
        assert_int_equal(offload_submit(pool, &jobs[i].job), 0);
    }
    offload_free(pool);
    assert_int_equal(done, 100);
    assert_int_equal(jobs[99].output, 99 * 99);
    loop_free(l);
}

static void a_stopped_pool_has_called_every_done_and_takes_no_job(void **state)
{
    struct loop *l = NULL;
    struct offload *pool = NULL;
    static struct sum jobs[100];
    int done = 0;

    (void)state;
    assert_int_equal(loop_new(&l), 0);
    assert_int_equal(offload_new(&pool, l, 2), 0);
    for (int i = 0; i < 100; i++) {
        jobs[i] = make_job(pool, i, &done);
        assert_int_equal(offload_submit(pool, &jobs[i].job), 0);
    }
    offload_stop(pool);
    assert_int_equal(done, 100);
    assert_int_equal(offload_submit(pool, &jobs[0].job), E_CLOSED);
    loop_turn(l, 0);
    offload_free(pool);
    assert_int_equal(done, 100);
    loop_free(l);
}

static void beyond_ten_thousand_waiting_jobs_the_pool_is_busy(void **state)
{
    struct loop *l = NULL;
    struct offload *pool = NULL;
    static struct sum jobs[10000];
    int done = 0;

    (void)state;
    atomic_store(&gate_open, false);
    assert_int_equal(loop_new(&l), 0);
    assert_int_equal(offload_new(&pool, l, 1), 0);
    struct sum blocker = make_job(pool, 0, &done), extra = make_job(pool, 0, &done);
    blocker.job.work = wait_gate;
    assert_int_equal(offload_submit(pool, &blocker.job), 0);
    while (offload_queued(pool) > 0)
        sched_yield();
    for (int i = 0; i < 10000; i++) {
        jobs[i] = make_job(pool, i, &done);
        assert_int_equal(offload_submit(pool, &jobs[i].job), 0);
    }
    assert_int_equal(offload_queued(pool), 10000);
    assert_int_equal(offload_submit(pool, &extra.job), E_BUSY);
    atomic_store(&gate_open, true);
    offload_free(pool);
    assert_int_equal(done, 10001);
    loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_result_comes_back_in_the_loop_thread),
        cmocka_unit_test(a_done_may_submit_its_job_again),
        cmocka_unit_test(freeing_the_pool_works_off_what_waits_and_calls_every_done),
        cmocka_unit_test(a_stopped_pool_has_called_every_done_and_takes_no_job),
        cmocka_unit_test(beyond_ten_thousand_waiting_jobs_the_pool_is_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
