/* Who sent a request, as the proxies before us tell it: Forwarded (RFC 7239) and X-Forwarded-For.
 * Each hop names the one before it, so the list is believed from its right end: as far as trusted
 * proxies wrote it. */
#ifndef AUTH_FORWARDED_H
#define AUTH_FORWARDED_H

#include "auth/cidr.h"

enum { FORWARDED_TEXT = 46 /* an IPv6 address and its NUL */, FORWARDED_HOPS = 16 };

/* Embedded, {0} to begin with; one a kind of header. Its fields are given in the order in which
 * they stand. */
struct forwarded {
    struct forwarded_hop {
        bool known; /* an address */
        struct cidr address;
    } last[FORWARDED_HOPS]; /* hop i at i % FORWARDED_HOPS */
    size_t count;           /* hops so far */
};

/* One field of Forwarded: elements with for=, quoted strings, IPv6 in brackets, ports. A hop
 * without an address (unknown, _hidden, no for=), or a field that is not of that form, names
 * nobody: what stands left of it is not believed. */
void forwarded_field(struct forwarded *f, struct span value);
/* One field of X-Forwarded-For: addresses, also with ports, IPv6 also in brackets. */
void forwarded_x_field(struct forwarded *f, struct span value);
/* Whether the proxy with that address is one of ours. */
typedef bool forwarded_trust_fn(const void *arg, const struct cidr *address);
/* The right-most address that is not a trusted proxy's, else the left-most of the proxies that can
 * be believed; written in one form. E_NOT_FOUND: nobody is named, the peer is all that is known. */
MUST_CHECK int forwarded_client(const struct forwarded *f, forwarded_trust_fn *trust,
                                const void *arg, char out[static FORWARDED_TEXT]);

#endif
