/* TLS with client certificates in front of something that speaks plain text: each connection's
 * bytes go on over a socket pair, and who the client is beside them. Used from the loop's thread
 * only. */
#ifndef NET_TLS_FRONT_H
#define NET_TLS_FRONT_H

#include "net/addr.h"
#include "net/tls.h"

struct tls_front;

/* Who a client is, as its certificate says and our CA has signed. */
struct tls_client {
    struct buf names; /* its SAN's "DNS:…" (in small letters) and "URI:…", a line each */
    uint64_t until_s; /* when the certificate ends, Unix seconds */
};
void tls_client_free(struct tls_client *c);
/* One of the names is it. */
bool tls_client_is(const struct tls_client *c, struct span name);

/* A client whose certificate is good. The callee owns fd, a UNIX socket that carries its plain
 * text, and client; peer is where it comes from. */
typedef void tls_front_fn(void *arg, int fd, const struct net_addr *peer,
                          struct tls_client *client);

struct tls_front_options {
    size_t connections;    /* at a time; one more takes the place of the oldest that is still in its
                              handshake, and is closed at once where all are through */
    uint64_t handshake_ms; /* from accept to the end of the handshake */
    uint64_t idle_ms; /* once the other side of the pair is gone: for a client that takes nothing */
};

struct tls_front *tls_front_new(struct loop *l, const struct tls_front_options *o,
                                struct tls_ctx *ctx, tls_front_fn *fn, void *arg);
/* Certificate and CA of handshakes from now on; borrowed. */
void tls_front_use(struct tls_front *f, struct tls_ctx *ctx);
/* A connection that was accepted; takes fd. */
void tls_front_accept(struct tls_front *f, int fd, const struct net_addr *peer);
/* Moves what can be moved: for who waits without the loop. */
void tls_front_pump(struct tls_front *f);
size_t tls_front_connections(const struct tls_front *f);
/* Handshakes that failed so far: no certificate, one that is not good, no TLS at all, or no place
 * for it. */
uint64_t tls_front_refused(const struct tls_front *f);
/* Sends what the other side of the pairs has left there, as far as the sockets take it, and closes
 * all. */
void tls_front_free(struct tls_front *f);

#endif
