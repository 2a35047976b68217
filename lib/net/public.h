/* Whether an address belongs to the public Internet (IANA's special-purpose registries, RFC 6890):
 * what a stranger names must not reach this machine or its network. */
#ifndef NET_PUBLIC_H
#define NET_PUBLIC_H

#include <stdbool.h>
#include <sys/socket.h>

/* False for any family but IPv4 and IPv6. Pure. */
bool net_address_is_public(const struct sockaddr *address);

#endif
