/* Tells the service manager how we are (sd_notify(3)): a datagram to $NOTIFY_SOCKET. */
#ifndef NET_NOTIFY_H
#define NET_NOTIFY_H

#include <stdint.h>

#include "base/error.h"

/* "READY=1", "RELOADING=1", "STOPPING=1", "WATCHDOG=1", "STATUS=…"; several are joined by LF.
 * E_NOT_FOUND when nobody asked (no NOTIFY_SOCKET); E_INVALID for an address we cannot use; E_IO.
 */
MUST_CHECK int notify_send(const char *state);
/* How often the manager wants WATCHDOG=1 at the least (half of WATCHDOG_USEC); 0 when it does not
 * watch us. */
uint64_t notify_watchdog_ms(void);

#endif
