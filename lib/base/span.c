/* Looking into borrowed bytes: comparing, cutting, and the checks that foreign text needs first. */
#include "base/span.h"

bool span_starts(struct span s, struct span prefix)
{
    return s.len >= prefix.len && span_eq(span_cut(s, 0, prefix.len), prefix);
}

bool span_ends(struct span s, struct span suffix)
{
    return s.len >= suffix.len && span_eq(span_from(s, s.len - suffix.len), suffix);
}

// tolower() would ask the locale.
static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

bool span_ieq(struct span a, struct span b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower(a.data[i]) != lower(b.data[i]))
            return false;
    return true;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

struct span span_trim(struct span s)
{
    while (s.len > 0 && is_blank(s.data[0]))
        s = span_of(s.data + 1, s.len - 1);
    while (s.len > 0 && is_blank(s.data[s.len - 1]))
        s.len--;
    return s;
}

struct span span_split(struct span *rest, char sep)
{
    const struct span all = *rest;
    const uint8_t *found = all.len ? memchr(all.data, sep, all.len) : NULL;
    const size_t cut = found ? (size_t)(found - all.data) : all.len;

    *rest = span_from(all, cut + 1);
    return span_of(all.data, cut);
}

ptrdiff_t span_find(struct span s, struct span needle)
{
    if (needle.len == 0)
        return 0;
    if (s.len < needle.len)
        return -1;
    const uint8_t *found = memmem(s.data, s.len, needle.data, needle.len);
    return found ? found - s.data : -1;
}

int span_cstr(struct span s, char *out, size_t size)
{
    if (s.len >= size || (s.len > 0 && memchr(s.data, '\0', s.len)))
        return E_INVALID;
    if (s.len > 0)
        memcpy(out, s.data, s.len);
    out[s.len] = '\0';
    return 0;
}

int span_u64(struct span s, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;

    if (s.len == 0 || (s.len > 1 && s.data[0] == '0'))
        return E_INVALID;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '9')
            return E_INVALID;
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(s.data[i] - '0'), &value) || value > max)
            return E_INVALID;
    }
    *out = value;
    return 0;
}

bool span_visible(struct span s, size_t max_len)
{
    if (s.len == 0 || s.len > max_len)
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] < 0x21 || s.data[i] > 0x7E)
            return false;
    return true;
}

static bool is_alnum(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool span_plain(struct span s, const char *others, size_t max_len)
{
    if (s.len == 0 || s.len > max_len)
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (!is_alnum(s.data[i]) && (s.data[i] == '\0' || !strchr(others, s.data[i])))
            return false;
    return true;
}

static size_t ascii_run(struct span s)
{
    size_t i = 0;
    uint64_t word;

    for (; i + sizeof(word) <= s.len; i += sizeof(word)) {
        memcpy(&word, s.data + i, sizeof(word));
        if (word & UINT64_C(0x8080808080808080))
            break;
    }
    while (i < s.len && s.data[i] < 0x80)
        i++;
    return i;
}

// Length of the multi-byte character at `at`, 0 when it is malformed (RFC 3629 §4).
static size_t utf8_char(struct span s, size_t at)
{
    const uint8_t *c = s.data + at;
    const uint8_t lead = c[0];
    const size_t len = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    uint8_t low = 0x80, high = 0xBF; // bounds of the second byte

    if (lead < 0xC2 || lead > 0xF4 || s.len - at < len)
        return 0;
    if (lead == 0xE0)
        low = 0xA0; // shorter form exists
    else if (lead == 0xED)
        high = 0x9F; // surrogates
    else if (lead == 0xF0)
        low = 0x90; // shorter form exists
    else if (lead == 0xF4)
        high = 0x8F; // above U+10FFFF
    if (c[1] < low || c[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((c[i] & 0xC0) != 0x80)
            return 0;
    return len;
}

bool span_utf8(struct span s)
{
    for (size_t i = 0; i < s.len;) {
        i += ascii_run(span_from(s, i));
        if (i == s.len)
            break;
        const size_t len = utf8_char(s, i);
        if (len == 0)
            return false;
        i += len;
    }
    return true;
}
