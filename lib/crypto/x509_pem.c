/* PEM (RFC 7468) around certificates and lists: strict base64, nothing but white space and NULs
 * between the blocks. Quotes carry their chain with a NUL at its end. */
#include <stdio.h>

#include "base/encode.h"
#include "crypto/x509_impl.h"

enum { MAX_LABEL = 64 };

static bool is_blank(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct span skip_filling(struct span s)
{
    while (s.len > 0 && (is_blank(s.data[0]) || s.data[0] == '\0'))
        s = span_from(s, 1);
    return s;
}

static int body_decode(struct span body, size_t max, struct buf *der)
{
    AUTO(buf_fini) struct buf text = {0};

    if (body.len > 2 * max)
        return E_TOO_LARGE;
    for (size_t i = 0; i < body.len; i++)
        if (!is_blank(body.data[i]))
            buf_byte(&text, body.data[i]);
    buf_clear(der);
    TRY(base64_decode(der, buf_span(&text)));
    if (der->len == 0)
        return E_INVALID;
    return der->len > max ? E_TOO_LARGE : 0;
}

int pem_next(struct span *rest, const char *label, size_t max, struct buf *der)
{
    char begin[MAX_LABEL], end[MAX_LABEL];
    ptrdiff_t body_len;

    *rest = skip_filling(*rest);
    if (rest->len == 0)
        return E_NOT_FOUND;
    snprintf(begin, sizeof(begin), "-----BEGIN %s-----", label);
    snprintf(end, sizeof(end), "-----END %s-----", label);
    if (!span_starts(*rest, span_str(begin)))
        return E_INVALID;
    *rest = span_from(*rest, strlen(begin));
    body_len = span_find(*rest, span_str(end));
    if (body_len < 0)
        return E_INVALID;
    TRY(body_decode(span_cut(*rest, 0, (size_t)body_len), max, der));
    *rest = span_from(*rest, (size_t)body_len + strlen(end));
    return 0;
}

int pem_or_der(struct span bytes, const char *label, size_t max, struct buf *der)
{
    struct span rest = skip_filling(bytes);

    if (rest.len > 0 && rest.data[0] == '-') {
        int error = pem_next(&rest, label, max, der);

        return error == 0 && skip_filling(rest).len > 0 ? E_INVALID : error;
    }
    if (bytes.len == 0)
        return E_INVALID;
    if (bytes.len > max)
        return E_TOO_LARGE;
    buf_clear(der);
    buf_append(der, bytes);
    return 0;
}
