/* Writes Binary HTTP messages, and looks fields up. */
#include "ohttp/bhttp.h"

#include "ohttp/varint.h"

enum { REQUEST_KNOWN = 0, RESPONSE_INDETERMINATE = 3 }; /* RFC 9292 §3.3 */

static void prefixed(struct buf *out, struct span s)
{
    varint_append(out, s.len);
    buf_append(out, s);
}

static void fields_append(struct buf *out, const struct bhttp_field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        prefixed(out, fields[i].name);
        prefixed(out, fields[i].value);
    }
}

void bhttp_request(struct buf *out, struct span method, struct span scheme, struct span authority,
                   struct span path, const struct bhttp_field *fields, size_t count,
                   struct span content)
{
    AUTO(buf_wipe) struct buf section = {0};

    varint_append(out, REQUEST_KNOWN);
    prefixed(out, method);
    prefixed(out, scheme);
    prefixed(out, authority);
    prefixed(out, path);
    fields_append(&section, fields, count);
    prefixed(out, buf_span(&section));
    prefixed(out, content);
    varint_append(out, 0); /* no trailers */
}

void bhttp_response_head(struct buf *out, unsigned status, const struct bhttp_field *fields,
                         size_t count)
{
    varint_append(out, RESPONSE_INDETERMINATE);
    varint_append(out, status);
    fields_append(out, fields, count);
    varint_append(out, 0);
}

void bhttp_content(struct buf *out, struct span content)
{
    if (content.len > 0) /* a chunk of length 0 would end the content */
        prefixed(out, content);
}

void bhttp_content_end(struct buf *out)
{
    varint_append(out, 0);
}

void bhttp_trailers(struct buf *out, const struct bhttp_field *fields, size_t count)
{
    fields_append(out, fields, count);
    varint_append(out, 0);
}

int bhttp_field_get(const struct bhttp_field *fields, size_t count, const char *name,
                    struct span *value)
{
    const struct bhttp_field *found = NULL;

    for (size_t i = 0; i < count; i++) {
        if (!span_is(fields[i].name, name))
            continue;
        if (found)
            return E_INVALID;
        found = &fields[i];
    }
    if (!found)
        return E_NOT_FOUND;
    *value = found->value;
    return 0;
}
