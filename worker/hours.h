/* The hours of the week in which the owner gives the machine. */
#ifndef WORKER_HOURS_H
#define WORKER_HOURS_H

#include <time.h>

#include "base/error.h"
#include "base/span.h"

enum { HOURS_DAYS = 7, HOURS_MINUTES = 24 * 60, HOURS_TEXT = 128 };
extern const char *const hours_days[HOURS_DAYS]; /* "mon" … "sun" */

/* Embedded; {0} is never. Local time. */
struct hours {
    uint8_t open[HOURS_DAYS][HOURS_MINUTES / 8]; /* a bit a minute */
    char text[HOURS_DAYS][HOURS_TEXT];           /* as the owner wrote it */
};

/* Sets one day (0: Monday) from "always", "" (never), or "HH:MM-HH:MM,…" with 24:00 as the latest
 * end and no range that ends before it begins. E_INVALID leaves the day as it was. */
MUST_CHECK int hours_set(struct hours *h, int day, struct span text);
bool hours_open_at(const struct hours *h, const struct tm *local);

#endif
