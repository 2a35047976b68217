/* Reads one secret from a file that only its owner may read. */
#include "base/file.h"
#include "config/config.h"

enum { SECRET_MAX = 64 * 1024 };

int config_read_secret(const char *file, struct buf *out)
{
    return file_read_secret_line(file, SECRET_MAX, out);
}
