/* Any text as the URL of a Redis: taken apart or refused, and every place of it is one again. */
#include "base/redis_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[2 * REDIS_URL_MAX], place[REDIS_PLACE_LEN];
    struct redis_url u;

    if (span_cstr(span_of(data, size), text, sizeof(text)) < 0 || redis_url_parse(&u, text) < 0)
        return 0;
    for (size_t i = 0; i < u.place_count; i++) {
        if (span_starts(span_str(u.places[i]), SPAN("unix:")))
            continue;
        CHECK(redis_place_read(span_str(u.places[i]), place) == 0);
        CHECK(strcmp(place, u.places[i]) == 0);
    }
    return 0;
}
