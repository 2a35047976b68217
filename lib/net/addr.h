/* Addresses of TCP and UNIX sockets, as text and looked up off the loop. */
#ifndef NET_ADDR_H
#define NET_ADDR_H

#include <sys/socket.h>

#include "net/offload.h"

struct net_addr {
    struct sockaddr_storage sa;
    socklen_t len;
};

/* "127.0.0.1:80", "[::1]:80", ":80" (any address, IPv4 and IPv6), "unix:/path". Numbers only: names
 * are E_NOT_FOUND (use net_resolve), anything else E_INVALID. */
MUST_CHECK int net_addr_parse(struct net_addr *out, const char *text);
/* The same form back, ":80" as "[::]:80"; for a peer of a UNIX socket "unix:". 128 bytes hold any.
 */
void net_addr_text(const struct net_addr *a, char *out, size_t out_len);
/* "host:port" looked up with getaddrinfo in the offload pool; done in the loop, with addr NULL on
 * E_NOT_FOUND. What net_addr_parse reads passes as it is. */
typedef void net_resolve_fn(void *arg, int error, const struct net_addr *addr);
MUST_CHECK int net_resolve(struct offload *o, const char *host_port, net_resolve_fn *done,
                           void *arg);
/* The same with the nth address of the name, round and round: for who tries the next one after a
 * failure. */
MUST_CHECK int net_resolve_nth(struct offload *o, const char *host_port, unsigned nth,
                               net_resolve_fn *done, void *arg);

/* An IPv4 client of a dual-stack socket comes as ::ffff:a.b.c.d (RFC 4291 §2.5.5.2); everybody
 * wants to see a.b.c.d. */
void net_addr_unmap(struct net_addr *a);
/* As the kernel's calls want it. */
static inline struct sockaddr *net_addr_ptr(struct net_addr *a)
{
    return (struct sockaddr *)&a->sa;
}

#endif
