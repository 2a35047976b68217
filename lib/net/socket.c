/* Non-blocking connects, and what a process wants of its sockets. */
#include "net/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <unistd.h>

void net_nodelay(int fd, int family)
{
    int on = 1;

    if (family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

int net_connect(const struct net_addr *to, int *fd)
{
    struct net_addr where = *to;
    int s = socket(where.sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (s < 0)
        return E_IO;
    net_nodelay(s, where.sa.ss_family);
    if (connect(s, net_addr_ptr(&where), where.len) < 0 && errno != EINPROGRESS) {
        int why = errno;
        close(s);
        errno = why;
        return E_IO;
    }
    *fd = s;
    return 0;
}

uint64_t net_raise_nofile(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 0;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
}
