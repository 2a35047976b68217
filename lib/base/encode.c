/* Bytes as text and back. Decoders are strict: one spelling for each value, so text can be compared
 * instead of bytes. */
#include "base/encode.h"

// ---- Hex ----

void hex_encode(char *out, struct span in)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < in.len; i++) {
        *out++ = digits[in.data[i] >> 4];
        *out++ = digits[in.data[i] & 15];
    }
    *out = 0;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : E_INVALID;
}

int hex_decode(uint8_t *out, size_t out_len, struct span in)
{
    if (in.len % 2 != 0 || in.len / 2 != out_len)
        return E_INVALID;
    for (size_t i = 0; i < out_len; i++) {
        const int high = hex_digit(in.data[2 * i]), low = hex_digit(in.data[2 * i + 1]);
        if (high < 0 || low < 0)
            return E_INVALID;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

// ---- Base64 (RFC 4648 §4, §5) ----

static void b64_encode(struct buf *out, struct span in, const char last[static 2], bool pad)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

    CHECK(in.len <= SIZE_MAX / 8);
    uint8_t *to = buf_reserve(out, (in.len + 2) / 3 * 4);
    for (size_t i = 0; i < in.len; i += 3) {
        const size_t have = in.len - i < 3 ? in.len - i : 3;
        uint32_t bits = 0;
        for (size_t k = 0; k < 3; k++)
            bits = bits << 8 | (k < have ? in.data[i + k] : 0u);
        for (size_t k = 0; k < 4; k++, bits <<= 6) {
            const uint32_t digit = bits >> 18 & 63;
            if (k <= have)
                *to++ = (uint8_t)(digit < 62 ? digits[digit] : last[digit - 62]);
            else if (pad)
                *to++ = '=';
        }
    }
    out->len = (size_t)(to - out->data);
}

static int b64_digit(uint8_t c, const char last[static 2])
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == last[0] ? 62 : c == last[1] ? 63 : E_INVALID;
}

// in has no padding any more.
static int b64_decode(struct buf *out, struct span in, const char last[static 2])
{
    if (in.len % 4 == 1)
        return E_INVALID;
    uint8_t *to = buf_reserve(out, in.len / 4 * 3 + 2);
    uint32_t bits = 0;
    unsigned have = 0; // bits not yet written
    for (size_t i = 0; i < in.len; i++) {
        const int digit = b64_digit(in.data[i], last);
        if (digit < 0)
            return E_INVALID;
        bits = (bits << 6 | (uint32_t)digit) & 0xFFFF;
        have += 6;
        if (have >= 8) {
            have -= 8;
            *to++ = (uint8_t)(bits >> have);
        }
    }
    if (bits & ((1u << have) - 1))
        return E_INVALID;
    out->len = (size_t)(to - out->data);
    return 0;
}

void base64_encode(struct buf *out, struct span in)
{
    b64_encode(out, in, "+/", true);
}

void base64url_encode(struct buf *out, struct span in)
{
    b64_encode(out, in, "-_", false);
}

int base64_decode(struct buf *out, struct span in)
{
    if (in.len % 4 != 0)
        return E_INVALID;
    for (int pad = 0; pad < 2 && in.len > 0 && in.data[in.len - 1] == '='; pad++)
        in.len--;
    return b64_decode(out, in, "+/");
}

int base64url_decode(struct buf *out, struct span in)
{
    return b64_decode(out, in, "-_");
}

// ---- Base62 ----

enum { BASE62_MAX = 64, BASE62_MAX_DIGITS = 86 };

// Digits so that 62^digits ≥ 256^bytes: 8 bits over log2(62) = 5.954196…
size_t base62_len(size_t bytes)
{
    CHECK(bytes <= BASE62_MAX);
    return (bytes * 8 * 1000000 + 5954195) / 5954196;
}

void base62_encode(struct buf *out, struct span in)
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const size_t len = base62_len(in.len);
    uint8_t left[BASE62_MAX];

    if (in.len > 0)
        memcpy(left, in.data, in.len);
    uint8_t *to = buf_reserve(out, len);
    for (size_t i = len; i-- > 0;) { // long division by 62, last digit first
        unsigned rest = 0;
        for (size_t k = 0; k < in.len; k++) {
            rest = rest << 8 | left[k];
            left[k] = (uint8_t)(rest / 62);
            rest %= 62;
        }
        to[i] = (uint8_t)digits[rest];
    }
    out->len += len;
    explicit_bzero(left, sizeof(left));
}

static int b62_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'Z')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'z' ? c - 'a' + 36 : E_INVALID;
}

int base62_decode(uint8_t *out, size_t out_len, struct span in)
{
    if (in.len != base62_len(out_len))
        return E_INVALID;
    memset(out, 0, out_len);
    for (size_t i = 0; i < in.len; i++) {
        const int digit = b62_digit(in.data[i]);
        if (digit < 0)
            return E_INVALID;
        unsigned carry = (unsigned)digit;
        for (size_t k = out_len; k-- > 0; carry >>= 8) {
            carry += out[k] * 62u;
            out[k] = (uint8_t)carry;
        }
        if (carry)
            return E_INVALID;
    }
    return 0;
}

// ---- Forms and paths ----

static int unescape(uint8_t *out, size_t size, size_t *len, struct span in, uint8_t plus)
{
    size_t n = 0;

    for (size_t i = 0; i < in.len; i++) {
        uint8_t c = in.data[i] == '+' ? plus : in.data[i];
        if (c == '%') {
            TRY(hex_decode(&c, 1, span_cut(in, i + 1, 2)));
            i += 2;
        }
        if (c < 0x20 || c == 0x7F)
            return E_INVALID;
        if (n == size)
            return E_TOO_LARGE;
        out[n++] = c;
    }
    *len = n;
    return span_utf8(span_of(out, n)) ? 0 : E_INVALID;
}

int form_decode(uint8_t *out, size_t size, size_t *len, struct span in)
{
    return unescape(out, size, len, in, ' ');
}

int segment_decode(uint8_t *out, size_t size, size_t *len, struct span in)
{
    return unescape(out, size, len, in, '+');
}

void percent_encode(struct buf *out, struct span in)
{
    for (size_t i = 0; i < in.len; i++) {
        if (span_plain(span_cut(in, i, 1), "-._~", 1))
            buf_byte(out, in.data[i]);
        else
            buf_printf(out, "%%%02X", in.data[i]);
    }
}

// ---- CRC-32 ----

uint32_t crc32_of(struct span s)
{
    // Remainders of the 16 values of four bits.
    static const uint32_t table[16] = {0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC,
                                       0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C,
                                       0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C,
                                       0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C};
    uint32_t crc = ~UINT32_C(0);

    for (size_t i = 0; i < s.len; i++) {
        crc ^= s.data[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}
