/* Binary HTTP (RFC 9292): requests and responses, made whole or as a stream, read incrementally
 * with bounds. */
#ifndef OHTTP_BHTTP_H
#define OHTTP_BHTTP_H

#include "base/arena.h"
#include "base/buf.h"

struct bhttp_field {
    struct span name; /* lower case */
    struct span value;
};

enum { BHTTP_MAX_FIELDS = 100, BHTTP_MAX_FIELD_BYTES = 64 * 1024 };

/* Appends a known-length request (framing 0) without trailers. */
void bhttp_request(struct buf *out, struct span method, struct span scheme, struct span authority,
                   struct span path, const struct bhttp_field *fields, size_t count,
                   struct span content);

/* An indeterminate-length response (framing 3), piece by piece. */
void bhttp_response_head(struct buf *out, unsigned status, const struct bhttp_field *fields,
                         size_t count);
void bhttp_content(struct buf *out,
                   struct span content); /* one content chunk; empty content appends nothing */
void bhttp_content_end(struct buf *out);
void bhttp_trailers(struct buf *out, const struct bhttp_field *fields, size_t count);

/* Incremental reader of all four framings. Content is handed out as it comes; head and trailers
 * once complete. */
struct bhttp_reader;

enum bhttp_event { BHTTP_NEED_MORE, BHTTP_HEAD, BHTTP_CONTENT, BHTTP_TRAILERS, BHTTP_END };

struct bhttp_head {
    bool request;
    unsigned status;                             /* responses: the final one, 1xx are skipped */
    struct span method, scheme, authority, path; /* requests */
    const struct bhttp_field *fields;            /* live as long as the reader */
    size_t count;
};

/* request: which kind is expected. content_max: bound on all content together, known lengths are
 * refused before allocation. */
struct bhttp_reader *bhttp_reader_new(bool request, size_t content_max);
void bhttp_reader_free(struct bhttp_reader *r); /* wipes */
AUTO_FREE(struct bhttp_reader, bhttp_reader_free)
/* Appends input; then call bhttp_next until BHTTP_NEED_MORE. */
void bhttp_feed(struct bhttp_reader *r, struct span bytes);
/* No more input: what RFC 9292 §3.8 lets a message leave out is taken as empty, other truncation is
 * E_INVALID. */
void bhttp_finish(struct bhttp_reader *r);
/* Next event, or E_INVALID, E_TOO_LARGE. BHTTP_CONTENT sets *content (valid until the next call),
 * BHTTP_TRAILERS leaves the trailers to bhttp_trailers_of. Zero padding after the message is
 * skipped; other bytes there are E_INVALID. */
MUST_CHECK int bhttp_next(struct bhttp_reader *r, enum bhttp_event *event, struct span *content);
/* NULL before BHTTP_HEAD. */
const struct bhttp_head *bhttp_head_of(const struct bhttp_reader *r);
/* None before BHTTP_TRAILERS. */
const struct bhttp_field *bhttp_trailers_of(const struct bhttp_reader *r, size_t *count);
/* The only field of that name; E_NOT_FOUND; E_INVALID when it stands there twice. */
MUST_CHECK int bhttp_field_get(const struct bhttp_field *fields, size_t count, const char *name,
                               struct span *value);

#endif
