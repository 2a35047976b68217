/* A tunnel's end against hostile or broken peers: each is a thread with an OpenSSL of its own on a
 * blocking socket. */
#include "operator.h"

#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <sys/socket.h>

#include "net/listener.h"
#include "net/tunnel.h"

enum { WAIT_MS = 5000 };
enum { DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, PING = 6, WINDOW_UPDATE = 8 };

/* ---- Certificates of every bad kind ---- */

struct identity {
    EVP_PKEY *key;
    X509 *cert;
    X509 *middle, *ca; /* sent behind the certificate; NULL: none */
};

struct cert_kind {
    const char *key; /* EVP_PKEY_Q_keygen's type: "EC", "ED25519", "RSA" */
    const char *curve;
    const char *eku; /* NULL: none */
    bool is_ca;
    int from_days, to_days;
};

static void extend(X509 *cert, const char *name, const char *value)
{
    X509V3_CTX ctx;

    X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_nconf(NULL, &ctx, name, value);
    assert_non_null(ext);
    X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);
}

/* issuer NULL: self-signed. */
static struct identity identity_new(const struct cert_kind *k, const char *name,
                                    const struct identity *issuer)
{
    struct identity id = {0};

    if (strcmp(k->key, "EC") == 0)
        id.key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", k->curve);
    else if (strcmp(k->key, "RSA") == 0)
        id.key = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    else
        id.key = EVP_PKEY_Q_keygen(NULL, NULL, k->key);
    assert_non_null(id.key);
    id.cert = X509_new();
    X509_set_version(id.cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(id.cert), 1);
    X509_set_pubkey(id.cert, id.key);
    X509_time_adj_ex(X509_getm_notBefore(id.cert), k->from_days, 0, NULL);
    X509_time_adj_ex(X509_getm_notAfter(id.cert), k->to_days, 0, NULL);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(id.cert), "CN", MBSTRING_UTF8,
                               (const uint8_t *)name, -1, -1, 0);
    X509_set_issuer_name(id.cert, X509_get_subject_name(issuer ? issuer->cert : id.cert));
    extend(id.cert, "basicConstraints", k->is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (k->eku)
        extend(id.cert, "extendedKeyUsage", k->eku);
    const EVP_MD *md = strcmp(k->key, "ED25519") == 0 && !issuer ? NULL : EVP_sha256();
    assert_true(X509_sign(id.cert, issuer ? issuer->key : id.key, md) > 0);
    return id;
}

static void identity_free(struct identity *id)
{
    EVP_PKEY_free(id->key);
    X509_free(id->cert);
}

static void identity_pin(const struct identity *id, uint8_t out[static TLS_SPKI_LEN])
{
    uint8_t *der = NULL;
    int len = i2d_PUBKEY(id->key, &der);

    assert_true(len > 0 && EVP_Digest(der, (size_t)len, out, NULL, EVP_sha256(), NULL) == 1);
    OPENSSL_free(der);
}

static const struct cert_kind good_worker = {"EC", "P-256", NULL, false, -1, 30};
static const struct cert_kind good_ca = {"EC", "P-256", NULL, true, -1, 30};
static const struct cert_kind good_leaf = {"EC", "P-256", "serverAuth", false, -1, 30};

/* ---- The peer's thread ---- */

struct peer {
    pthread_t thread;
    struct net_addr at;        /* dials there … */
    int listen_fd;             /* … or accepts here */
    const struct identity *id; /* NULL: no certificate */
    const char *alpn;          /* wire form; NULL: none */
    int max_version;
    struct buf script; /* bytes sent after the handshake, `repeat` times */
    unsigned repeat;
    bool plain;  /* sends the script without TLS */
    bool silent; /* reads nothing after it */
    bool connected, done;
    size_t received;
    int stop[2]; /* closed by the test: a silent peer ends */
};

static const char ours[] = "\x13"
                           "cocoon-h2-reverse/1";

static int any_cert(X509_STORE_CTX *x, void *arg)
{
    (void)x;
    (void)arg;
    return 1;
}

static int pick_alpn(SSL *ssl, const uint8_t **out, uint8_t *len, const uint8_t *in,
                     unsigned in_len, void *arg)
{
    const struct peer *p = arg;

    (void)ssl;
    (void)in;
    (void)in_len;
    if (!p->alpn)
        return SSL_TLSEXT_ERR_NOACK;
    *out = (const uint8_t *)p->alpn + 1;
    *len = (uint8_t)p->alpn[0];
    return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *peer_context(struct peer *p)
{
    SSL_CTX *ctx = SSL_CTX_new(p->listen_fd >= 0 ? TLS_server_method() : TLS_client_method());

    SSL_CTX_set_cert_verify_callback(ctx, any_cert, NULL);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_security_level(ctx, 0);
    if (p->max_version)
        SSL_CTX_set_max_proto_version(ctx, p->max_version);
    if (p->id) {
        SSL_CTX_use_certificate(ctx, p->id->cert);
        SSL_CTX_use_PrivateKey(ctx, p->id->key);
        if (p->id->middle)
            SSL_CTX_add1_chain_cert(ctx, p->id->middle);
        if (p->id->ca)
            SSL_CTX_add1_chain_cert(ctx, p->id->ca);
    }
    if (p->alpn)
        SSL_CTX_set_alpn_protos(ctx, (const uint8_t *)p->alpn, (unsigned)strlen(p->alpn));
    SSL_CTX_set_alpn_select_cb(ctx, pick_alpn, p);
    return ctx;
}

static int peer_socket(const struct peer *p)
{
    const struct timeval limit = {.tv_sec = 5};
    int fd = p->listen_fd >= 0 ? accept(p->listen_fd, NULL, NULL) : socket(AF_INET, SOCK_STREAM, 0);

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (p->listen_fd < 0 && connect(fd, (const struct sockaddr *)&p->at.sa, p->at.len) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void talk(struct peer *p, SSL *ssl)
{
    uint8_t in[4096];
    int n = 1;

    if (p->repeat > 0) /* the script speaks of a stream that our end must have opened before */
        n = SSL_read(ssl, in, sizeof(in));
    for (unsigned i = 0; i < p->repeat && n > 0; i++)
        n = SSL_write(ssl, p->script.data, (int)p->script.len);
    if (p->silent)
        (void)!read(p->stop[0], in, 1);
    else
        while ((n = SSL_read(ssl, in, sizeof(in))) > 0)
            p->received += (size_t)n;
}

static void talk_plain(struct peer *p, int fd)
{
    uint8_t in[4096];
    ssize_t n;

    (void)!send(fd, p->script.data, p->script.len, MSG_NOSIGNAL);
    while ((n = recv(fd, in, sizeof(in), 0)) > 0)
        p->received += (size_t)n;
}

static void *peer_run(void *arg)
{
    struct peer *p = arg;
    int fd = peer_socket(p);

    if (fd >= 0 && p->plain) {
        talk_plain(p, fd);
    } else if (fd >= 0) {
        SSL_CTX *ctx = peer_context(p);
        SSL *ssl = SSL_new(ctx);
        SSL_set_fd(ssl, fd);
        p->connected = (p->listen_fd >= 0 ? SSL_accept(ssl) : SSL_connect(ssl)) == 1;
        if (p->connected)
            talk(p, ssl);
        SSL_free(ssl);
        SSL_CTX_free(ctx);
    }
    close(fd);
    __atomic_store_n(&p->done, true, __ATOMIC_RELEASE);
    return NULL;
}

static void peer_start(struct peer *p)
{
    assert_int_equal(pipe(p->stop), 0);
    assert_int_equal(pthread_create(&p->thread, NULL, peer_run, p), 0);
}

static void peer_join(struct peer *p, struct loop *l)
{
    close(p->stop[1]);
    TURN_UNTIL(l, __atomic_load_n(&p->done, __ATOMIC_ACQUIRE), 2 * WAIT_MS);
    pthread_join(p->thread, NULL);
    close(p->stop[0]);
    buf_fini(&p->script);
}

static void add_frame(struct buf *b, uint8_t type, uint8_t flags, uint32_t stream,
                      const void *payload, size_t len)
{
    buf_byte(b, (uint8_t)(len >> 16));
    buf_u16be(b, (uint16_t)len);
    buf_byte(b, type);
    buf_byte(b, flags);
    buf_u32be(b, stream);
    buf_append(b, span_of(payload, len));
}

/* ---- Our end ---- */

struct end {
    struct loop *loop;
    struct operator_dir dir;
    struct tls_ctx *tls;
    struct net_listener *listener;
    struct tunnel_limits limits;
    struct tunnel *tunnel;
    unsigned accepts, opens, closes;
    int error;
    struct tunnel_stream *stream;
    size_t received;
    unsigned stream_closes;
    int stream_error;
};

static void stream_closed(void *arg, struct tunnel_stream *s, int error)
{
    struct end *e = arg;

    (void)s;
    e->stream_closes++;
    e->stream_error = error;
}

/* Consumes nothing. */
static void stream_data(void *arg, struct tunnel_stream *s, struct span b)
{
    struct end *e = arg;

    (void)s;
    e->received += b.len;
}

static const struct tunnel_stream_events stream_events = {.data = stream_data,
                                                          .closed = stream_closed};

static void on_open(void *arg, struct tunnel *t)
{
    struct end *e = arg;

    (void)t;
    e->opens++;
}

/* A call is under way from the start, so that the peer has a stream to misuse. */
static void on_open_ask(void *arg, struct tunnel *t)
{
    struct end *e = arg;

    e->opens++;
    assert_int_equal(tunnel_request(t, "GET", "/", NULL, 0, NULL, &stream_events, e, &e->stream),
                     0);
}

static void on_closed(void *arg, struct tunnel *t, int error)
{
    struct end *e = arg;

    (void)t;
    e->closes++;
    e->error = error;
    e->tunnel = NULL;
}

static const struct tunnel_events quiet = {.open = on_open, .closed = on_closed};
static const struct tunnel_events asking = {.open = on_open_ask, .closed = on_closed};

static void on_accept(void *arg, int fd, const struct net_addr *peer)
{
    struct end *e = arg;

    (void)peer;
    e->accepts++;
    assert_int_equal(tunnel_accept(&e->tunnel, e->loop, e->tls, fd, &e->limits, &asking, e), 0);
}

static void gateway_start(struct end *e, struct peer *p)
{
    struct net_addr any;

    *e = (struct end){.limits = tunnel_gateway_limits};
    operator_new(&e->dir);
    assert_int_equal(loop_new(&e->loop), 0);
    assert_int_equal(tls_server_new(&e->tls, e->dir.chain, e->dir.key), 0);
    assert_int_equal(net_addr_parse(&any, "127.0.0.1:0"), 0);
    assert_int_equal(net_listen(&e->listener, e->loop, &any, on_accept, e), 0);
    net_listener_addr(e->listener, &p->at);
    p->listen_fd = -1;
}

static void end_free(struct end *e)
{
    if (e->tunnel)
        tunnel_close(e->tunnel);
    net_listener_free(e->listener);
    tls_ctx_free(e->tls);
    loop_free(e->loop);
    operator_free(&e->dir);
}

/* Runs p against a gateway that must close with `error` (0: any); opened: the handshake succeeds
 * before. */
static void gateway_closes(struct end *e, struct peer *p, bool opened, int error)
{
    uint64_t from = clock_mono_ms();

    peer_start(p);
    TURN_UNTIL(e->loop, e->closes == 1, WAIT_MS);
    assert_int_equal(e->opens, opened);
    assert_int_equal(e->stream_closes, opened);
    if (error)
        assert_int_equal(e->error, error);
    assert_in_range(clock_mono_ms() - from, 0, 2000);
    peer_join(p, e->loop);
    end_free(e);
}

/* ---- Handshakes that a gateway refuses ---- */

static void garbage_is_closed(void **state)
{
    struct end e;
    struct peer p = {.plain = true};

    (void)state;
    gateway_start(&e, &p);
    buf_append_str(&p.script, "GET / HTTP/1.1\r\nHost: gateway\r\n\r\n");
    gateway_closes(&e, &p, false, E_PROTOCOL);
}

static void a_silent_connection_is_closed_at_the_deadline(void **state)
{
    struct end e;
    struct peer p = {.plain = true};

    (void)state;
    gateway_start(&e, &p);
    e.limits.handshake_ms = 100;
    gateway_closes(&e, &p, false, E_TIMEOUT);
}

static void a_worker_without_certificate_is_refused(void **state)
{
    struct end e;
    struct peer p = {.alpn = ours};

    (void)state;
    gateway_start(&e, &p);
    gateway_closes(&e, &p, false, E_PROTOCOL);
}

static void another_protocol_is_refused(void **state)
{
    static const char *const names[] = {NULL, "\x02h2",
                                        "\x13"
                                        "cocoon-h2-reverse/2"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct end e;
        struct identity id = identity_new(&good_worker, "w", NULL);
        struct peer p = {.alpn = names[i], .id = &id};
        gateway_start(&e, &p);
        gateway_closes(&e, &p, false, E_PROTOCOL);
        identity_free(&id);
    }
}

static void tls_12_is_refused(void **state)
{
    struct end e;
    struct identity id = identity_new(&good_worker, "w", NULL);
    struct peer p = {.alpn = ours, .id = &id, .max_version = TLS1_2_VERSION};

    (void)state;
    gateway_start(&e, &p);
    gateway_closes(&e, &p, false, E_PROTOCOL);
    identity_free(&id);
}

static void keys_of_other_kinds_are_refused(void **state)
{
    static const struct cert_kind kinds[] = {
        {"RSA", NULL, NULL, false, -1, 30},
        {"EC", "P-384", NULL, false, -1, 30},
    };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct end e;
        struct identity id = identity_new(&kinds[i], "w", NULL);
        struct peer p = {.alpn = ours, .id = &id};
        gateway_start(&e, &p);
        gateway_closes(&e, &p, false, E_AUTH);
        identity_free(&id);
    }
}

static void a_certificate_signed_by_somebody_else_is_refused(void **state)
{
    struct end e;
    struct identity ca = identity_new(&good_ca, "ca", NULL);
    struct identity id = identity_new(&good_worker, "w", &ca);
    struct peer p = {.alpn = ours, .id = &id};

    (void)state;
    gateway_start(&e, &p);
    gateway_closes(&e, &p, false, E_AUTH);
    identity_free(&id);
    identity_free(&ca);
}

static void ed25519_and_wrong_clocks_are_accepted(void **state)
{
    static const struct cert_kind kinds[] = {
        {"ED25519", NULL, NULL, false, -1, 30},
        {"EC", "P-256", NULL, false, -30, -20}, /* a TEE's clock may be off; attestation decides */
        {"EC", "P-256", NULL, false, 20, 30},
    };

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct end e;
        struct identity id = identity_new(&kinds[i], "w", NULL);
        struct peer p = {.alpn = ours, .id = &id, .silent = true};
        uint8_t pin[TLS_SPKI_LEN], spki[TLS_SPKI_LEN];
        gateway_start(&e, &p);
        peer_start(&p);
        TURN_UNTIL(e.loop, e.opens == 1, WAIT_MS);
        tunnel_peer_spki(e.tunnel, spki);
        identity_pin(&id, pin);
        assert_memory_equal(pin, spki, TLS_SPKI_LEN);
        tunnel_close(e.tunnel);
        peer_join(&p, e.loop);
        end_free(&e);
        identity_free(&id);
    }
}

/* ---- Workers that misbehave after the handshake ---- */

static void gateway_survives_script(struct buf *take_script, unsigned repeat, int error)
{
    struct end e;
    struct identity id = identity_new(&good_worker, "w", NULL);
    struct peer p = {.alpn = ours, .id = &id, .repeat = repeat};

    gateway_start(&e, &p);
    add_frame(&p.script, SETTINGS, 0, 0, "", 0);
    buf_append(&p.script, buf_span(take_script));
    buf_fini(take_script);
    gateway_closes(&e, &p, true, error);
    identity_free(&id);
}

static void bytes_that_are_no_frames_close_the_tunnel(void **state)
{
    struct buf script = {0};

    (void)state;
    buf_append_str(&script, "HTTP/1.1 400 Bad Request\r\n\r\nand so on, and so on, and so on\r\n");
    gateway_survives_script(&script, 1, E_PROTOCOL);
}

static void a_flood_of_settings_closes_the_tunnel(void **state)
{
    struct buf script = {0};

    (void)state;
    gateway_survives_script(&script, 100, E_PROTOCOL);
}

static void a_flood_of_pings_closes_the_tunnel(void **state)
{
    struct buf script = {0};

    (void)state;
    for (int i = 0; i < 50000; i++)
        add_frame(&script, PING, 0, 0, "12345678", 8);
    gateway_survives_script(&script, 1, E_PROTOCOL);
}

static void a_flood_of_empty_data_closes_the_tunnel(void **state)
{
    struct buf script = {0};
    static const uint8_t status_200 = 0x88; /* HPACK: indexed ":status: 200" */

    (void)state;
    add_frame(&script, HEADERS, 0x4, 1, &status_200, 1);
    for (int i = 0; i < 50000; i++)
        add_frame(&script, DATA, 0, 1, "", 0);
    gateway_survives_script(&script, 1, E_PROTOCOL);
}

static void frames_of_a_stream_never_opened_close_the_tunnel(void **state)
{
    struct buf script = {0};
    static const uint8_t status_200 = 0x88;

    (void)state;
    add_frame(&script, HEADERS, 0x4, 7, &status_200, 1);
    gateway_survives_script(&script, 1, E_PROTOCOL);
}

static void more_data_than_the_window_ends_the_stream(void **state)
{
    struct end e;
    struct identity id = identity_new(&good_worker, "w", NULL);
    struct peer p = {.alpn = ours, .id = &id, .repeat = 1, .silent = true};
    static const uint8_t status_200 = 0x88;
    static uint8_t block[16000];

    (void)state;
    gateway_start(&e, &p);
    add_frame(&p.script, SETTINGS, 0, 0, "", 0);
    add_frame(&p.script, HEADERS, 0x4, 1, &status_200, 1);
    for (int i = 0; i < 10; i++)
        add_frame(&p.script, DATA, 0, 1, block, sizeof(block));
    peer_start(&p);
    TURN_UNTIL(e.loop, e.stream_closes == 1, WAIT_MS);
    assert_true(e.stream_error < 0);
    assert_in_range(e.received, 1, 80 << 10); /* the frame that overruns it is the last */
    if (e.tunnel)
        tunnel_close(e.tunnel);
    peer_join(&p, e.loop);
    end_free(&e);
    identity_free(&id);
}

static void a_header_block_above_the_limit_ends_the_stream_only(void **state)
{
    struct end e;
    struct identity id = identity_new(&good_worker, "w", NULL);
    struct peer p = {.alpn = ours, .id = &id, .repeat = 1, .silent = true};
    struct buf block = {0};
    static uint8_t value[125];

    (void)state;
    memset(value, 'v', sizeof(value));
    gateway_start(&e, &p);
    buf_byte(&block, 0x88);
    for (int i = 0; i < 100; i++) { /* literal without indexing, new name "x" */
        buf_append(&block, SPAN("\x00\x01x\x7d"));
        buf_append(&block, SPAN_OF(value));
    }
    e.limits.header_max = 8000;
    add_frame(&p.script, SETTINGS, 0, 0, "", 0);
    add_frame(&p.script, HEADERS, 0x4, 1, block.data, block.len);
    buf_fini(&block);
    peer_start(&p);
    TURN_UNTIL(e.loop, e.stream_closes == 1, WAIT_MS);
    assert_true(e.stream_error < 0);
    assert_non_null(e.tunnel);
    tunnel_close(e.tunnel);
    peer_join(&p, e.loop);
    end_free(&e);
    identity_free(&id);
}

static void a_peer_that_says_nothing_is_dead_after_a_while(void **state)
{
    struct end e;
    struct identity id = identity_new(&good_worker, "w", NULL);
    struct peer p = {.alpn = ours, .id = &id, .silent = true};

    (void)state;
    gateway_start(&e, &p);
    e.limits.ping_ms = 50;
    e.limits.dead_ms = 200;
    peer_start(&p);
    TURN_UNTIL(e.loop, e.opens == 1, WAIT_MS);
    uint64_t from = clock_mono_ms();
    TURN_UNTIL(e.loop, e.closes == 1, WAIT_MS);
    assert_in_range(clock_mono_ms() - from, 150, 600);
    assert_int_equal(e.error, E_TIMEOUT);
    assert_int_equal(e.stream_error, E_TIMEOUT);
    peer_join(&p, e.loop);
    end_free(&e);
    identity_free(&id);
}

/* A peer that acknowledges nothing and reads nothing must not make the queue grow without bound. */
static void a_peer_that_stops_reading_is_dead_after_a_while(void **state)
{
    struct end e;
    struct identity id = identity_new(&good_worker, "w", NULL);
    struct peer p = {.alpn = ours, .id = &id, .silent = true, .repeat = 1};
    static const uint8_t wide[] = {0, 4, 0x7f, 0xff, 0xff, 0xff}; /* INITIAL_WINDOW_SIZE */
    struct tunnel_stream *s;
    struct buf body = {0};

    (void)state;
    gateway_start(&e, &p);
    e.limits.ping_ms = 50;
    e.limits.dead_ms = 300;
    add_frame(&p.script, SETTINGS, 0, 0, wide, sizeof(wide));
    add_frame(&p.script, WINDOW_UPDATE, 0, 0, "\x3f\xff\xff\xff", 4);
    peer_start(&p);
    TURN_UNTIL(e.loop, e.opens == 1, WAIT_MS);
    memset(buf_reserve(&body, 8 << 20), 0, 8 << 20);
    body.len = 8 << 20;
    assert_int_equal(tunnel_request(e.tunnel, "POST", "/", NULL, 0, &body, &stream_events, &e, &s),
                     0);
    TURN_UNTIL(e.loop, e.closes == 1, WAIT_MS);
    assert_int_equal(e.error, E_TIMEOUT);
    assert_int_equal(e.stream_closes, 2);
    peer_join(&p, e.loop);
    end_free(&e);
    identity_free(&id);
}

/* ---- Gateways that a worker refuses ---- */

static void worker_start(struct end *e, struct peer *p, const uint8_t (*pin)[TLS_SPKI_LEN])
{
    struct net_addr at;
    const struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};

    *e = (struct end){.limits = tunnel_worker_limits};
    operator_new(&e->dir);
    assert_int_equal(loop_new(&e->loop), 0);
    assert_int_equal(tls_client_new(&e->tls), 0);
    p->listen_fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(p->listen_fd, (const struct sockaddr *)&any, sizeof(any)), 0);
    assert_int_equal(listen(p->listen_fd, 1), 0);
    at.len = sizeof(at.sa);
    getsockname(p->listen_fd, (struct sockaddr *)&at.sa, &at.len);
    peer_start(p);
    assert_int_equal(tunnel_dial(&e->tunnel, e->loop, e->tls, &at, pin, 1, &e->limits, &quiet, e),
                     0);
}

static void worker_ends(struct end *e, struct peer *p, bool opened, int error)
{
    if (opened) {
        TURN_UNTIL(e->loop, e->opens == 1, WAIT_MS);
        tunnel_close(e->tunnel);
    }
    TURN_UNTIL(e->loop, e->closes == 1, WAIT_MS);
    assert_int_equal(e->opens, opened);
    assert_int_equal(e->error, error);
    peer_join(p, e->loop);
    close(p->listen_fd);
    end_free(e);
}

/* The gateway shows leaf and ca; the worker pins pinned (NULL: ca). */
static void worker_meets(const struct cert_kind *leaf_kind, const struct cert_kind *ca_kind,
                         bool foreign_pin, bool forged, int error)
{
    struct end e;
    struct identity ca = identity_new(ca_kind, "ca", NULL);
    struct identity other = identity_new(&good_ca, "ca", NULL);
    /* forged: signed by another key of the same name, with the pinned CA's certificate shown beside
     * it */
    struct identity leaf = identity_new(leaf_kind, "gateway", forged ? &other : &ca);
    struct peer p = {.alpn = ours, .id = &leaf};
    uint8_t pin[1][TLS_SPKI_LEN];

    leaf.ca = ca.cert;
    identity_pin(foreign_pin ? &other : &ca, pin[0]);
    worker_start(&e, &p, pin);
    worker_ends(&e, &p, error == 0, error ? error : E_CLOSED);
    identity_free(&leaf);
    identity_free(&other);
    identity_free(&ca);
}

static void a_gateway_under_the_pinned_ca_is_accepted(void **state)
{
    (void)state;
    worker_meets(&good_leaf, &good_ca, false, false, 0);
}

static void a_pinned_ca_may_stand_anywhere_above_the_leaf(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct end e;
        struct identity ca = identity_new(&good_ca, "ca", NULL);
        struct identity middle = identity_new(&good_ca, "middle", &ca);
        struct identity leaf = identity_new(&good_leaf, "gateway", &middle);
        struct peer p = {.alpn = ours, .id = &leaf};
        uint8_t pin[1][TLS_SPKI_LEN], matched[TLS_SPKI_LEN];

        leaf.middle = middle.cert;
        leaf.ca = ca.cert;
        identity_pin(i == 0 ? &ca : &middle, pin[0]);
        worker_start(&e, &p, pin);
        TURN_UNTIL(e.loop, e.opens == 1, WAIT_MS);
        tunnel_pin(e.tunnel, matched);
        assert_memory_equal(matched, pin[0], TLS_SPKI_LEN);
        worker_ends(&e, &p, true, E_CLOSED);
        identity_free(&leaf);
        identity_free(&middle);
        identity_free(&ca);
    }
}

static void another_ca_is_refused(void **state)
{
    (void)state;
    worker_meets(&good_leaf, &good_ca, true, false, E_AUTH);
}

static void showing_the_pinned_ca_does_not_help_a_forged_leaf(void **state)
{
    (void)state;
    worker_meets(&good_leaf, &good_ca, false, true, E_AUTH);
}

static void dates_and_usage_of_the_chain_are_checked(void **state)
{
    static const struct cert_kind expired = {"EC", "P-256", "serverAuth", false, -30, -1};
    static const struct cert_kind early = {"EC", "P-256", "serverAuth", false, 1, 30};
    static const struct cert_kind client = {"EC", "P-256", "clientAuth", false, -1, 30};
    static const struct cert_kind none = {"EC", "P-256", NULL, false, -1, 30};
    static const struct cert_kind old_ca = {"EC", "P-256", NULL, true, -30, -1};
    static const struct cert_kind no_ca = {"EC", "P-256", NULL, false, -1, 30};

    (void)state;
    worker_meets(&expired, &good_ca, false, false, E_AUTH);
    worker_meets(&early, &good_ca, false, false, E_AUTH);
    worker_meets(&client, &good_ca, false, false, E_AUTH);
    worker_meets(&none, &good_ca, false, false, E_AUTH);
    worker_meets(&good_leaf, &old_ca, false, false, E_AUTH);
    worker_meets(&good_leaf, &no_ca, false, false, E_AUTH);
}

static void a_leaf_that_is_the_pinned_key_itself_is_refused(void **state)
{
    static const struct cert_kind both = {"EC", "P-256", "serverAuth", true, -1, 30};
    struct end e;
    struct identity ca = identity_new(&both, "ca", NULL);
    struct peer p = {.alpn = ours, .id = &ca};
    uint8_t pin[1][TLS_SPKI_LEN];

    (void)state;
    identity_pin(&ca, pin[0]);
    worker_start(&e, &p, pin);
    worker_ends(&e, &p, false, E_AUTH);
    identity_free(&ca);
}

static void a_gateway_of_another_protocol_or_version_is_refused(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct end e;
        struct identity ca = identity_new(&good_ca, "ca", NULL);
        struct identity leaf = identity_new(&good_leaf, "gateway", &ca);
        struct peer p = {.alpn = ours, .id = &leaf};
        uint8_t pin[1][TLS_SPKI_LEN];
        p.alpn = i == 0 ? NULL : i == 1 ? "\x02h2" : ours;
        p.max_version = i == 2 ? TLS1_2_VERSION : 0;
        leaf.ca = ca.cert;
        identity_pin(&ca, pin[0]);
        worker_start(&e, &p, pin);
        worker_ends(&e, &p, false, E_PROTOCOL);
        identity_free(&leaf);
        identity_free(&ca);
    }
}

static void a_port_where_nobody_listens_is_an_error(void **state)
{
    struct end e = {.limits = tunnel_worker_limits};
    uint8_t pin[1][TLS_SPKI_LEN] = {{0}};
    struct net_addr at;

    (void)state;
    operator_new(&e.dir);
    assert_int_equal(loop_new(&e.loop), 0);
    assert_int_equal(tls_client_new(&e.tls), 0);
    assert_int_equal(net_addr_parse(&at, "127.0.0.1:1"), 0);
    if (tunnel_dial(&e.tunnel, e.loop, e.tls, &at, pin, 1, &e.limits, &quiet, &e) == 0)
        TURN_UNTIL(e.loop, e.closes == 1, WAIT_MS);
    assert_true(e.closes == 0 || e.error == E_IO);
    end_free(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(garbage_is_closed),
        cmocka_unit_test(a_silent_connection_is_closed_at_the_deadline),
        cmocka_unit_test(a_worker_without_certificate_is_refused),
        cmocka_unit_test(another_protocol_is_refused),
        cmocka_unit_test(tls_12_is_refused),
        cmocka_unit_test(keys_of_other_kinds_are_refused),
        cmocka_unit_test(a_certificate_signed_by_somebody_else_is_refused),
        cmocka_unit_test(ed25519_and_wrong_clocks_are_accepted),
        cmocka_unit_test(bytes_that_are_no_frames_close_the_tunnel),
        cmocka_unit_test(a_flood_of_settings_closes_the_tunnel),
        cmocka_unit_test(a_flood_of_pings_closes_the_tunnel),
        cmocka_unit_test(a_flood_of_empty_data_closes_the_tunnel),
        cmocka_unit_test(frames_of_a_stream_never_opened_close_the_tunnel),
        cmocka_unit_test(more_data_than_the_window_ends_the_stream),
        cmocka_unit_test(a_header_block_above_the_limit_ends_the_stream_only),
        cmocka_unit_test(a_peer_that_says_nothing_is_dead_after_a_while),
        cmocka_unit_test(a_peer_that_stops_reading_is_dead_after_a_while),
        cmocka_unit_test(a_gateway_under_the_pinned_ca_is_accepted),
        cmocka_unit_test(a_pinned_ca_may_stand_anywhere_above_the_leaf),
        cmocka_unit_test(another_ca_is_refused),
        cmocka_unit_test(showing_the_pinned_ca_does_not_help_a_forged_leaf),
        cmocka_unit_test(dates_and_usage_of_the_chain_are_checked),
        cmocka_unit_test(a_leaf_that_is_the_pinned_key_itself_is_refused),
        cmocka_unit_test(a_gateway_of_another_protocol_or_version_is_refused),
        cmocka_unit_test(a_port_where_nobody_listens_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
