/* Connecting, and what a process wants of its sockets. */
#ifndef NET_SOCKET_H
#define NET_SOCKET_H

#include "net/addr.h"

/* Starts a non-blocking connect; 0 with *fd (in progress or done), else E_IO. */
MUST_CHECK int net_connect(const struct net_addr *to, int *fd);
/* TCP_NODELAY, where the family is not AF_UNIX. */
void net_nodelay(int fd, int family);
/* RLIMIT_NOFILE raised to the hard limit; returns it. */
uint64_t net_raise_nofile(void);

#endif
