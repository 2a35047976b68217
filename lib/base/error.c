/* Names of errors, failed checks, and allocation that does not fail. */
#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void check_failed(const char *what, const char *file, int line)
{
    fprintf(stderr, "level=error event=check_failed file=%s line=%d check=\"%s\"\n", file, line,
            what);
    abort();
}

#define NAME(e) [-(e)] = #e

const char *error_name(int error)
{
    static const char *const names[] = {
        NAME(E_OK),     NAME(E_INVALID),     NAME(E_TOO_LARGE),   NAME(E_TOO_COMPLEX),
        NAME(E_AGAIN),  NAME(E_NOT_FOUND),   NAME(E_EXISTS),      NAME(E_AUTH),
        NAME(E_CRYPTO), NAME(E_IO),          NAME(E_CLOSED),      NAME(E_TIMEOUT),
        NAME(E_BUSY),   NAME(E_PROTOCOL),    NAME(E_UNAVAILABLE), NAME(E_EXPIRED),
        NAME(E_DENIED), NAME(E_UNSUPPORTED),
    };
    const int count = (int)(sizeof(names) / sizeof(names[0]));

    return error <= 0 && error > -count ? names[-error] : "E_UNKNOWN";
}

const char *error_why(int error)
{
    return error == E_IO ? strerror(errno) : error_name(error);
}

static void *must_have(void *p)
{
    CHECK(p != NULL); // out of memory
    return p;
}

void *mem_alloc(size_t len)
{
    return must_have(malloc(len ? len : 1));
}

void *mem_zero(size_t len)
{
    return must_have(calloc(1, len ? len : 1));
}

void *mem_grow(void *p, size_t len)
{
    return must_have(realloc(p, len ? len : 1));
}

char *mem_strdup(const char *s)
{
    return must_have(strdup(s));
}
