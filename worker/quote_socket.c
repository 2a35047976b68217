/* Quotes from a UNIX socket, as cocoon-devtee serves them. */
#include "worker/quote.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"

static int fail(char *why, const char *what)
{
    snprintf(why, QUOTE_WHY_LEN, "socket of the quote provider: %s: %s", what, strerror(errno));
    return E_IO;
}

static int open_socket(const char *path, char *why)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (span_cstr(span_str(path), address.sun_path, sizeof(address.sun_path)) < 0)
        return E_INVALID;
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fail(why, "socket");
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    const int error = fail(why, "connect");
    close(fd);
    return error;
}

static int wait_for(int fd, short events, uint64_t deadline_ms, char *why)
{
    struct pollfd p = {.fd = fd, .events = events};
    const uint64_t now = clock_mono_ms();

    if (now < deadline_ms && poll(&p, 1, (int)(deadline_ms - now)) > 0)
        return 0;
    snprintf(why, QUOTE_WHY_LEN, "the quote provider did not answer in time");
    return E_TIMEOUT;
}

static int send_all(int fd, struct span bytes, uint64_t deadline_ms, char *why)
{
    while (bytes.len > 0) {
        TRY(wait_for(fd, POLLOUT, deadline_ms, why));
        const ssize_t n = send(fd, bytes.data, bytes.len, MSG_NOSIGNAL);
        if (n < 0)
            return fail(why, "send");
        bytes = span_from(bytes, (size_t)n);
    }
    return 0;
}

static int receive_all(int fd, uint8_t *out, size_t len, uint64_t deadline_ms, char *why)
{
    for (size_t got = 0; got < len;) {
        TRY(wait_for(fd, POLLIN, deadline_ms, why));
        const ssize_t n = recv(fd, out + got, len - got, 0);
        if (n < 0)
            return fail(why, "receive");
        if (n == 0) {
            snprintf(why, QUOTE_WHY_LEN, "the quote provider hung up");
            return E_CLOSED;
        }
        got += (size_t)n;
    }
    return 0;
}

static int converse(int fd, const uint8_t *report_data, uint64_t deadline_ms, struct buf *quote,
                    char *why)
{
    uint8_t head[4];

    TRY(send_all(fd, span_of(report_data, QUOTE_REPORT_DATA_LEN), deadline_ms, why));
    TRY(receive_all(fd, head, sizeof(head), deadline_ms, why));
    const size_t len =
        (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
    if (len > QUOTE_MAX) {
        snprintf(why, QUOTE_WHY_LEN, "the quote provider announces %zu bytes", len);
        return E_TOO_LARGE;
    }
    TRY(receive_all(fd, buf_reserve(quote, len), len, deadline_ms, why));
    quote->len += len;
    return 0;
}

int quote_socket_get(const char *path, const uint8_t report_data[static QUOTE_REPORT_DATA_LEN],
                     uint64_t deadline_ms, struct buf *quote, char why[static QUOTE_WHY_LEN])
{
    const int fd = open_socket(path, why);

    if (fd < 0)
        return fd;
    const int error = converse(fd, report_data, deadline_ms, quote, why);
    close(fd);
    return error;
}
