/* Chunked Oblivious HTTP (RFC 9458, draft-ietf-ohai-chunked-ohttp-08; wire.md §3, §4): contexts of both sides. */
#ifndef OHTTP_OHTTP_H
#define OHTTP_OHTTP_H

#include "crypto/hpke.h"
#include "ohttp/key_config.h"

enum { OHTTP_CHUNK_MAX = 16384, OHTTP_RESPONSE_NONCE_LEN = 32 };

/* Splits a chunked body into ciphertext chunks, however the bytes arrive. */
struct ohttp_framer;

/* ---- Client: the gateway (sealed) or cocoon-client (end to end) ---- */

struct ohttp_client;

/* A sender context made ahead of need for one key: take-once. aead: one of the configuration's suites. */
MUST_CHECK int ohttp_client_new(struct ohttp_client **out, const struct key_config *to, const struct hpke_public *key,
                                enum aead_id aead);
void ohttp_client_free(struct ohttp_client *c); /* wipes */
AUTO_FREE(struct ohttp_client, ohttp_client_free)
/* Appends the whole encapsulated request; once only. */
MUST_CHECK int ohttp_client_seal(struct ohttp_client *c, struct span bhttp, struct buf *out);
/* Feeds bytes of the encapsulated response, appends the plaintext of every chunk that became complete.
 * chunk_ends: where each chunk's plaintext ends in `plain` is told by calling on_chunk for each, in order (may be NULL).
 * E_AUTH, E_INVALID: the answer is broken and nothing more may be taken from it. */
typedef void ohttp_chunk_fn(void *arg, struct span plain, bool final);
MUST_CHECK int ohttp_client_open(struct ohttp_client *c, struct span bytes, ohttp_chunk_fn *on_chunk, void *arg);
/* The response's bytes ended: 0 when an authenticated final chunk was the last; E_INVALID when it was truncated. */
MUST_CHECK int ohttp_client_end(struct ohttp_client *c, ohttp_chunk_fn *on_chunk, void *arg);

/* ---- Server: the worker ---- */

/* The first bytes of an encapsulated request, before any key is looked up. */
struct ohttp_hdr {
    uint8_t key_id;
    unsigned kem, kdf, aead;
    uint8_t enc[HPKE_ENC_LEN];
    uint8_t replay[16]; /* SHA-256(hdr ‖ enc)[0:16] (wire.md §7.2) */
};
/* E_AGAIN until OHTTP_HDR_LEN + HPKE_ENC_LEN bytes are there. */
MUST_CHECK int ohttp_hdr_parse(struct ohttp_hdr *out, struct span bytes);

struct ohttp_server;

MUST_CHECK int ohttp_server_new(struct ohttp_server **out, const struct ohttp_hdr *hdr, const struct hpke_private *key);
void ohttp_server_free(struct ohttp_server *s); /* wipes */
AUTO_FREE(struct ohttp_server, ohttp_server_free)
/* Opens a whole encapsulated request (from its first byte on): appends the plaintext of all chunks; E_AUTH, E_INVALID. */
MUST_CHECK int ohttp_server_open(struct ohttp_server *s, struct span whole, struct buf *plain);
/* Appends one response chunk (the first call puts the response nonce before it); longer plaintext is cut into several.
 * final: appends the final chunk, after which nothing may follow. */
MUST_CHECK int ohttp_server_seal(struct ohttp_server *s, struct span plain, bool final, struct buf *out);

#endif
