/* IPv4 by what is excluded; IPv6 by what is handed out (2000::/3), less what only looks so. */
#include "net/public.h"

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct range4 {
    uint32_t base;
    unsigned bits;
};

#define V4(a, b, c, d) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (d))

static const struct range4 not_public[] = {
    {V4(0, 0, 0, 0), 8},      {V4(10, 0, 0, 0), 8},     {V4(100, 64, 0, 0), 10},
    {V4(127, 0, 0, 0), 8},    {V4(169, 254, 0, 0), 16}, {V4(172, 16, 0, 0), 12},
    {V4(192, 0, 0, 0), 24},   {V4(192, 0, 2, 0), 24},   {V4(192, 88, 99, 0), 24},
    {V4(192, 168, 0, 0), 16}, {V4(198, 18, 0, 0), 15},  {V4(198, 51, 100, 0), 24},
    {V4(203, 0, 113, 0), 24}, {V4(224, 0, 0, 0), 4},    {V4(240, 0, 0, 0), 4},
};

static bool public4(uint32_t address)
{
    for (size_t i = 0; i < sizeof(not_public) / sizeof(not_public[0]); i++)
        if (((address ^ not_public[i].base) >> (32 - not_public[i].bits)) == 0)
            return false;
    return true;
}

static uint32_t tail4(const uint8_t *b)
{
    return V4(b[0], b[1], b[2], b[3]);
}

static bool public6(const uint8_t b[static 16])
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
    static const uint8_t teredo[4] = {0x20, 0x01, 0, 0},
                         documentation[4] = {0x20, 0x01, 0x0D, 0xB8};

    if (memcmp(b, mapped, sizeof(mapped)) == 0)
        return public4(tail4(b + 12));
    if ((b[0] & 0xE0) != 0x20 || memcmp(b, teredo, 4) == 0 || memcmp(b, documentation, 4) == 0)
        return false;
    return !(b[0] == 0x20 && b[1] == 0x02) || public4(tail4(b + 2)); /* 6to4 carries an IPv4 one */
}

bool net_address_is_public(const struct sockaddr *address)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    if (address->sa_family == AF_INET) {
        memcpy(&v4, address, sizeof(v4));
        return public4(ntohl(v4.sin_addr.s_addr));
    }
    if (address->sa_family != AF_INET6)
        return false;
    memcpy(&v6, address, sizeof(v6));
    return public6(v6.sin6_addr.s6_addr);
}
