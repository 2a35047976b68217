/* Signed usage records that nobody has acknowledged yet (wire.md §9): in memory, or in a file too.
 * A record holds no content. */
#ifndef WORKER_USAGE_H
#define WORKER_USAGE_H

#include "base/buf.h"
#include "crypto/hash.h"
#include "net/loop.h"
#include "net/offload.h"

enum {
    USAGE_MAX_RECORDS = 100000,
    USAGE_MAX_AGE_H = 26, /* a hold's life and 24 h: later ones would be refused */
    USAGE_LIST_MAX = 1000,
};

struct usage_store;

/* Whose record: the operator's pin that the tunnel was verified with, call and attempt. */
struct usage_key {
    uint8_t op[SHA256_LEN];
    char call[33];
    uint32_t attempt;
};

/* An operator's pins: what it may see. */
struct usage_owner {
    const uint8_t (*pins)[SHA256_LEN];
    size_t count;
};

/* file: "" for memory only; else read, and rewritten without what is acknowledged. E_IO. */
MUST_CHECK int usage_open(struct usage_store **out, struct loop *l, struct offload *o,
                          const char *file);
/* Before the pool is freed: starts no more work there. */
void usage_stop(struct usage_store *s);
/* After the pool is gone: writes what is left, frees. */
void usage_close(struct usage_store *s);

void usage_add(struct usage_store *s, const struct usage_key *key, struct span jws);
/* At the limit: no more work before somebody acknowledges. */
bool usage_full(const struct usage_store *s);
size_t usage_count(const struct usage_store *s);
/* {"records":[{"seq":…,"jws":"…"}],"more":…}: the owner's, oldest first, seq > after. */
void usage_list(const struct usage_store *s, struct usage_owner owner, uint64_t after,
                struct buf *out);
/* Drops what was kept for USAGE_MAX_AGE_H; once a minute by itself. now_ms: of the monotonic clock,
 * for a date may be wrong, and a record is the owner's pay. A restart begins the age anew. */
void usage_tidy(struct usage_store *s, uint64_t now_ms);
/* Forgets one; E_NOT_FOUND. */
MUST_CHECK int usage_ack(struct usage_store *s, struct usage_owner owner, const char *call,
                         uint32_t attempt);

/* One acknowledgement of POST /v1/usage/ack. */
struct usage_ack {
    char call[33];
    uint32_t attempt;
    int64_t pay_nano;
};
typedef void usage_ack_fn(void *arg, const struct usage_ack *ack);
/* Reads {"acks":[{"call","attempt","result","pay"}]} and calls fn for each, after all have been
 * checked. E_INVALID, E_TOO_COMPLEX. */
MUST_CHECK int usage_acks_read(struct span json, usage_ack_fn *fn, void *arg);

/* Shared with usage_file.c. */
struct usage_record_line {
    uint64_t seq, t_ms;
    struct usage_key key;
    struct span jws; /* borrowed from the line's JSON while fn runs */
};
/* One line of the file: a record, or the seq of an acknowledged one (then *acked). E_INVALID. */
typedef void usage_line_fn(void *arg, const struct usage_record_line *line, uint64_t acked);
MUST_CHECK int usage_line_read(struct span line, usage_line_fn *fn, void *arg);
void usage_line_write(struct buf *out, const struct usage_record_line *line);

#endif
