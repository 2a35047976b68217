/* Reads and writes whole small files. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Reading ---- */

static int read_fd(int fd, size_t max, struct buf *out)
{
    for (size_t left = max + 1; left > 0;) {
        const ssize_t n = read(fd, buf_reserve(out, left), left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? E_IO : 0;
        out->len += (size_t)n;
        left -= (size_t)n;
    }
    return E_TOO_LARGE;
}

/* systemd shows a credential to its service alone, with the group bit of an ACL set. */
static int check_private(int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return E_IO;
    if (st.st_mode & (S_IRWXO | S_IWGRP | S_IXGRP))
        return E_DENIED;
    return (st.st_mode & S_IRGRP) && st.st_uid == geteuid() ? E_DENIED : 0;
}

static int read_path(const char *path, bool secret, size_t max, struct buf *out)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return E_IO;
    int error = secret ? check_private(fd) : 0;
    if (error == 0)
        error = read_fd(fd, max, out);
    const int why = errno;
    close(fd);
    errno = why;
    return error;
}

int file_read(const char *path, size_t max, struct buf *out)
{
    return read_path(path, false, max, out);
}

int file_read_secret(const char *path, size_t max, struct buf *out)
{
    return read_path(path, true, max, out);
}

int file_read_secret_line(const char *path, size_t max, struct buf *out)
{
    AUTO(buf_wipe) struct buf text = {0};

    TRY(file_read_secret(path, max, &text));
    struct span rest = buf_span(&text);
    struct span line = span_split(&rest, '\n');
    if (span_ends(line, SPAN("\r")))
        line.len--;
    buf_append(out, line);
    return 0;
}

/* ---- Writing ---- */

int file_append(int fd, struct span bytes)
{
    while (bytes.len > 0) {
        const ssize_t n = write(fd, bytes.data, bytes.len);
        if (n < 0 && errno != EINTR)
            return E_IO;
        bytes = span_from(bytes, n > 0 ? (size_t)n : 0);
    }
    return fdatasync(fd) < 0 ? E_IO : 0;
}

static int write_new(const char *name, struct span bytes, mode_t mode)
{
    const int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

    if (fd < 0)
        return E_IO;
    const int error = file_append(fd, bytes);
    const int why = errno;
    const bool closed = close(fd) == 0;
    if (error < 0)
        errno = why;
    return closed ? error : E_IO;
}

/* Or a crash may bring the old file back. */
static int sync_folder(const char *path)
{
    AUTO(buf_fini) struct buf folder = {0};
    const char *slash = strrchr(path, '/');

    buf_append(&folder, slash ? span_of(path, (size_t)(slash - path) + 1) : SPAN("."));
    const int fd = open(buf_cstr(&folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return E_IO;
    const int result = fsync(fd);
    close(fd);
    return result < 0 ? E_IO : 0;
}

int file_replace(const char *path, struct span bytes, mode_t mode)
{
    AUTO(buf_fini) struct buf name = {0};

    buf_printf(&name, "%s.%d.new", path, (int)getpid());
    const char *fresh = buf_cstr(&name);
    (void)unlink(fresh); /* of a process of the same number that crashed */
    if (write_new(fresh, bytes, mode) == 0 && rename(fresh, path) == 0)
        return sync_folder(path);
    const int why = errno;
    (void)unlink(fresh);
    errno = why;
    return E_IO;
}
