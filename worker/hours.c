/* Hours of the week as a bitmap of minutes. */
#include "worker/hours.h"

const char *const hours_days[HOURS_DAYS] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};

/* "HH:MM" as minutes; at most 24:00. */
static int minute_of(struct span text, unsigned *out)
{
    if (text.len != 5 || text.data[2] != ':')
        return E_INVALID;
    for (size_t i = 0; i < text.len; i++)
        if (i != 2 && (text.data[i] < '0' || text.data[i] > '9'))
            return E_INVALID;
    const unsigned hour = (text.data[0] - '0') * 10u + (text.data[1] - '0');
    const unsigned minute = (text.data[3] - '0') * 10u + (text.data[4] - '0');
    *out = hour * 60 + minute;
    return minute < 60 && *out <= HOURS_MINUTES ? 0 : E_INVALID;
}

static int add_range(uint8_t *day, struct span range)
{
    struct span rest = span_trim(range);
    const struct span from = span_split(&rest, '-');
    unsigned begin = 0;
    unsigned end = 0;

    TRY(minute_of(from, &begin));
    TRY(minute_of(rest, &end));
    if (begin >= end)
        return E_INVALID;
    for (unsigned m = begin; m < end; m++)
        day[m / 8] |= (uint8_t)(1u << (m % 8));
    return 0;
}

static int parse_day(uint8_t *day, struct span text)
{
    if (text.len == 0)
        return 0;
    if (span_is(text, "always"))
        text = SPAN("00:00-24:00");
    if (text.data[text.len - 1] == ',')
        return E_INVALID;
    while (text.len > 0)
        TRY(add_range(day, span_split(&text, ',')));
    return 0;
}

int hours_set(struct hours *h, int day, struct span text)
{
    uint8_t open[HOURS_MINUTES / 8] = {0};

    text = span_trim(text);
    if (text.len >= HOURS_TEXT)
        return E_INVALID;
    TRY(parse_day(open, text));
    memcpy(h->open[day], open, sizeof(open));
    memset(h->text[day], 0, HOURS_TEXT);
    if (text.len > 0)
        memcpy(h->text[day], text.data, text.len);
    return 0;
}

bool hours_open_at(const struct hours *h, const struct tm *local)
{
    const int day = (local->tm_wday + 6) % HOURS_DAYS; // tm counts from Sunday
    const int minute = local->tm_hour * 60 + local->tm_min;

    return h->open[day][minute / 8] >> (minute % 8) & 1;
}
