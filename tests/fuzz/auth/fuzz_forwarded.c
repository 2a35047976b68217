/* Any bytes as fields of Forwarded and X-Forwarded-For, one a line: what is named is an address. */
#include <stdlib.h>

#include "auth/forwarded.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static bool trust(const void *arg, const struct cidr *address)
{
    (void)arg;
    return address->address[0] == 10;
}

static void check_named(const struct forwarded *f)
{
    char text[FORWARDED_TEXT];
    struct cidr again;

    if (forwarded_client(f, trust, NULL, text) < 0)
        return;
    CHECK(f->count > 0 && cidr_parse(&again, span_str(text)) == 0);
    CHECK(again.bits == (again.family == 2 ? 32u : 128u));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct span rest = span_of(data, len);
    struct forwarded f = {0}, x = {0};

    while (rest.len > 0) {
        struct span line = span_split(&rest, '\n');
        forwarded_field(&f, line);
        forwarded_x_field(&x, line);
    }
    check_named(&f);
    check_named(&x);
    return 0;
}
