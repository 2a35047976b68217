/* Switches of the kernel that keep this process's memory to itself. */
#include "base/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"

/* A helper that the kernel starts on a crash (core_pattern with a pipe) heeds no RLIMIT_CORE; it
 * gets no memory of ours either. Not every kernel has the file. */
static void empty_core(void)
{
    const int fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    (void)!write(fd, "0", 1);
    close(fd);
}

bool process_guard(void)
{
    const struct rlimit none = {0, 0};

    empty_core(); /* before the process can no longer be looked at: its files would be root's */
    const bool limited = setrlimit(RLIMIT_CORE, &none) == 0;
    const bool guarded = prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 && limited;
    if (!guarded)
        log_event(LOG_WARN, "memory_unguarded", "note=core-files-could-not-be-switched-off");
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN);
    return guarded;
}
