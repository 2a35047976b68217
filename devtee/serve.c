/* Serves quotes on a UNIX socket: 64 bytes of report data in, u32be length and quote out, as often
 * as the peer likes. One peer at a time: the host's quoting service is serial too. */
#include "devtee/commands.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

enum { PEER_TIMEOUT_S = 10, WAITING = 16 };

static bool read_all(int fd, uint8_t *out, size_t len)
{
    for (size_t got = 0; got < len;) {
        const ssize_t n = read(fd, out + got, len - got);
        if (n <= 0)
            return false;
        got += (size_t)n;
    }
    return true;
}

static bool write_all(int fd, struct span bytes)
{
    while (bytes.len > 0) {
        const ssize_t n = send(fd, bytes.data, bytes.len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        bytes = span_from(bytes, (size_t)n);
    }
    return true;
}

static void serve_peer(int fd, const struct devtee_issuer *issuer,
                       const struct devtee_faults *faults)
{
    const struct timeval timeout = {.tv_sec = PEER_TIMEOUT_S};
    uint8_t report_data[DEVTEE_REPORT_DATA_LEN];
    bool alive = true;

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    while (alive && read_all(fd, report_data, sizeof(report_data))) {
        AUTO(buf_fini) struct buf quote = {0}, answer = {0};

        devtee_quote(issuer, faults, report_data, &quote);
        buf_u32be(&answer, (uint32_t)quote.len);
        buf_append(&answer, buf_span(&quote));
        alive = write_all(fd, buf_span(&answer));
    }
    close(fd);
}

static int listen_on(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;

    if (span_cstr(span_str(path), address.sun_path, sizeof(address.sun_path)) < 0) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
        unlink(path);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
                    listen(fd, WAITING) < 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

int devtee_serve(const struct devtee_options *o)
{
    AUTO(devtee_issuer_free) struct devtee_issuer *issuer = devtee_open(o, false);

    if (!issuer)
        return EXIT_FAILURE;
    const int listener = listen_on(o->socket);
    if (listener < 0)
        return devtee_failure("cannot listen", o->socket);
    log_event(LOG_WARN, "started", "version=insecure-dev socket=%s", o->socket);
    for (;;) {
        const int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            serve_peer(fd, issuer, &o->faults);
        else if (errno != EINTR && errno != ECONNABORTED)
            return devtee_failure("cannot accept", o->socket);
    }
}
