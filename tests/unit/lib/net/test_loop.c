/* The loop: order of a turn, timers, stale events, masks, hooks, deferred free, signals. */
#include "net/loop.h"

#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

#include "base/clock.h"

/* What happened, one letter an event. */
struct trace {
    struct loop *loop;
    char text[64];
    size_t len;
};

static void note(struct trace *t, char c)
{
    assert_true(t->len + 1 < sizeof(t->text));
    t->text[t->len++] = c;
}

static int setup(void **state)
{
    struct trace *t = calloc(1, sizeof(*t));
    assert_int_equal(loop_new(&t->loop), 0);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct trace *t = *state;
    loop_free(t->loop);
    free(t);
    return 0;
}

static void note_fd(void *arg, uint32_t events)
{
    (void)events;
    note(arg, 'f');
}

static void note_timer(void *arg)
{
    note(arg, 't');
}

static void note_reap(void *arg)
{
    note(arg, 'r');
}

static void note_wake(void *arg)
{
    note(arg, 'w');
}

static void note_serve(void *arg)
{
    note(arg, 's');
}

static void note_flush(void *arg)
{
    note(arg, 'l');
}

static void note_free(void *arg)
{
    note(arg, 'x');
}

static void defer_in_wake(void *arg)
{
    struct trace *t = arg;
    note(t, 'w');
    loop_defer_free(t->loop, t, note_free);
}

static void make_pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
}

static void a_turn_runs_its_steps_in_order(void **state)
{
    struct trace *t = *state;
    struct loop_fd watch = {0};
    struct loop_timer timer = {0};
    struct loop_hook hooks[] = {
        {.step = LOOP_FLUSH, .run = note_flush, .arg = t},
        {.step = LOOP_SERVE, .run = note_serve, .arg = t},
        {.step = LOOP_WAKE, .run = defer_in_wake, .arg = t},
        {.step = LOOP_REAP, .run = note_reap, .arg = t},
    };
    int fds[2];

    make_pair(fds);
    for (size_t i = 0; i < 4; i++)
        loop_hook_add(t->loop, &hooks[i]);
    loop_timer_set(t->loop, &timer, 0, note_timer, t);
    assert_int_equal(loop_fd_add(t->loop, &watch, fds[0], EPOLLIN, note_fd, t), 0);
    assert_int_equal(write(fds[1], "x", 1), 1);
    loop_turn(t->loop, 1000);
    assert_string_equal(t->text, "ftrwslx");

    for (size_t i = 0; i < 4; i++)
        loop_hook_del(t->loop, &hooks[i]);
    loop_fd_del(t->loop, &watch);
    close(fds[0]);
    close(fds[1]);
}

/* Two watches that are both ready; whichever comes first deletes the other. */
struct killer {
    struct trace *trace;
    struct loop_fd watch;
    struct killer *other;
};

static void kill_other(void *arg, uint32_t events)
{
    struct killer *k = arg;

    (void)events;
    note(k->trace, 'k');
    loop_fd_del(k->trace->loop, &k->other->watch);
}

static void a_deleted_watch_gets_no_stale_event_of_the_same_batch(void **state)
{
    struct trace *t = *state;
    struct killer a = {.trace = t}, b = {.trace = t};
    int fds[2];

    a.other = &b;
    b.other = &a;
    make_pair(fds);
    assert_int_equal(loop_fd_add(t->loop, &a.watch, fds[0], EPOLLOUT, kill_other, &a), 0);
    assert_int_equal(loop_fd_add(t->loop, &b.watch, fds[1], EPOLLOUT, kill_other, &b), 0);
    loop_turn(t->loop, 1000);
    assert_string_equal(t->text, "k");
    loop_fd_del(t->loop, &a.watch);
    loop_fd_del(t->loop, &a.watch); /* twice is harmless */
    loop_fd_del(t->loop, &b.watch);
    close(fds[0]);
    close(fds[1]);
}

static void a_mask_of_zero_rests_even_when_the_peer_hangs_up(void **state)
{
    struct trace *t = *state;
    struct loop_fd watch = {0};
    int fds[2];

    make_pair(fds);
    assert_int_equal(loop_fd_add(t->loop, &watch, fds[0], EPOLLIN, note_fd, t), 0);
    loop_fd_want(t->loop, &watch, 0);
    close(fds[1]);
    loop_turn(t->loop, 5);
    assert_string_equal(t->text, "");
    loop_fd_want(t->loop, &watch, EPOLLIN);
    loop_turn(t->loop, 1000);
    assert_string_equal(t->text, "f");
    loop_fd_del(t->loop, &watch);
    close(fds[0]);
}

static void a_wanted_mask_takes_effect_before_the_next_wait(void **state)
{
    struct trace *t = *state;
    struct loop_fd watch = {0};
    int fds[2];

    make_pair(fds);
    assert_int_equal(loop_fd_add(t->loop, &watch, fds[0], EPOLLIN, note_fd, t), 0);
    loop_fd_want(t->loop, &watch, EPOLLIN | EPOLLOUT);
    assert_int_equal(watch.applied, EPOLLIN);
    loop_turn(t->loop, 1000);
    assert_int_equal(watch.applied, EPOLLIN | EPOLLOUT);
    assert_string_equal(t->text, "f");
    loop_fd_del(t->loop, &watch);
    close(fds[0]);
    close(fds[1]);
}

static void watching_a_bad_descriptor_is_an_error_and_leaves_nothing(void **state)
{
    struct trace *t = *state;
    struct loop_fd watch = {0};

    assert_int_equal(loop_fd_add(t->loop, &watch, 1 << 20, EPOLLIN, note_fd, t), E_IO);
    assert_null(watch.fn);
}

struct ordered {
    struct loop_timer timer;
    uint64_t due, *last;
    int *left;
};

static void check_order(void *arg)
{
    struct ordered *o = arg;

    assert_true(o->due >= *o->last);
    *o->last = o->due;
    --*o->left;
}

static void a_thousand_timers_fire_in_order_and_cancelled_ones_never(void **state)
{
    struct trace *t = *state;
    static struct ordered timers[1000];
    uint64_t last = 0;
    int left = 0;

    for (size_t i = 0; i < 1000; i++) {
        timers[i] = (struct ordered){.due = (i * 7919) % 23, .last = &last, .left = &left};
        loop_timer_set(t->loop, &timers[i].timer, timers[i].due, check_order, &timers[i]);
    }
    for (size_t i = 0; i < 1000; i++) {
        if (i % 3 == 0) {
            loop_timer_cancel(t->loop, &timers[i].timer);
            assert_false(loop_timer_is_set(&timers[i].timer));
        } else {
            left++;
        }
    }
    while (left > 0)
        loop_turn(t->loop, 1000);
    for (size_t i = 0; i < 1000; i++)
        assert_false(loop_timer_is_set(&timers[i].timer));
}

static void setting_a_timer_again_moves_it(void **state)
{
    struct trace *t = *state;
    struct loop_timer timer = {0};
    uint64_t start = clock_mono_ms();

    loop_timer_set(t->loop, &timer, 10000, note_timer, t);
    loop_timer_set(t->loop, &timer, 5, note_timer, t);
    while (t->len == 0)
        loop_turn(t->loop, -1);
    assert_in_range(clock_mono_ms() - start, 5, 2000);
    loop_turn(t->loop, 0);
    assert_string_equal(t->text, "t");
}

struct repeating {
    struct trace *trace;
    struct loop_timer timer;
};

static void set_again(void *arg)
{
    struct repeating *r = arg;
    note(r->trace, 't');
    loop_timer_set(r->trace->loop, &r->timer, 0, set_again, r);
}

static void a_timer_that_sets_itself_to_zero_fires_once_a_turn(void **state)
{
    struct trace *t = *state;
    struct repeating r = {.trace = t};

    loop_timer_set(t->loop, &r.timer, 0, set_again, &r);
    for (int i = 0; i < 3; i++)
        loop_turn(t->loop, 1000);
    assert_string_equal(t->text, "ttt");
    loop_timer_cancel(t->loop, &r.timer);
}

static void a_timer_may_cancel_another_that_is_due_as_well(void **state)
{
    struct trace *t = *state;
    struct loop_timer first = {0}, second = {0};
    struct repeating r = {.trace = t};

    loop_timer_set(t->loop, &first, 0, note_timer, t);
    loop_timer_set(t->loop, &r.timer, 0, note_timer, t);
    loop_timer_set(t->loop, &second, 0, note_timer, t);
    loop_timer_cancel(t->loop, &r.timer);
    loop_turn(t->loop, 1000);
    assert_string_equal(t->text, "tt");
}

static int wait_3(void *arg)
{
    (void)arg;
    return 3;
}

static int wait_any(void *arg)
{
    (void)arg;
    return -1;
}

static void the_shortest_wait_of_all_hooks_counts(void **state)
{
    struct trace *t = *state;
    struct loop_hook a = {.step = LOOP_REAP, .run = note_reap, .before_wait = wait_any, .arg = t};
    struct loop_hook b = {.step = LOOP_SERVE, .run = note_serve, .before_wait = wait_3, .arg = t};
    uint64_t start = clock_mono_ms();

    loop_hook_add(t->loop, &a);
    loop_hook_add(t->loop, &b);
    loop_turn(t->loop, 10000);
    assert_in_range(clock_mono_ms() - start, 2, 2000);
    loop_hook_del(t->loop, &a);
    loop_hook_del(t->loop, &b);
}

static void loop_again_makes_the_coming_wait_zero_and_only_that(void **state)
{
    struct trace *t = *state;
    uint64_t start = clock_mono_ms();

    loop_again(t->loop);
    loop_turn(t->loop, 5000);
    assert_true(clock_mono_ms() - start < 1000);
    start = clock_mono_ms();
    loop_turn(t->loop, 20);
    assert_true(clock_mono_ms() - start >= 19);
}

struct selfish {
    struct trace *trace;
    struct loop_hook hook, *next;
};

static void delete_self_and_next(void *arg)
{
    struct selfish *s = arg;
    note(s->trace, 'd');
    loop_hook_del(s->trace->loop, &s->hook);
    loop_hook_del(s->trace->loop, s->next);
}

static void a_hook_may_delete_itself_and_the_next_one(void **state)
{
    struct trace *t = *state;
    struct selfish s = {.trace = t};
    struct loop_hook next = {.step = LOOP_WAKE, .run = note_wake, .arg = t};
    struct loop_hook last = {.step = LOOP_WAKE, .run = note_wake, .arg = t};

    s.hook = (struct loop_hook){.step = LOOP_WAKE, .run = delete_self_and_next, .arg = &s};
    s.next = &next;
    loop_hook_add(t->loop, &s.hook);
    loop_hook_add(t->loop, &next);
    loop_hook_add(t->loop, &last);
    loop_turn(t->loop, 0);
    loop_turn(t->loop, 0);
    assert_string_equal(t->text, "dww");
    loop_hook_del(t->loop, &last);
}

static void defer_again(void *arg)
{
    struct trace *t = arg;
    note(t, 'x');
    loop_defer_free(t->loop, t, note_free);
}

static void what_a_deferred_free_defers_is_freed_in_the_same_turn(void **state)
{
    struct trace *t = *state;

    loop_defer_free(t->loop, t, defer_again);
    assert_string_equal(t->text, "");
    loop_turn(t->loop, 1000);
    assert_string_equal(t->text, "xx");
}

static void stop_loop(void *arg)
{
    struct trace *t = arg;
    note(t, 't');
    loop_stop(t->loop);
}

static void a_stopped_loop_can_run_again(void **state)
{
    struct trace *t = *state;
    struct loop_timer timer = {0};

    for (int i = 0; i < 2; i++) {
        loop_timer_set(t->loop, &timer, 1, stop_loop, t);
        loop_run(t->loop);
    }
    assert_string_equal(t->text, "tt");
}

static void note_signal(void *arg, int signo)
{
    assert_int_equal(signo, SIGUSR1);
    note(arg, 'u');
}

static void a_signal_is_an_event(void **state)
{
    struct trace *t = *state;
    int signos[] = {SIGUSR1};

    assert_int_equal(loop_signals(t->loop, signos, 1, note_signal, t), 0);
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    loop_turn(t->loop, 1000);
    assert_string_equal(t->text, "u");
}

static void a_signal_after_the_end_of_signals_is_told_to_nobody(void **state)
{
    struct trace *t = *state;
    int signos[] = {SIGUSR1};
    sigset_t set;

    assert_int_equal(loop_signals(t->loop, signos, 1, note_signal, t), 0);
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    loop_signals_end(t->loop);
    loop_turn(t->loop, 0);
    loop_signals_end(t->loop); /* twice is harmless */
    assert_string_equal(t->text, "");
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    assert_int_equal(sigwaitinfo(&set, NULL), SIGUSR1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        CASE(a_turn_runs_its_steps_in_order),
        CASE(a_deleted_watch_gets_no_stale_event_of_the_same_batch),
        CASE(a_mask_of_zero_rests_even_when_the_peer_hangs_up),
        CASE(a_wanted_mask_takes_effect_before_the_next_wait),
        CASE(watching_a_bad_descriptor_is_an_error_and_leaves_nothing),
        CASE(a_thousand_timers_fire_in_order_and_cancelled_ones_never),
        CASE(setting_a_timer_again_moves_it),
        CASE(a_timer_that_sets_itself_to_zero_fires_once_a_turn),
        CASE(a_timer_may_cancel_another_that_is_due_as_well),
        CASE(the_shortest_wait_of_all_hooks_counts),
        CASE(loop_again_makes_the_coming_wait_zero_and_only_that),
        CASE(a_hook_may_delete_itself_and_the_next_one),
        CASE(what_a_deferred_free_defers_is_freed_in_the_same_turn),
        CASE(a_stopped_loop_can_run_again),
        CASE(a_signal_is_an_event),
        CASE(a_signal_after_the_end_of_signals_is_told_to_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
