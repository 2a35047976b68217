/* Copies of a few headers, each within a bound. */
#include "client/core/shown.h"

#include <stdlib.h>

#include "base/encode.h"

enum { VALUE_MAX = 1024 };

static const char *const names[SHOWN_FIELDS] = {
    "x-request-id",
    "openai-processing-ms",
    "openai-version",
    "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "www-authenticate",
    "server-timing",
    "cocoon-call",
    "cocoon-price",
    "cocoon-keyset",
    "cocoon-next",
};

const char *shown_name(size_t i)
{
    return names[i];
}

/* NULL when it is not to be shown. */
static char *copy(struct span value)
{
    char *text;

    if (value.len == 0 || value.len > VALUE_MAX)
        return NULL;
    text = mem_alloc(value.len + 1);
    if (span_cstr(value, text, value.len + 1) == 0)
        return text;
    free(text);
    return NULL;
}

static void take_call(struct shown *s, struct span call)
{
    uint8_t raw[SHOWN_CALL_LEN / 2];

    s->call[0] = '\0';
    if (hex_decode(raw, sizeof(raw), call) == 0)
        hex_encode(s->call, SPAN_OF(raw));
}

void shown_take(struct shown *s, const struct http_transfer *t)
{
    const struct span price = http_transfer_field(t, "cocoon-price");

    shown_fini(s);
    for (size_t i = 0; i < SHOWN_FIELDS; i++)
        s->fields[i] = copy(http_transfer_field(t, names[i]));
    take_call(s, http_transfer_field(t, "cocoon-call"));
    s->has_price = span_visible(price, sizeof(s->price) - 1) &&
                   span_cstr(price, s->price, sizeof(s->price)) == 0;
}

void shown_fini(struct shown *s)
{
    for (size_t i = 0; i < SHOWN_FIELDS; i++)
        free(s->fields[i]);
    *s = (struct shown){0};
}
