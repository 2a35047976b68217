/* Small files, whole: read with a bound, and replaced all or nothing. All of it blocks on the disk.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <sys/types.h>

#include "base/buf.h"

/* Appends what the file holds; memory for max bytes is reserved at once, so that no part is left
 * behind when it grows. E_IO with errno, E_TOO_LARGE above max. */
MUST_CHECK int file_read(const char *path, size_t max, struct buf *out);
/* The same of a secret, or of a systemd credential: E_DENIED when others than the owner may read
 * it. Wipe `out` after use. */
MUST_CHECK int file_read_secret(const char *path, size_t max, struct buf *out);
/* Appends the first line of such a file, without its end (LF or CRLF). The same errors. */
MUST_CHECK int file_read_secret_line(const char *path, size_t max, struct buf *out);
/* Writes at the descriptor's place; all of it is on disk when it returns. E_IO with errno: a part
 * may be. */
MUST_CHECK int file_append(int fd, struct span bytes);
/* Puts bytes into the file's place, with this mode: all of them are on disk under that name when it
 * returns, or what stood there still does. E_IO with errno. */
MUST_CHECK int file_replace(const char *path, struct span bytes, mode_t mode);

#endif
