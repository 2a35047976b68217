/* Reads Binary HTTP (RFC 9292) as its bytes come: one step a piece of the grammar, every length
 * bounded before it is believed. */
#include "ohttp/bhttp.h"

#include <stdlib.h>

#include "ohttp/varint.h"

enum { CONTROL_ITEMS = 4, CONTROL_MAX = 8 * 1024, INFORMATIONAL_MAX = 16 };

enum state {
    FRAMING,
    CONTROL,
    STATUS,
    SECTION,
    FIELDS,
    CONTENT_LENGTH,
    CONTENT,
    PADDING,
    DONE,
    BROKEN
};

/* Fields of one section; their bytes are in the reader's arena. */
struct section {
    struct bhttp_field *fields;
    size_t count, room;
};

struct bhttp_reader {
    bool request, known; /* what is read, known-length or indeterminate */
    bool finished;
    enum state state;
    int error;
    struct buf in;
    size_t spent; /* bytes of `in` handed out by the last call */
    struct arena arena;
    struct span control[CONTROL_ITEMS]; /* method, scheme, authority, path */
    size_t control_count, informational;
    struct bhttp_head head;
    bool head_done, trailers_done;
    struct section header, trailer;
    uint64_t
        section_left; /* bytes: of a known-length section; of the bound of an indeterminate one */
    uint64_t content_left; /* of this chunk, or of the whole known-length content */
    uint64_t content_max;  /* what may still come */
    bool content_begun;    /* indeterminate: a chunk has come, so the terminator must too */
    bool told;             /* the step set event (and content) */
    enum bhttp_event event;
    struct span content;
};

struct bhttp_reader *bhttp_reader_new(bool request, size_t content_max)
{
    struct bhttp_reader *r = mem_zero(sizeof(*r));

    r->request = request;
    r->content_max = content_max;
    return r;
}

void bhttp_reader_free(struct bhttp_reader *r)
{
    if (!r)
        return;
    buf_wipe(&r->in);
    arena_fini(&r->arena);
    free(r->header.fields);
    free(r->trailer.fields);
    free(r);
}

void bhttp_feed(struct bhttp_reader *r, struct span bytes)
{
    buf_consume(&r->in, r->spent);
    r->spent = 0;
    if (r->state == BROKEN || bytes.len == 0)
        return;
    if (r->finished) {
        r->state = BROKEN;
        r->error = E_INVALID;
        return;
    }
    buf_append(&r->in, bytes);
}

void bhttp_finish(struct bhttp_reader *r)
{
    r->finished = true;
}

const struct bhttp_head *bhttp_head_of(const struct bhttp_reader *r)
{
    return r->head_done ? &r->head : NULL;
}

const struct bhttp_field *bhttp_trailers_of(const struct bhttp_reader *r, size_t *count)
{
    *count = r->trailers_done ? r->trailer.count : 0;
    return r->trailers_done ? r->trailer.fields : NULL;
}

/* ---- Steps: 0 after progress, E_AGAIN when bytes are missing ---- */

static void tell(struct bhttp_reader *r, enum bhttp_event event)
{
    r->told = true;
    r->event = event;
}

/* Where a section would start, and nothing came any more (RFC 9292 §3.8). */
static bool left_out(const struct bhttp_reader *r)
{
    return r->finished && r->in.len == 0;
}

static int number_take(struct bhttp_reader *r, uint64_t *value)
{
    size_t used = varint_read(buf_span(&r->in), value);

    if (used == 0)
        return E_AGAIN;
    buf_consume(&r->in, used);
    return 0;
}

static int framing_step(struct bhttp_reader *r)
{
    uint64_t framing;

    TRY(number_take(r, &framing));
    if (framing > 3 || (framing % 2 == 0) != r->request)
        return E_INVALID;
    r->known = framing < 2;
    r->state = r->request ? CONTROL : STATUS;
    return 0;
}

static bool token(struct span s)
{
    return span_plain(s, "!#$%&'*+-.^_`|~", SIZE_MAX); /* RFC 9110 §5.6.2 */
}

/* Method, scheme, authority, path; authority and path may be empty. */
static bool control_good(size_t index, struct span s)
{
    if (index == 0)
        return token(s);
    return (s.len == 0 && index > 1) || span_visible(s, CONTROL_MAX);
}

static int control_step(struct bhttp_reader *r)
{
    struct span in = buf_span(&r->in), item;
    uint64_t len;
    size_t used = varint_read(in, &len);

    if (used == 0)
        return E_AGAIN;
    if (len > CONTROL_MAX)
        return E_TOO_LARGE;
    if (in.len - used < len)
        return E_AGAIN;
    item = span_cut(in, used, (size_t)len);
    if (!control_good(r->control_count, item))
        return E_INVALID;
    r->control[r->control_count++] = arena_copy(&r->arena, item);
    buf_consume(&r->in, used + (size_t)len);
    if (r->control_count == CONTROL_ITEMS)
        r->state = SECTION;
    return 0;
}

static int status_step(struct bhttp_reader *r)
{
    uint64_t status;

    TRY(number_take(r, &status));
    if (status < 100 || status > 599)
        return E_INVALID;
    if (status < 200 && ++r->informational > INFORMATIONAL_MAX)
        return E_TOO_LARGE;
    r->head.status = (unsigned)status;
    r->state = SECTION;
    return 0;
}

static bool informational(const struct bhttp_reader *r)
{
    return !r->request && r->head.status < 200;
}

static struct section *section_of(struct bhttp_reader *r)
{
    return r->head_done ? &r->trailer : &r->header;
}

static void head_finish(struct bhttp_reader *r)
{
    r->head.request = r->request;
    r->head.method = r->control[0];
    r->head.scheme = r->control[1];
    r->head.authority = r->control[2];
    r->head.path = r->control[3];
    r->head.fields = r->header.fields;
    r->head.count = r->header.count;
    r->head_done = true;
    r->state = CONTENT_LENGTH;
    tell(r, BHTTP_HEAD);
}

static int section_finish(struct bhttp_reader *r)
{
    if (!r->head_done && informational(r)) {
        r->header.count = 0;
        r->state = STATUS;
    } else if (!r->head_done) {
        head_finish(r);
    } else {
        r->trailers_done = true;
        r->state = PADDING;
        tell(r, BHTTP_TRAILERS);
    }
    return 0;
}

static int section_step(struct bhttp_reader *r)
{
    if (left_out(r) && !informational(r))
        return section_finish(r);
    if (r->in.len == 0) /* it may still turn out to be left out */
        return E_AGAIN;
    r->section_left = BHTTP_MAX_FIELD_BYTES;
    if (r->known) {
        TRY(number_take(r, &r->section_left));
        if (r->section_left > BHTTP_MAX_FIELD_BYTES)
            return E_TOO_LARGE;
    }
    r->state = FIELDS;
    return 0;
}

static bool name_good(struct span name)
{
    if (!token(name))
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (name.data[i] >= 'A' && name.data[i] <= 'Z')
            return false;
    return true;
}

/* RFC 9113 §8.2.1, which RFC 9292 §3.6 asks for. */
static bool value_good(struct span value)
{
    if (value.len > 0 &&
        (memchr(value.data, '\0', value.len) || memchr(value.data, '\r', value.len) ||
         memchr(value.data, '\n', value.len)))
        return false;
    return span_trim(value).len == value.len;
}

static int field_keep(struct bhttp_reader *r, struct span name, struct span value)
{
    struct section *s = section_of(r);

    if (!name_good(name) || !value_good(value))
        return E_INVALID;
    if (s->count == BHTTP_MAX_FIELDS)
        return E_TOO_LARGE;
    if (s->count == s->room) {
        s->room = s->room ? 2 * s->room : 8;
        s->fields = mem_grow(s->fields, s->room * sizeof(*s->fields));
    }
    s->fields[s->count++] =
        (struct bhttp_field){arena_copy(&r->arena, name), arena_copy(&r->arena, value)};
    return 0;
}

/* A length and that many bytes at *at, inside what the section may still have. */
static int string_at(const struct bhttp_reader *r, size_t *at, struct span *out)
{
    struct span in = span_from(buf_span(&r->in), *at);
    uint64_t len;
    size_t used = varint_read(in, &len);

    if (used == 0) /* an encoding of at most 8 bytes: nothing to bound */
        return r->known && r->section_left <= *at + in.len ? E_INVALID : E_AGAIN;
    if (*at + used > r->section_left || len > r->section_left - *at - used)
        return r->known ? E_INVALID : E_TOO_LARGE;
    if (in.len - used < len)
        return E_AGAIN;
    *out = span_cut(in, used, (size_t)len);
    *at += used + (size_t)len;
    return 0;
}

static int fields_step(struct bhttp_reader *r)
{
    struct span name, value;
    size_t at = 0;

    if (r->known && r->section_left == 0)
        return section_finish(r);
    TRY(string_at(r, &at, &name));
    if (!r->known && name.len == 0) {
        buf_consume(&r->in, at);
        return section_finish(r);
    }
    TRY(string_at(r, &at, &value));
    TRY(field_keep(r, name, value));
    buf_consume(&r->in, at);
    r->section_left -= at;
    return 0;
}

static int content_length_step(struct bhttp_reader *r)
{
    uint64_t len = 0;

    if (!left_out(r))
        TRY(number_take(r, &len));
    else if (r->content_begun)
        return E_INVALID;
    if (len > r->content_max)
        return E_TOO_LARGE;
    r->content_max -= len;
    r->content_left = len;
    r->content_begun = true;
    r->state = len > 0 ? CONTENT : SECTION;
    return 0;
}

static int content_step(struct bhttp_reader *r)
{
    struct span part = span_cut(buf_span(&r->in), 0, (size_t)r->content_left);

    if (part.len == 0)
        return E_AGAIN;
    r->content = part;
    r->spent = part.len; /* consumed by the next call: the caller reads it until then */
    r->content_left -= part.len;
    if (r->content_left == 0)
        r->state = r->known ? SECTION : CONTENT_LENGTH;
    tell(r, BHTTP_CONTENT);
    return 0;
}

static int padding_step(struct bhttp_reader *r)
{
    for (size_t i = 0; i < r->in.len; i++)
        if (r->in.data[i] != 0)
            return E_INVALID;
    buf_consume(&r->in, r->in.len);
    if (!r->finished)
        return E_AGAIN;
    buf_wipe(&r->in); /* the reader may live on for its fields */
    r->state = DONE;
    tell(r, BHTTP_END);
    return 0;
}

static int done_step(struct bhttp_reader *r)
{
    tell(r, BHTTP_NEED_MORE);
    return 0;
}

static int broken_step(struct bhttp_reader *r)
{
    return r->error;
}

typedef int step_fn(struct bhttp_reader *r);

static step_fn *const STEPS[] = {
    [FRAMING] = framing_step, [CONTROL] = control_step, [STATUS] = status_step,
    [SECTION] = section_step, [FIELDS] = fields_step,   [CONTENT_LENGTH] = content_length_step,
    [CONTENT] = content_step, [PADDING] = padding_step, [DONE] = done_step,
    [BROKEN] = broken_step,
};

int bhttp_next(struct bhttp_reader *r, enum bhttp_event *event, struct span *content)
{
    int error = 0;

    buf_consume(&r->in, r->spent);
    r->spent = 0;
    r->told = false;
    while (error == 0 && !r->told)
        error = STEPS[r->state](r);
    if (error == E_AGAIN && !r->finished) {
        *event = BHTTP_NEED_MORE;
        return 0;
    }
    if (error < 0) {
        r->error = error == E_AGAIN ? E_INVALID : error; /* cut short */
        r->state = BROKEN;
        return r->error;
    }
    *event = r->event;
    if (r->event == BHTTP_CONTENT)
        *content = r->content;
    return 0;
}
