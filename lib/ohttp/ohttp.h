/* Chunked Oblivious HTTP (RFC 9458, draft-ietf-ohai-chunked-ohttp-08; wire.md §3, §4): contexts of
 * both sides. */
#ifndef OHTTP_OHTTP_H
#define OHTTP_OHTTP_H

#include "crypto/hpke.h"
#include "ohttp/key_config.h"

enum { OHTTP_CHUNK_MAX = 16384, OHTTP_RESPONSE_NONCE_LEN = 32 };

/* ---- Client: the gateway (sealed) or cocoon-client (end to end) ---- */

struct ohttp_client;

/* A sender context made ahead of need for one key: take-once. aead: one of the configuration's
 * suites, else E_UNSUPPORTED. key is read only here. */
MUST_CHECK int ohttp_client_new(struct ohttp_client **out, const struct key_config *to,
                                const struct hpke_public *key, enum aead_id aead);
/* The same with a given ephemeral private key: for vectors only. */
MUST_CHECK int ohttp_client_from(struct ohttp_client **out, const struct key_config *to,
                                 const struct hpke_public *key, enum aead_id aead,
                                 struct span ephemeral32);
void ohttp_client_free(struct ohttp_client *c); /* wipes */
AUTO_FREE(struct ohttp_client, ohttp_client_free)
/* Plaintext bytes a chunk may have, sent and received (OHTTP_CHUNK_MAX when not said); at least 1.
 */
void ohttp_client_set_chunk_max(struct ohttp_client *c, size_t len);
/* Appends the whole encapsulated request; once only, a second time is E_EXISTS. bhttp must not lie
 * in out. */
MUST_CHECK int ohttp_client_seal(struct ohttp_client *c, struct span bhttp, struct buf *out);
/* Feeds bytes of the encapsulated response: on_chunk (may be NULL) is called for every chunk that
 * became complete, in order, with its authenticated plaintext, which lives until it returns; it
 * must not free or feed the client. Any error: the answer is broken and nothing more may be taken
 * from it; every later call fails too. E_AUTH: a tag did not match. E_INVALID: framing, or bytes
 * before the request was sealed. E_TOO_LARGE: more than 2^32 chunks. */
typedef void ohttp_chunk_fn(void *arg, struct span plain, bool final);
MUST_CHECK int ohttp_client_open(struct ohttp_client *c, struct span bytes,
                                 ohttp_chunk_fn *on_chunk, void *arg);
/* The response's bytes ended: the final chunk runs to their end, so it is opened and delivered
 * (final = true) here. 0: the answer is whole. E_INVALID: truncated. E_AUTH: the final chunk's tag
 * did not match. Once only. */
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

/* hdr names the key by its id: finding it, and refusing suites that it does not offer
 * (key_config_offers), comes before. E_UNSUPPORTED: a suite that none of our keys offers. E_AUTH:
 * enc is a point of low order. key is read only here. */
MUST_CHECK int ohttp_server_new(struct ohttp_server **out, const struct ohttp_hdr *hdr,
                                const struct hpke_private *key);
void ohttp_server_free(struct ohttp_server *s); /* wipes */
AUTO_FREE(struct ohttp_server, ohttp_server_free)
/* Plaintext bytes a chunk may have, sent and received (OHTTP_CHUNK_MAX when not said); at least 1.
 */
void ohttp_server_set_chunk_max(struct ohttp_server *s, size_t len);
/* A given response nonce instead of a random one: for vectors only. */
void ohttp_server_set_nonce(struct ohttp_server *s,
                            const uint8_t nonce[static OHTTP_RESPONSE_NONCE_LEN]);
/* Opens a whole encapsulated request (from its first byte on): appends the plaintext of all chunks.
 * E_AUTH, E_INVALID leave plain as it was: nothing of a request is used before all of it has been
 * authenticated. Once only; whole must not lie in plain. */
MUST_CHECK int ohttp_server_open(struct ohttp_server *s, struct span whole, struct buf *plain);
/* Appends one response chunk (the first call puts the response nonce before it); longer plaintext
 * is cut into several. final: the last of them is the final chunk, which may be empty; after it
 * nothing may follow. Empty and not final appends no chunk. E_INVALID: the request was not opened,
 * or the final chunk was sealed already. E_TOO_LARGE: 2^32 chunks. */
MUST_CHECK int ohttp_server_seal(struct ohttp_server *s, struct span plain, bool final,
                                 struct buf *out);

#endif
