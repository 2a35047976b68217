/* Ranges of IP addresses: "10.0.0.0/8", "2001:db8::/32", or one address. */
#ifndef AUTH_CIDR_H
#define AUTH_CIDR_H

#include "base/error.h"
#include "base/span.h"

struct cidr {
    int family; /* AF_INET or AF_INET6 */
    uint8_t address[16];
    unsigned bits;
};

/* E_INVALID for anything but an address or address/bits. An IPv4 address written as IPv6
 * (::ffff:a.b.c.d) is the IPv4 one. */
MUST_CHECK int cidr_parse(struct cidr *out, struct span text);
/* address: one that cidr_parse read. */
bool cidr_contains(const struct cidr *range, const struct cidr *address);

#endif
