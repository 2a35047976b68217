/* Any bytes as the worker's configuration file: refused with a reason, or read; never a crash. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config/worker_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    AUTO(buf_fini) struct buf why = {0};
    struct config_snapshot *s;
    char file[32];
    const int fd = memfd_create("config", MFD_CLOEXEC);

    CHECK(fd >= 0 && write(fd, data, len) == (ssize_t)len);
    snprintf(file, sizeof(file), "/proc/self/fd/%d", fd);
    const int error = config_load(&s, &worker_config_table, file, &why);
    CHECK((error == 0) == (s != NULL) && (error == 0 || why.len > 0));
    config_unref(s);
    close(fd);
    return 0;
}
