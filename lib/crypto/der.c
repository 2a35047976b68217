/* DER elements (X.690 §8.1, §10.1). Nothing recurses: callers walk what they know. */
#include "crypto/der.h"

enum { TAG_LONG = 0x1f, LENGTH_LONG = 0x80, LENGTH_MAX_BYTES = 3 };

/* Length octets at *at of s. */
static int length_read(struct span s, size_t *at, size_t *len)
{
    size_t count;

    if (*at >= s.len)
        return E_INVALID;
    *len = s.data[(*at)++];
    if (*len < LENGTH_LONG)
        return 0;
    count = *len - LENGTH_LONG;
    if (count == 0 || count > LENGTH_MAX_BYTES || count > s.len - *at || s.data[*at] == 0)
        return E_INVALID;
    *len = 0;
    for (; count > 0; count--)
        *len = *len << 8 | s.data[(*at)++];
    return *len < LENGTH_LONG ? E_INVALID : 0;
}

int der_next(struct span *rest, uint8_t *tag, struct span *content)
{
    size_t at = 1, len;

    if (rest->len == 0)
        return E_NOT_FOUND;
    if ((rest->data[0] & TAG_LONG) == TAG_LONG)
        return E_INVALID;
    TRY(length_read(*rest, &at, &len));
    if (len > rest->len - at)
        return E_INVALID;
    *tag = rest->data[0];
    *content = span_cut(*rest, at, len);
    *rest = span_from(*rest, at + len);
    return 0;
}

int der_take(struct span *rest, uint8_t tag, struct span *content)
{
    uint8_t found;

    return der_next(rest, &found, content) == 0 && found == tag ? 0 : E_INVALID;
}

int der_number(struct span content, uint32_t max, uint32_t *out)
{
    uint32_t value = 0;

    if (content.len == 0 || content.len > 4 || content.data[0] >= 0x80)
        return E_INVALID;
    if (content.len > 1 && content.data[0] == 0 && content.data[1] < 0x80)
        return E_INVALID;
    for (size_t i = 0; i < content.len; i++)
        value = value << 8 | content.data[i];
    if (value > max)
        return E_INVALID;
    *out = value;
    return 0;
}
