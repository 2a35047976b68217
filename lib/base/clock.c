/* Clocks, and HTTP's date format, which must not depend on the locale. */
#include "base/clock.h"

#include <stdbool.h>
#include <stdio.h>

enum { DAY_LEN = 10, DATE_LEN = 20 }; /* "2027-01-31", "2027-01-31T12:00:00Z" */

static struct timespec now(clockid_t id)
{
    struct timespec t;

    CHECK(clock_gettime(id, &t) == 0);
    return t;
}

static uint64_t in_ms(struct timespec t)
{
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t clock_mono_ms(void)
{
    return in_ms(now(CLOCK_MONOTONIC));
}

uint64_t clock_mono_us(void)
{
    const struct timespec t = now(CLOCK_MONOTONIC);

    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t clock_wall_ms(void)
{
    return in_ms(now(CLOCK_REALTIME));
}

static const char day_names[] = "SunMonTueWedThuFriSat";
static const char month_names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
// The first and last second that four digits of year can say.
static const time_t year_0000 = -62167219200, year_9999 = 253402300799;

void clock_http_format(char out[static CLOCK_HTTP_LEN], time_t t)
{
    struct tm tm;

    t = t < year_0000 ? year_0000 : t > year_9999 ? year_9999 : t;
    CHECK(gmtime_r(&t, &tm) != NULL);
    snprintf(out, CLOCK_HTTP_LEN, "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT",
             day_names + 3 * tm.tm_wday, (unsigned)tm.tm_mday % 100, month_names + 3 * tm.tm_mon,
             (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100,
             (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
}

// Wrong digits give a wrong number, which the caller notices.
static int number(struct span s, size_t from, size_t len)
{
    int value = 0;

    for (size_t i = from; i < from + len; i++)
        value = value * 10 + (s.data[i] - '0');
    return value;
}

int clock_http_parse(struct span s, time_t *out)
{
    char again[CLOCK_HTTP_LEN];

    if (s.len != CLOCK_HTTP_LEN - 1)
        return E_INVALID;
    const ptrdiff_t month = span_find(span_str(month_names), span_cut(s, 8, 3));
    if (month < 0)
        return E_INVALID;
    struct tm tm = {.tm_mday = number(s, 5, 2),
                    .tm_mon = (int)(month / 3),
                    .tm_year = number(s, 12, 4) - 1900,
                    .tm_hour = number(s, 17, 2),
                    .tm_min = number(s, 20, 2),
                    .tm_sec = number(s, 23, 2)};
    const time_t t = timegm(&tm);
    // The one right spelling of t, so a wrong weekday, a 30 February or a stray byte is seen here.
    clock_http_format(again, t);
    if (!span_is(s, again))
        return E_INVALID;
    *out = t;
    return 0;
}

int clock_date_parse(struct span s, uint64_t *seconds)
{
    const bool whole = s.len == DATE_LEN;
    char again[DATE_LEN + 1];

    if (!whole && s.len != DAY_LEN)
        return E_INVALID;
    struct tm tm = {.tm_year = number(s, 0, 4) - 1900,
                    .tm_mon = number(s, 5, 2) - 1,
                    .tm_mday = number(s, 8, 2),
                    .tm_hour = whole ? number(s, 11, 2) : 0,
                    .tm_min = whole ? number(s, 14, 2) : 0,
                    .tm_sec = whole ? number(s, 17, 2) : 0};
    const time_t t = timegm(&tm);
    if (t <= 0 || t > year_9999)
        return E_INVALID;
    // As above: 31 February would be another day.
    if (strftime(again, sizeof(again), "%Y-%m-%dT%H:%M:%SZ", &tm) != DATE_LEN ||
        !span_eq(s, span_of(again, s.len)))
        return E_INVALID;
    *seconds = (uint64_t)t;
    return 0;
}
