/* The datagrams of sd_notify(3), without libsystemd. */
#include "net/notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/span.h"

// A path, or an abstract name that begins with '@' (unix(7)).
static int address_of(const char *name, struct sockaddr_un *out, socklen_t *len)
{
    const size_t n = strlen(name);

    if ((name[0] != '/' && name[0] != '@') || n < 2 || n >= sizeof(out->sun_path))
        return E_INVALID;
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(out->sun_path, name, n);
    if (name[0] == '@')
        out->sun_path[0] = 0;
    *len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    return 0;
}

int notify_send(const char *state)
{
    const char *name = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to;
    socklen_t len;

    if (!name || !*name)
        return E_NOT_FOUND;
    TRY(address_of(name, &to, &len));
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return E_IO;
    const ssize_t sent =
        sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&to, len);
    close(fd);
    return sent < 0 ? E_IO : 0;
}

uint64_t notify_watchdog_ms(void)
{
    const char *interval = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    uint64_t us, whose;

    if (!interval || span_u64(span_str(interval), UINT64_MAX, &us) < 0)
        return 0;
    if (pid && (span_u64(span_str(pid), INT32_MAX, &whose) < 0 || whose != (uint64_t)getpid()))
        return 0;
    return us >= 2000 ? us / 2000 : us > 0;
}

void notify_tell(const char *state)
{
    const int error = notify_send(state);

    if (error < 0 && error != E_NOT_FOUND)
        log_event(LOG_WARN, "manager_unheard", "error=%s", error_name(error));
}

static void feed(void *arg)
{
    struct watchdog *w = arg;

    notify_tell("WATCHDOG=1");
    loop_timer_set(w->loop, &w->timer, notify_watchdog_ms(), feed, w);
}

void watchdog_begin(struct watchdog *w, struct loop *loop)
{
    w->loop = loop;
    if (notify_watchdog_ms() > 0)
        feed(w);
}

void watchdog_end(struct watchdog *w)
{
    if (w->loop)
        loop_timer_cancel(w->loop, &w->timer);
}
