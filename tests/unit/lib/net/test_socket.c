/* Addresses as text, listeners of every kind, connects, inherited descriptors, look-ups. */
#include "net/listener.h"
#include "net/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

struct world {
    struct loop *loop;
    struct net_listener *listener;
    int accepted;
    int last_fd;
    char peer[160];
    bool free_on_accept;
    char dir[32];
    char path[64]; /* "unix:…/s" */
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_int_equal(loop_new(&w->loop), 0);
    snprintf(w->dir, sizeof(w->dir), "/tmp/socket-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->path, sizeof(w->path), "unix:%s/s", w->dir);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    net_listener_free(w->listener);
    loop_free(w->loop);
    unlink(w->path + 5);
    rmdir(w->dir);
    free(w);
    return 0;
}

static void count_accept(void *arg, int fd, const struct net_addr *peer)
{
    struct world *w = arg;

    w->accepted++;
    net_addr_text(peer, w->peer, sizeof(w->peer));
    if (w->free_on_accept) {
        net_listener_free(w->listener);
        w->listener = NULL;
    }
    if (w->last_fd > 0)
        close(w->last_fd);
    w->last_fd = fd;
}

static void listen_at(struct world *w, const char *text)
{
    struct net_addr at;

    assert_int_equal(net_addr_parse(&at, text), 0);
    assert_int_equal(net_listen(&w->listener, w->loop, &at, count_accept, w), 0);
}

static int connect_back(struct world *w)
{
    struct net_addr at;
    int fd = -1;

    net_listener_addr(w->listener, &at);
    assert_int_equal(net_connect(&at, &fd), 0);
    return fd;
}

static void wait_accepted(struct world *w, int count)
{
    for (int i = 0; i < 100 && w->accepted < count; i++)
        loop_turn(w->loop, 100);
    assert_int_equal(w->accepted, count);
}

static void addresses_survive_the_way_to_text_and_back(void **state)
{
    static const char *const same[] = {"127.0.0.1:80", "[::1]:65535", "0.0.0.0:0",
                                       "unix:/run/x.sock"};
    struct net_addr a;
    char text[160];

    (void)state;
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        assert_int_equal(net_addr_parse(&a, same[i]), 0);
        net_addr_text(&a, text, sizeof(text));
        assert_string_equal(text, same[i]);
    }
    assert_int_equal(net_addr_parse(&a, ":80"), 0);
    net_addr_text(&a, text, sizeof(text));
    assert_string_equal(text, "[::]:80");
}

static void what_is_no_address_is_refused(void **state)
{
    static const char *const bad[] = {
        "",          "80",         "1.2.3.4",        "1.2.3.4:65536", "1.2.3.4:-1",
        "1.2.3.4:",  "[::1:80",    "[::1]80",        "[]:80",         "unix:",
        "1.2.3:80",  "a b:80",     "x.1.2.3.999:80", "host.:80",      "::1:80",
        "1.2.3.4:x", "1.2.3.4:080"};
    struct net_addr a;
    char deep[300] = "unix:";

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(net_addr_parse(&a, bad[i]), E_INVALID);
    memset(deep + 5, 'x', 200);
    assert_int_equal(net_addr_parse(&a, deep), E_INVALID);
    assert_int_equal(net_addr_parse(&a, "localhost:80"), E_NOT_FOUND);
    assert_int_equal(net_addr_parse(&a, "redis-1.internal:6379"), E_NOT_FOUND);
}

static void an_accepted_tcp_connection_is_ready_for_the_loop(void **state)
{
    struct world *w = *state;
    int nodelay = 0;
    socklen_t len = sizeof(nodelay);

    listen_at(w, "127.0.0.1:0");
    int fd = connect_back(w);
    wait_accepted(w, 1);
    assert_true(fcntl(w->last_fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(w->last_fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(getsockopt(w->last_fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &len), 0);
    assert_true(nodelay);
    assert_memory_equal(w->peer, "127.0.0.1:", 10);
    close(w->last_fd);
    close(fd);
}

static void any_address_shows_an_ipv4_client_as_ipv4(void **state)
{
    struct world *w = *state;
    struct net_addr at, back;
    char text[160], *port;
    int fd = -1;

    listen_at(w, ":0");
    net_listener_addr(w->listener, &at);
    net_addr_text(&at, text, sizeof(text));
    port = strrchr(text, ':');
    char to[64];
    snprintf(to, sizeof(to), "127.0.0.1%s", port);
    assert_int_equal(net_addr_parse(&back, to), 0);
    assert_int_equal(net_connect(&back, &fd), 0);
    wait_accepted(w, 1);
    assert_memory_equal(w->peer, "127.0.0.1:", 10);
    close(w->last_fd);
    close(fd);
}

static void two_listeners_share_a_port(void **state)
{
    struct world *w = *state;
    struct net_listener *second = NULL;
    struct net_addr at;

    listen_at(w, "127.0.0.1:0");
    net_listener_addr(w->listener, &at);
    assert_int_equal(net_listen(&second, w->loop, &at, count_accept, w), 0);
    net_listener_free(second);
}

static void who_listens_alone_shares_its_port_with_nobody(void **state)
{
    struct world *w = *state;
    struct net_listener *second = NULL;
    struct net_addr at;

    assert_int_equal(net_addr_parse(&at, "127.0.0.1:0"), 0);
    assert_int_equal(net_listen_alone(&w->listener, w->loop, &at, count_accept, w), 0);
    net_listener_addr(w->listener, &at);
    assert_int_equal(net_listen(&second, w->loop, &at, count_accept, w), E_IO);
    assert_int_equal(errno, EADDRINUSE);
    assert_int_equal(net_listen_alone(&second, w->loop, &at, count_accept, w), E_IO);
    assert_int_equal(errno, EADDRINUSE);
    assert_null(second);
}

static void nobody_listens_alone_where_a_port_is_shared(void **state)
{
    struct world *w = *state;
    struct net_listener *second = NULL;
    struct net_addr at;

    listen_at(w, "127.0.0.1:0");
    net_listener_addr(w->listener, &at);
    assert_int_equal(net_listen_alone(&second, w->loop, &at, count_accept, w), E_IO);
    assert_int_equal(errno, EADDRINUSE);
}

static void a_unix_listener_has_mode_0660_and_takes_its_file_along(void **state)
{
    struct world *w = *state;
    struct stat st;

    listen_at(w, w->path);
    assert_int_equal(stat(w->path + 5, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    int fd = connect_back(w);
    wait_accepted(w, 1);
    assert_string_equal(w->peer, "unix:");
    net_listener_free(w->listener);
    w->listener = NULL;
    assert_int_equal(stat(w->path + 5, &st), -1);
    close(w->last_fd);
    close(fd);
}

static void a_stale_unix_file_is_replaced_and_a_live_one_is_not(void **state)
{
    struct world *w = *state;
    struct net_addr at;
    struct net_listener *other = NULL;

    assert_int_equal(net_addr_parse(&at, w->path), 0);
    int stale = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(stale, (struct sockaddr *)&at.sa, at.len), 0);
    close(stale);
    listen_at(w, w->path);
    assert_int_equal(net_listen(&other, w->loop, &at, count_accept, w), E_IO);
    assert_int_equal(errno, EADDRINUSE);
}

static void a_plain_file_in_the_way_is_left_alone(void **state)
{
    struct world *w = *state;
    struct net_addr at;
    struct stat st;

    close(open(w->path + 5, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(net_addr_parse(&at, w->path), 0);
    assert_int_equal(net_listen(&w->listener, w->loop, &at, count_accept, w), E_IO);
    assert_int_equal(stat(w->path + 5, &st), 0);
}

static void a_listener_may_be_freed_by_its_own_callback(void **state)
{
    struct world *w = *state;
    int fds[3];

    listen_at(w, "127.0.0.1:0");
    w->free_on_accept = true;
    for (int i = 0; i < 3; i++)
        fds[i] = connect_back(w);
    wait_accepted(w, 1);
    loop_turn(w->loop, 5);
    assert_int_equal(w->accepted, 1);
    close(w->last_fd);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}

static void without_free_descriptors_accepting_rests_and_recovers(void **state)
{
    struct world *w = *state;
    struct rlimit before, tight;
    int turns = 0;

    listen_at(w, "127.0.0.1:0");
    int fd = connect_back(w);
    int lowest = dup(0);
    close(lowest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    tight = before;
    tight.rlim_cur = (rlim_t)lowest;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    for (uint64_t end = loop_now(w->loop) + 60; loop_now(w->loop) < end; turns++)
        loop_turn(w->loop, 20);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(turns < 20);
    assert_int_equal(w->accepted, 0);
    wait_accepted(w, 1);
    close(w->last_fd);
    close(fd);
}

static int waiting_client(const struct net_listener *n)
{
    struct net_addr at;
    int fd = -1;

    net_listener_addr(n, &at);
    assert_int_equal(net_connect(&at, &fd), 0);
    return fd;
}

static void what_waits_in_a_retired_listener_is_accepted(void **state)
{
    struct world *w = *state;
    struct net_addr at;
    int fds[20];
    const char *const places[] = {"127.0.0.1:0", w->path};

    for (int p = 0; p < 2; p++) {
        w->accepted = 0;
        assert_int_equal(net_addr_parse(&at, places[p]), 0);
        assert_int_equal(net_listen(&w->listener, w->loop, &at, count_accept, w), 0);
        for (int i = 0; i < 20; i++)
            fds[i] = waiting_client(w->listener);
        net_listener_retire(w->listener);
        assert_int_equal(w->accepted, 20);
        assert_false(net_listener_is_open(w->listener));
        for (int i = 0; i < 20; i++)
            close(fds[i]);
        net_listener_free(w->listener);
        w->listener = NULL;
        loop_turn(w->loop, 0);
    }
    assert_int_equal(access(w->path + 5, F_OK), -1);
}

static void a_shared_listener_leaves_what_waits_to_the_other_process(void **state)
{
    struct world *w = *state;
    struct net_addr at;

    assert_int_equal(net_addr_parse(&at, "127.0.0.1:0"), 0);
    assert_int_equal(net_listen(&w->listener, w->loop, &at, count_accept, w), 0);
    int theirs = dup(net_listener_fd(w->listener)), fd = waiting_client(w->listener);
    net_listener_let_go(w->listener);
    assert_int_equal(w->accepted, 0);
    int taken = accept(theirs, NULL, NULL);
    assert_true(taken >= 0);
    close(taken);
    close(theirs);
    close(fd);
}

/* Bound to any address: clients may be far away, and their handshakes are given time. */
static void a_far_listener_takes_nobody_new_for_a_while_before_it_closes(void **state)
{
    struct world *w = *state;
    struct net_addr at, here;
    char text[32], near[48];
    int fd;

    assert_int_equal(net_addr_parse(&at, "0.0.0.0:0"), 0);
    assert_int_equal(net_listen(&w->listener, w->loop, &at, count_accept, w), 0);
    net_listener_addr(w->listener, &at);
    net_addr_text(&at, text, sizeof(text));
    int waiting = waiting_client(w->listener);
    net_listener_retire(w->listener);
    assert_true(net_listener_is_open(w->listener));
    wait_accepted(w, 1);
    snprintf(near, sizeof(near), "127.0.0.1%s", strrchr(text, ':'));
    assert_int_equal(net_addr_parse(&here, near), 0);
    assert_int_equal(net_connect(&here, &fd), 0); /* its SYN is dropped */
    for (int i = 0; i < 200 && net_listener_is_open(w->listener); i++)
        loop_turn(w->loop, 10);
    assert_false(net_listener_is_open(w->listener));
    assert_int_equal(w->accepted, 1);
    close(fd);
    close(waiting);
}

static void a_descriptor_that_does_not_listen_is_refused(void **state)
{
    struct world *w = *state;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(net_listen_fd(&w->listener, w->loop, fd, count_accept, w), E_INVALID);
    close(fd);
}

/* In a child, with a listening socket as descriptor 3. */
static int serve_inherited(const char *pid)
{
    struct world w = {0};
    struct net_addr at;

    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "1", 1);
    setenv("LISTEN_FDNAMES", "tunnel:more", 1);
    struct net_inherited given;
    int count = net_inherited(&given);
    if (count != 1)
        return 100 + count;
    if (strcmp(given.names[0], "tunnel") != 0 || getenv("LISTEN_FDNAMES"))
        return 4;
    if (getenv("LISTEN_FDS") || loop_new(&w.loop) < 0 ||
        net_listen_fd(&w.listener, w.loop, 3, count_accept, &w) < 0)
        return 1;
    net_listener_addr(w.listener, &at);
    int fd = -1;
    if (net_connect(&at, &fd) < 0)
        return 2;
    for (int i = 0; i < 100 && w.accepted == 0; i++)
        loop_turn(w.loop, 100);
    return w.accepted == 1 ? 0 : 3;
}

static int inherit_in_child(bool right_pid)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        struct net_addr at;
        char text[16];
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (net_addr_parse(&at, "127.0.0.1:0") < 0 ||
            bind(fd, (struct sockaddr *)&at.sa, at.len) < 0 || listen(fd, 8) < 0)
            _exit(90);
        if (fd != 3)
            dup2(fd, 3);
        snprintf(text, sizeof(text), "%d", right_pid ? getpid() : getppid());
        _exit(serve_inherited(text));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void a_listener_handed_over_is_used_only_by_the_process_it_is_for(void **state)
{
    (void)state;
    assert_int_equal(inherit_in_child(true), 0);
    assert_int_equal(inherit_in_child(false), 100);
}

static void connecting_to_nobody_fails(void **state)
{
    struct net_addr at;
    int fd = -1;

    struct world *w = *state;
    assert_int_equal(net_addr_parse(&at, w->path), 0);
    assert_int_equal(net_connect(&at, &fd), E_IO);
    assert_int_equal(fd, -1);
}

struct lookup {
    int calls, error;
    char text[160];
};

static void note_lookup(void *arg, int error, const struct net_addr *addr)
{
    struct lookup *r = arg;

    r->calls++;
    r->error = error;
    if (addr)
        net_addr_text(addr, r->text, sizeof(r->text));
}

static void names_are_looked_up_off_the_loop(void **state)
{
    struct world *w = *state;
    struct offload *pool = NULL;
    struct lookup name = {0}, number = {0}, nobody = {0};

    assert_int_equal(offload_new(&pool, w->loop, 1), 0);
    assert_int_equal(net_resolve(pool, "localhost:7", note_lookup, &name), 0);
    assert_int_equal(net_resolve(pool, "127.0.0.1:8", note_lookup, &number), 0);
    assert_int_equal(net_resolve(pool, "no-such-host.invalid:9", note_lookup, &nobody), 0);
    assert_int_equal(net_resolve(pool, "no port", note_lookup, &nobody), E_INVALID);
    assert_int_equal(name.calls, 0);
    offload_free(pool);
    assert_int_equal(name.calls, 1);
    assert_int_equal(name.error, 0);
    assert_true(strcmp(name.text, "127.0.0.1:7") == 0 || strcmp(name.text, "[::1]:7") == 0);
    assert_string_equal(number.text, "127.0.0.1:8");
    assert_int_equal(nobody.error, E_NOT_FOUND);
}

static void the_limit_of_descriptors_is_raised_to_the_hard_one(void **state)
{
    struct rlimit limit;

    (void)state;
    uint64_t raised = net_raise_nofile();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(raised, limit.rlim_max);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        CASE(addresses_survive_the_way_to_text_and_back),
        CASE(what_is_no_address_is_refused),
        CASE(an_accepted_tcp_connection_is_ready_for_the_loop),
        CASE(any_address_shows_an_ipv4_client_as_ipv4),
        CASE(two_listeners_share_a_port),
        CASE(who_listens_alone_shares_its_port_with_nobody),
        CASE(nobody_listens_alone_where_a_port_is_shared),
        CASE(a_unix_listener_has_mode_0660_and_takes_its_file_along),
        CASE(a_stale_unix_file_is_replaced_and_a_live_one_is_not),
        CASE(a_plain_file_in_the_way_is_left_alone),
        CASE(a_listener_may_be_freed_by_its_own_callback),
        CASE(without_free_descriptors_accepting_rests_and_recovers),
        CASE(what_waits_in_a_retired_listener_is_accepted),
        CASE(a_shared_listener_leaves_what_waits_to_the_other_process),
        CASE(a_far_listener_takes_nobody_new_for_a_while_before_it_closes),
        CASE(a_descriptor_that_does_not_listen_is_refused),
        CASE(a_listener_handed_over_is_used_only_by_the_process_it_is_for),
        CASE(connecting_to_nobody_fails),
        CASE(names_are_looked_up_off_the_loop),
        CASE(the_limit_of_descriptors_is_raised_to_the_hard_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
