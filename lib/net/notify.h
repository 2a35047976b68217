/* Tells the service manager how we are (sd_notify(3)): a datagram to $NOTIFY_SOCKET. */
#ifndef NET_NOTIFY_H
#define NET_NOTIFY_H

#include <stdint.h>

#include "net/loop.h"

/* "READY=1", "RELOADING=1", "STOPPING=1", "WATCHDOG=1", "STATUS=…"; several are joined by LF.
 * E_NOT_FOUND when nobody asked (no NOTIFY_SOCKET); E_INVALID for an address we cannot use; E_IO.
 */
MUST_CHECK int notify_send(const char *state);
/* How often the manager wants WATCHDOG=1 at the least (half of WATCHDOG_USEC); 0 when it does not
 * watch us. */
uint64_t notify_watchdog_ms(void);
/* notify_send, where nobody needs to ask whether it was heard: the log says when it was not. */
void notify_tell(const char *state);

/* WATCHDOG=1 as often as the manager wants it, while the loop turns. {0}: not begun. */
struct watchdog {
    struct loop *loop;
    struct loop_timer timer;
};
/* The loop and w must live until it ends; nothing happens where no manager watches. */
void watchdog_begin(struct watchdog *w, struct loop *loop);
void watchdog_end(struct watchdog *w);

#endif
