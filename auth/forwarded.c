/* Forwarded and X-Forwarded-For, read from the left, since quotes must be; believed from the right.
 */
#include "auth/forwarded.h"

#include <arpa/inet.h>

enum { PARAMS_MAX = 16, VALUE_MAX = 80 };

/* ---- Hops ---- */

/* NULL: one that names no address. */
static void hop(struct forwarded *f, const struct cidr *address)
{
    struct forwarded_hop *h = &f->last[f->count++ % FORWARDED_HOPS];

    *h = (struct forwarded_hop){.known = address != NULL};
    if (address)
        h->address = *address;
}

/* ":80"; hidden ones too (":_name"). */
static bool is_port(struct span text)
{
    uint64_t n;

    if (span_starts(text, SPAN(":_")))
        return true;
    return text.len > 1 && text.len <= 6 && text.data[0] == ':' &&
           span_u64(span_from(text, 1), 65535, &n) == 0;
}

/* "[2001:db8::1]" and what follows it. */
static int bracketed_parse(struct cidr *out, struct span text)
{
    ptrdiff_t end = span_find(text, SPAN("]"));

    if (end < 0)
        return E_INVALID;
    struct span inside = span_cut(text, 1, (size_t)end - 1),
                port = span_from(text, (size_t)end + 1);
    if (span_find(inside, SPAN(":")) < 0 || (port.len > 0 && !is_port(port)))
        return E_INVALID;
    return cidr_parse(out, inside);
}

/* "1.2.3.4", "1.2.3.4:80", "[2001:db8::1]", "[2001:db8::1]:80"; bare: also "2001:db8::1". */
static int node_parse(struct cidr *out, struct span text, bool bare)
{
    ptrdiff_t colon = span_find(text, SPAN(":"));

    if (span_find(text, SPAN("/")) >= 0)
        return E_INVALID;
    if (span_starts(text, SPAN("[")))
        return bracketed_parse(out, text);
    if (colon < 0 || (bare && cidr_parse(out, text) == 0))
        return cidr_parse(out, text);
    if (!is_port(span_from(text, (size_t)colon)))
        return E_INVALID;
    TRY(cidr_parse(out, span_cut(text, 0, (size_t)colon)));
    return out->family == AF_INET ? 0 : E_INVALID;
}

/* ---- Forwarded ---- */

static bool is_token(uint8_t c)
{
    static const char others[] = "!#$%&'*+-.^_`|~";

    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c && memchr(others, c, sizeof(others) - 1));
}

static struct span take_token(struct span *rest)
{
    size_t n = 0;

    while (n < rest->len && is_token(rest->data[n]))
        n++;
    struct span token = span_cut(*rest, 0, n);
    *rest = span_from(*rest, n);
    return token;
}

/* Behind the opening quote; the text without its escapes, cut at VALUE_MAX: no address is longer.
 */
static int take_quoted(struct span *rest, char out[static VALUE_MAX], size_t *len)
{
    *len = 0;
    for (size_t i = 0; i < rest->len; i++) {
        uint8_t c = rest->data[i];
        if (c == '"') {
            *rest = span_from(*rest, i + 1);
            return 0;
        }
        if (c == '\\' && ++i == rest->len)
            return E_INVALID;
        if (*len < VALUE_MAX)
            out[(*len)++] = (char)rest->data[i];
    }
    return E_INVALID;
}

static void skip_space(struct span *rest)
{
    while (rest->len > 0 && (rest->data[0] == ' ' || rest->data[0] == '\t'))
        *rest = span_from(*rest, 1);
}

static bool take_byte(struct span *rest, char c)
{
    if (rest->len == 0 || rest->data[0] != (uint8_t)c)
        return false;
    *rest = span_from(*rest, 1);
    return true;
}

/* One hop while it is read. */
struct element {
    bool has_for, has_address;
    struct cidr address;
};

/* name=value, the value a token or a quoted string. */
static int pair_parse(struct span *rest, struct element *e)
{
    char quoted[VALUE_MAX];
    size_t len = 0;
    struct span name = take_token(rest), value;

    if (name.len == 0 || !take_byte(rest, '='))
        return E_INVALID;
    if (take_byte(rest, '"')) {
        TRY(take_quoted(rest, quoted, &len));
        value = span_of(quoted, len);
    } else {
        value = take_token(rest);
    }
    if (!span_ieq(name, SPAN("for")))
        return 0;
    if (e->has_for || value.len == 0)
        return E_INVALID;
    e->has_for = true;
    e->has_address = node_parse(&e->address, value, false) == 0;
    return 0;
}

/* Up to its comma or the end. */
static int element_parse(struct span *rest, struct element *e)
{
    for (int i = 0; i < PARAMS_MAX; i++) {
        skip_space(rest);
        if (rest->len > 0 && rest->data[0] != ';' && rest->data[0] != ',')
            TRY(pair_parse(rest, e));
        skip_space(rest);
        if (!take_byte(rest, ';'))
            return rest->len == 0 || rest->data[0] == ',' ? 0 : E_INVALID;
    }
    return E_INVALID;
}

void forwarded_field(struct forwarded *f, struct span value)
{
    do {
        struct element e = {0};
        if (element_parse(&value, &e) < 0) {
            hop(f, NULL);
            return;
        }
        hop(f, e.has_address ? &e.address : NULL);
    } while (take_byte(&value, ','));
}

/* ---- X-Forwarded-For ---- */

void forwarded_x_field(struct forwarded *f, struct span value)
{
    struct cidr address;

    do {
        struct span text = span_trim(span_split(&value, ','));
        hop(f, node_parse(&address, text, true) == 0 ? &address : NULL);
    } while (value.len > 0);
}

/* ---- The walk from the right ---- */

int forwarded_client(const struct forwarded *f, forwarded_trust_fn *trust, const void *arg,
                     char out[static FORWARDED_TEXT])
{
    const struct cidr *client = NULL;

    for (size_t i = 0; i < f->count && i < FORWARDED_HOPS; i++) {
        const struct forwarded_hop *h = &f->last[(f->count - 1 - i) % FORWARDED_HOPS];
        if (!h->known)
            break;
        client = &h->address;
        if (!trust(arg, client))
            break;
    }
    if (!client)
        return E_NOT_FOUND;
    return inet_ntop(client->family, client->address, out, FORWARDED_TEXT) ? 0 : E_INVALID;
}
