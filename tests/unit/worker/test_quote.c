/* Quotes: from a configfs that this program plays to itself (mkdir, write, read and rmdir are ours
 * here), and from a socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/unit/worker/fake_quote.h"

static const uint8_t DATA[QUOTE_REPORT_DATA_LEN] = {1, 2, 3, [63] = 9};

/* ---- The kernel's part ---- */

static struct kernel {
    char root[64], report[256];
    const char *provider;
    unsigned generation;
    int busy_writes, busy_reads, interrupted_reads; /* how many fail before one succeeds */
    int intruders;                                  /* writes of others beside our next ones */
    bool other_data, short_write, cut, huge;
    int writes, reads, made, removed;
} kernel;

static void put(const char *name, struct span bytes)
{
    char path[300];

    snprintf(path, sizeof(path), "%s/%s", kernel.report, name);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(syscall(SYS_write, fd, bytes.data, bytes.len), bytes.len);
    close(fd);
}

static void put_generation(void)
{
    char text[32];

    snprintf(text, sizeof(text), "%u\n", kernel.generation);
    put("generation", span_str(text));
}

static bool is_file(int fd, const char *name)
{
    char link[64], path[300];

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    const ssize_t n = readlink(link, path, sizeof(path) - 1);
    return *kernel.report && n > 0 && span_ends(span_of(path, (size_t)n), span_str(name));
}

int mkdir(const char *path, mode_t mode)
{
    if (syscall(SYS_mkdirat, AT_FDCWD, path, mode) < 0)
        return -1;
    if (!*kernel.root || strncmp(path, kernel.root, strlen(kernel.root)) != 0)
        return 0;
    kernel.made++;
    snprintf(kernel.report, sizeof(kernel.report), "%s", path);
    put("provider", span_str(kernel.provider));
    put("inblob", SPAN(""));
    put("outblob", SPAN(""));
    put_generation();
    return 0;
}

int rmdir(const char *path)
{
    static const char *const names[] = {"provider", "inblob", "outblob", "generation"};
    char name[300];

    for (size_t i = 0; i < 4 && strcmp(path, kernel.report) == 0; i++) {
        snprintf(name, sizeof(name), "%s/%s", path, names[i]);
        unlink(name);
    }
    kernel.removed += strcmp(path, kernel.report) == 0;
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
}

static void take_inblob(const uint8_t *data)
{
    AUTO(buf_fini) struct buf quote = {0};
    uint8_t other[QUOTE_REPORT_DATA_LEN] = {0xbd};

    fake_quote(&quote, kernel.other_data ? other : data);
    if (kernel.cut)
        quote.len /= 2;
    while (kernel.huge && quote.len < 40000)
        buf_byte(&quote, 0);
    put("outblob", buf_span(&quote));
    kernel.generation += kernel.intruders-- > 0 ? 2 : 1;
    put_generation();
}

ssize_t write(int fd, const void *bytes, size_t len)
{
    if (!is_file(fd, "/inblob"))
        return syscall(SYS_write, fd, bytes, len);
    kernel.writes++;
    if (kernel.busy_writes-- > 0) {
        errno = EBUSY;
        return -1;
    }
    assert_int_equal(len, QUOTE_REPORT_DATA_LEN);
    take_inblob(bytes);
    return kernel.short_write ? 32 : (ssize_t)len;
}

ssize_t read(int fd, void *out, size_t len)
{
    if (!is_file(fd, "/outblob"))
        return syscall(SYS_read, fd, out, len);
    if (kernel.interrupted_reads-- > 0) {
        errno = EINTR;
        return -1;
    }
    kernel.reads++;
    if (kernel.busy_reads-- > 0) {
        errno = EWOULDBLOCK;
        return -1;
    }
    return syscall(SYS_read, fd, out, len < 1000 ? len : 1000); // in pieces
}

static int begin(void **state)
{
    (void)state;
    kernel = (struct kernel){.provider = "tdx_guest\n", .generation = 3};
    char root[] = "/tmp/cocoon-tsm-XXXXXX";
    assert_non_null(mkdtemp(root));
    snprintf(kernel.root, sizeof(kernel.root), "%s", root);
    return 0;
}

/* Whatever happened, the report is gone. */
static int end(void **state)
{
    (void)state;
    assert_int_equal(kernel.made, kernel.removed);
    assert_int_equal(rmdir(kernel.root), 0);
    *kernel.root = '\0';
    return 0;
}

static char why[QUOTE_WHY_LEN];

static int ask(struct buf *quote)
{
    struct quote_source source = {.kind = QUOTE_TSM};

    snprintf(source.path, sizeof(source.path), "%s", kernel.root);
    *why = '\0';
    return quote_get(&source, DATA, quote, why);
}

static int ask_and_forget(void)
{
    AUTO(buf_fini) struct buf quote = {0};
    const int error = ask(&quote);

    assert_true(error == 0 || quote.len == 0);
    return error;
}

static void a_quote_comes_from_the_kernel(void **state)
{
    AUTO(buf_fini) struct buf quote = {0}, expected = {0};

    (void)state;
    fake_quote(&expected, DATA);
    assert_int_equal(ask(&quote), 0);
    assert_true(span_eq(buf_span(&quote), buf_span(&expected)));
    assert_int_equal(kernel.writes, 1);
}

static void a_busy_kernel_is_asked_again_up_to_five_times(void **state)
{
    (void)state;
    kernel.busy_writes = 2;
    kernel.busy_reads = 2;
    assert_int_equal(ask_and_forget(), 0);
    assert_int_equal(kernel.writes, 5);
    kernel.writes = 0;
    kernel.busy_writes = 100;
    assert_int_equal(ask_and_forget(), E_BUSY);
    assert_int_equal(kernel.writes, 6);
    kernel.busy_writes = 0;
}

static void an_interrupted_read_goes_on(void **state)
{
    (void)state;
    kernel.interrupted_reads = 3;
    assert_int_equal(ask_and_forget(), 0);
    assert_int_equal(kernel.writes, 1);
}

static void a_report_that_another_process_wrote_to_is_discarded(void **state)
{
    (void)state;
    kernel.intruders = 1;
    assert_int_equal(ask_and_forget(), 0);
    assert_int_equal(kernel.writes, 2);
    kernel.intruders = 100;
    assert_int_equal(ask_and_forget(), E_BUSY);
    assert_non_null(strstr(why, "another process"));
}

static void other_report_data_is_never_given_out(void **state)
{
    (void)state;
    kernel.other_data = true;
    assert_int_equal(ask_and_forget(), E_AUTH);
    assert_non_null(strstr(why, "report data"));
}

static void a_cut_quote_is_none(void **state)
{
    (void)state;
    kernel.cut = true;
    assert_int_equal(ask_and_forget(), E_INVALID);
    assert_non_null(strstr(why, "QUOTE_TRUNCATED"));
}

static void a_short_write_and_an_endless_quote_fail(void **state)
{
    (void)state;
    kernel.short_write = true;
    assert_int_equal(ask_and_forget(), E_IO);
    kernel.short_write = false;
    kernel.huge = true;
    assert_int_equal(ask_and_forget(), E_TOO_LARGE);
}

static void another_vendors_provider_is_refused(void **state)
{
    (void)state;
    kernel.provider = "sev_guest\n";
    assert_int_equal(ask_and_forget(), E_UNSUPPORTED);
    assert_non_null(strstr(why, "sev_guest"));
    assert_int_equal(quote_tsm_check(kernel.root, why), E_UNSUPPORTED);
    assert_int_equal(kernel.writes, 0);
    kernel.provider = "tdx_guest\n";
    assert_int_equal(quote_tsm_check(kernel.root, why), 0);
}

static void a_kernel_without_it_is_told_which_one_is_needed(void **state)
{
    (void)state;
    assert_int_equal(quote_tsm_check("/tmp/cocoon-no-such-folder", why), E_UNSUPPORTED);
    assert_non_null(strstr(why, "Linux 6.7 or later"));
    assert_non_null(strstr(why, "CONFIG_TSM_REPORTS"));
}

static void a_passed_deadline_ends_it(void **state)
{
    AUTO(buf_fini) struct buf quote = {0};

    (void)state;
    kernel.busy_writes = 100;
    assert_int_equal(quote_tsm_get(kernel.root, DATA, clock_mono_ms() + 100, &quote, why),
                     E_TIMEOUT);
    kernel.busy_writes = 0;
}

/* ---- Socket ---- */

struct server {
    int listener;
    const uint8_t *answer_data; /* NULL: what was asked */
    uint32_t announced;         /* 0: the true length */
    bool silent, hang_up;
};

static void *serve(void *arg)
{
    struct server *s = arg;
    AUTO(buf_fini) struct buf quote = {0}, answer = {0};
    uint8_t data[QUOTE_REPORT_DATA_LEN];
    const int fd = accept(s->listener, NULL, NULL);

    assert_int_equal(recv(fd, data, sizeof(data), MSG_WAITALL), sizeof(data));
    fake_quote(&quote, s->answer_data ? s->answer_data : data);
    buf_u32be(&answer, s->announced ? s->announced : (uint32_t)quote.len);
    buf_append(&answer, buf_span(&quote));
    if (s->hang_up)
        answer.len = 100;
    if (!s->silent)
        (void)!send(fd, answer.data, answer.len, MSG_NOSIGNAL);
    if (s->silent || s->hang_up)
        shutdown(fd, s->silent ? SHUT_RD : SHUT_RDWR);
    if (s->silent)
        usleep(400000);
    close(fd);
    return NULL;
}

static int ask_server(struct server *s, uint64_t wait_ms, struct buf *quote)
{
    struct quote_source source = {.kind = QUOTE_SOCKET};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    pthread_t thread;
    int error;

    snprintf(source.path, sizeof(source.path), "/tmp/cocoon-quote-%d.sock", (int)getpid());
    memcpy(address.sun_path, source.path, sizeof(address.sun_path));
    unlink(source.path);
    s->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(s->listener, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(s->listener, 1), 0);
    assert_int_equal(pthread_create(&thread, NULL, serve, s), 0);
    if (wait_ms)
        error = quote_socket_get(source.path, DATA, clock_mono_ms() + wait_ms, quote, why);
    else
        error = quote_get(&source, DATA, quote, why);
    pthread_join(thread, NULL);
    close(s->listener);
    unlink(source.path);
    return error;
}

static void a_quote_comes_from_a_socket(void **state)
{
    AUTO(buf_fini) struct buf quote = {0}, expected = {0};
    struct server s = {0};

    (void)state;
    fake_quote(&expected, DATA);
    assert_int_equal(ask_server(&s, 0, &quote), 0);
    assert_true(span_eq(buf_span(&quote), buf_span(&expected)));
}

static void a_socket_that_answers_wrongly_gives_no_quote(void **state)
{
    static const uint8_t other[QUOTE_REPORT_DATA_LEN] = {7};
    AUTO(buf_fini) struct buf quote = {0};

    (void)state;
    assert_int_equal(ask_server(&(struct server){.answer_data = other}, 0, &quote), E_AUTH);
    assert_int_equal(ask_server(&(struct server){.announced = UINT32_MAX}, 0, &quote), E_TOO_LARGE);
    assert_int_equal(ask_server(&(struct server){.hang_up = true}, 0, &quote), E_CLOSED);
    assert_int_equal(quote.len, 0);
    assert_int_equal(ask_server(&(struct server){.silent = true}, 100, &quote), E_TIMEOUT);
}

static void a_socket_that_is_not_there_is_told(void **state)
{
    AUTO(buf_fini) struct buf quote = {0};
    struct quote_source source;

    (void)state;
    assert_int_equal(quote_source_read(&source, "socket:/tmp/cocoon-no-such.sock"), 0);
    assert_int_equal(quote_get(&source, DATA, &quote, why), E_IO);
    assert_non_null(strstr(why, "connect"));
}

static void settings_name_sources(void **state)
{
    struct quote_source source;

    (void)state;
    assert_int_equal(quote_source_read(&source, ""), E_INVALID);
    assert_int_equal(quote_source_read(&source, "none"), 0);
    assert_int_equal(source.kind, QUOTE_NO_TEE);
    assert_int_equal(quote_source_read(&source, "tsm"), 0);
    assert_string_equal(source.path, "/sys/kernel/config/tsm/report");
    assert_int_equal(quote_source_read(&source, "socket:/a"), 0);
    assert_string_equal(source.path, "/a");
    assert_int_equal(quote_source_read(&source, "sev"), E_INVALID);
}

#define WITH_KERNEL(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_KERNEL(a_quote_comes_from_the_kernel),
        WITH_KERNEL(a_busy_kernel_is_asked_again_up_to_five_times),
        WITH_KERNEL(an_interrupted_read_goes_on),
        WITH_KERNEL(a_report_that_another_process_wrote_to_is_discarded),
        WITH_KERNEL(other_report_data_is_never_given_out),
        WITH_KERNEL(a_cut_quote_is_none),
        WITH_KERNEL(a_short_write_and_an_endless_quote_fail),
        WITH_KERNEL(another_vendors_provider_is_refused),
        cmocka_unit_test(a_kernel_without_it_is_told_which_one_is_needed),
        WITH_KERNEL(a_passed_deadline_ends_it),
        cmocka_unit_test(a_quote_comes_from_a_socket),
        cmocka_unit_test(a_socket_that_answers_wrongly_gives_no_quote),
        cmocka_unit_test(a_socket_that_is_not_there_is_told),
        cmocka_unit_test(settings_name_sources),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
