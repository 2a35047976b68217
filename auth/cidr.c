/* Ranges of IP addresses: parsing and membership. */
#include "auth/cidr.h"

#include <arpa/inet.h>

static int parse_address(struct cidr *out, struct span text)
{
    char word[INET6_ADDRSTRLEN];

    TRY(span_cstr(text, word, sizeof(word)));
    out->family = strchr(word, ':') ? AF_INET6 : AF_INET;
    out->bits = out->family == AF_INET ? 32 : 128;
    return inet_pton(out->family, word, out->address) == 1 ? 0 : E_INVALID;
}

// ::ffff:0:0/96: the kernel shows IPv4 peers of an IPv6 socket like this (RFC 4291, 2.5.5.2).
static void unmap(struct cidr *c)
{
    static const uint8_t prefix[12] = {[10] = 0xFF, [11] = 0xFF};

    if (c->family != AF_INET6 || c->bits < 96 || memcmp(c->address, prefix, sizeof(prefix)) != 0)
        return;
    memmove(c->address, c->address + 12, 4);
    c->family = AF_INET;
    c->bits -= 96;
}

int cidr_parse(struct cidr *out, struct span text)
{
    const bool single = span_find(text, SPAN("/")) < 0;
    const struct span address = span_split(&text, '/');
    uint64_t bits;

    TRY(parse_address(out, address));
    if (!single) {
        TRY(span_u64(text, out->bits, &bits));
        out->bits = (unsigned)bits;
    }
    unmap(out);
    return 0;
}

bool cidr_contains(const struct cidr *range, const struct cidr *address)
{
    const unsigned whole = range->bits / 8, rest = range->bits % 8;

    if (range->family != address->family || memcmp(range->address, address->address, whole) != 0)
        return false;
    const unsigned differ = rest ? range->address[whole] ^ address->address[whole] : 0u;
    return (differ >> (8 - rest)) == 0;
}
