/* Listening sockets: TCP and UNIX, inherited ones too, and how they are given up. */
#ifndef NET_LISTENER_H
#define NET_LISTENER_H

#include "net/addr.h"
#include "net/loop.h"

struct net_listener;
/* A new connection: non-blocking, CLOEXEC, TCP_NODELAY; the callee owns fd. May free the listener.
 */
typedef void net_accept_fn(void *arg, int fd, const struct net_addr *peer);

/* Binds and listens: TCP with SO_REUSEADDR and SO_REUSEPORT; a stale UNIX socket file is replaced,
 * mode 0660. At most 64 accepts a turn. E_IO with errno. */
MUST_CHECK int net_listen(struct net_listener **out, struct loop *l, const struct net_addr *at,
                          net_accept_fn *fn, void *arg);
/* The same, but the port is shared with nobody: E_IO with EADDRINUSE where somebody listens there,
 * and for who would join later. */
MUST_CHECK int net_listen_alone(struct net_listener **out, struct loop *l,
                                const struct net_addr *at, net_accept_fn *fn, void *arg);
/* As net_listen, but clients come only after net_listener_hold(…, false): until then others that
 * share the port (SO_REUSEPORT) get them all. */
MUST_CHECK int net_bind(struct net_listener **out, struct loop *l, const struct net_addr *at,
                        net_accept_fn *fn, void *arg);
/* Somebody listens there already (TCP). */
bool net_is_served(const struct net_addr *at);
/* The same over a socket that is bound and listening already (LISTEN_FDS, sd_listen_fds(3)). Takes
 * fd when it succeeds; E_INVALID when it does not listen. */
MUST_CHECK int net_listen_fd(struct net_listener **out, struct loop *l, int fd, net_accept_fn *fn,
                             void *arg);
/* Descriptors from NET_INHERITED_FIRST on that were handed over to this process (LISTEN_PID,
 * LISTEN_FDS), with their names where the giver has named them (LISTEN_FDNAMES); clears the
 * variables. Their count. */
enum { NET_INHERITED_FIRST = 3 /* SD_LISTEN_FDS_START */, NET_INHERITED_MAX = 64 };
struct net_inherited {
    int count;
    char names[NET_INHERITED_MAX][64];
};
int net_inherited(struct net_inherited *out);
/* Held: connections wait in the socket's backlog. */
void net_listener_hold(struct net_listener *n, bool held);
/* The address bound, with the port the kernel chose for port 0. */
void net_listener_addr(const struct net_listener *n, struct net_addr *out);
/* The socket, to be given to another process too; borrowed. */
int net_listener_fd(const struct net_listener *n);
/* Another process listens on the same socket from now on: what waits in it is that one's. */
void net_listener_let_go(struct net_listener *n);
/* Takes nobody new and loses nobody: of a socket that others share the port with (SO_REUSEPORT) the
 * kernel resets what waits to be accepted when it is closed (measured), and hands it to nobody. So
 * all that waits is accepted first; where clients are not on this machine, handshakes under way get
 * 500 ms to finish. fn is called until net_listener_is_open is false. */
void net_listener_retire(struct net_listener *n);
bool net_listener_is_open(const struct net_listener *n);
/* Stops accepting and closes; the UNIX file is removed unless the socket was inherited or
 * somebody else has put another in its place. */
void net_listener_free(struct net_listener *n);

#endif
