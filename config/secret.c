/* Reads one secret from a file that only its owner may read, and puts Redis' into its URL. */
#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECRET_MAX = 64 * 1024 };

static int read_all(int fd, struct buf *out)
{
    while (out->len <= SECRET_MAX) {
        uint8_t *at = buf_reserve(out, SECRET_MAX + 1 - out->len);
        const ssize_t n = read(fd, at, SECRET_MAX + 1 - out->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? E_IO : 0;
        out->len += (size_t)n;
    }
    return E_TOO_LARGE;
}

static int read_private(int fd, struct buf *out)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return E_IO;
    /* systemd shows a credential to its service alone, with the group bit of an ACL set. */
    if (st.st_mode & (S_IRWXO | S_IWGRP | S_IXGRP))
        return E_DENIED;
    if ((st.st_mode & S_IRGRP) && st.st_uid == geteuid())
        return E_DENIED;
    return read_all(fd, out);
}

int config_read_secret(const char *file, struct buf *out)
{
    AUTO(buf_wipe) struct buf text = {0};
    const int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return E_IO;
    const int error = read_private(fd, &text);
    close(fd);
    TRY(error);
    struct span rest = buf_span(&text);
    struct span line = span_split(&rest, '\n');
    if (span_ends(line, SPAN("\r")))
        line.len--;
    buf_append(out, line);
    return 0;
}

int config_redis_url(struct buf *out, const char *url, const char *password_file)
{
    AUTO(buf_wipe) struct buf password = {0};
    const struct span all = span_str(url);
    const size_t scheme = span_starts(all, SPAN("redis://")) ? 8 : 5;

    if (*password_file == 0) {
        buf_append(out, all);
        return 0;
    }
    if ((scheme == 5 && !span_starts(all, SPAN("unix:"))) || url[scheme] == ':')
        return E_INVALID;
    TRY(config_read_secret(password_file, &password));
    buf_append(out, span_cut(all, 0, scheme));
    buf_byte(out, ':');
    buf_append(out, buf_span(&password));
    buf_byte(out, '@');
    buf_append(out, span_from(all, scheme));
    return 0;
}
