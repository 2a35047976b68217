/* Time: monotonic for deadlines, wall for dates. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#include "base/error.h"
#include "base/span.h"

uint64_t clock_mono_ms(void);
uint64_t clock_mono_us(void);
uint64_t clock_wall_ms(void); /* since 1970, UTC */

enum { CLOCK_HTTP_LEN = 30 }; /* with its NUL */
/* IMF-fixdate (RFC 9110 §5.6.7): "Sun, 06 Nov 1994 08:49:37 GMT". */
void clock_http_format(char out[static CLOCK_HTTP_LEN], time_t t);
/* Reads an IMF-fixdate only (not the obsolete forms). E_INVALID otherwise. */
MUST_CHECK int clock_http_parse(struct span s, time_t *out);
/* Reads a date as people give it, "2027-01-31" or "2027-01-31T12:00:00Z" (RFC 3339 in UTC), as
 * seconds since 1970. E_INVALID: another spelling, a day that no month has, nothing after 1970. */
MUST_CHECK int clock_date_parse(struct span s, uint64_t *seconds);

#endif
