/* What a key may do: models, endpoints, addresses. */
#include "auth/cidr.h"
#include "auth/keys.h"

static bool list_has(char *const *list, struct span word)
{
    for (; *list; list++) {
        if (span_is(word, *list))
            return true;
    }
    return false;
}

bool key_allows_model(const struct key_record *r, struct span model)
{
    return !r->models || list_has(r->models, model);
}

bool key_allows_endpoint(const struct key_record *r, const char *endpoint)
{
    return !r->endpoints || list_has(r->endpoints, span_str(endpoint));
}

bool key_allows_address(const struct key_record *r, struct span peer)
{
    struct cidr range, address;

    if (!r->ranges)
        return true;
    if (cidr_parse(&address, peer) < 0)
        return false;
    for (char *const *it = r->ranges; *it; it++) {
        if (cidr_parse(&range, span_str(*it)) == 0 && cidr_contains(&range, &address))
            return true;
    }
    return false;
}
