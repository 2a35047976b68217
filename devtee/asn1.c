/* DER, innermost first: contents are appended, then closed into their element. */
#include "devtee/asn1.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void put_head(struct buf *out, uint8_t tag, size_t len)
{
    buf_byte(out, tag);
    if (len >= 0x80)
        buf_byte(out, len > 0xff ? 0x82 : 0x81);
    if (len > 0xff)
        buf_byte(out, (uint8_t)(len >> 8));
    buf_byte(out, (uint8_t)len);
    CHECK(len <= 0xffff);
}

void asn1_put(struct buf *out, uint8_t tag, struct span content)
{
    put_head(out, tag, content.len);
    buf_append(out, content);
}

void asn1_close(struct buf *out, uint8_t tag, size_t mark)
{
    AUTO(buf_fini) struct buf content = {0};

    buf_append(&content, span_from(buf_span(out), mark));
    out->len = mark;
    asn1_put(out, tag, buf_span(&content));
}

void asn1_number(struct buf *out, struct span magnitude)
{
    const size_t mark = out->len;

    while (magnitude.len > 1 && magnitude.data[0] == 0)
        magnitude = span_from(magnitude, 1);
    if (magnitude.len == 0 || magnitude.data[0] & 0x80)
        buf_byte(out, 0);
    buf_append(out, magnitude);
    asn1_close(out, ASN1_INTEGER, mark);
}

void asn1_uint(struct buf *out, uint64_t value)
{
    uint8_t bytes[8];

    for (int i = 7; i >= 0; i--, value >>= 8)
        bytes[i] = (uint8_t)value;
    asn1_number(out, SPAN_OF(bytes));
}

void asn1_true(struct buf *out)
{
    buf_append(out, SPAN("\x01\x01\xff"));
}

static void put_arc(struct buf *out, unsigned long arc)
{
    for (int shift = 28; shift > 0; shift -= 7)
        if (arc >> shift)
            buf_byte(out, (uint8_t)(0x80 | ((arc >> shift) & 0x7f)));
    buf_byte(out, (uint8_t)(arc & 0x7f));
}

void asn1_oid(struct buf *out, const char *dotted)
{
    const size_t mark = out->len;
    char *at;
    const unsigned long first = strtoul(dotted, &at, 10);

    CHECK(*at == '.' && first < 3);
    put_arc(out, 40 * first + strtoul(at + 1, &at, 10));
    while (*at == '.')
        put_arc(out, strtoul(at + 1, &at, 10));
    asn1_close(out, 0x06, mark);
}

void asn1_bits(struct buf *out, struct span bytes, uint8_t unused)
{
    const size_t mark = out->len;

    buf_byte(out, unused);
    buf_append(out, bytes);
    asn1_close(out, ASN1_BIT_STRING, mark);
}

void asn1_time(struct buf *out, uint64_t seconds)
{
    const time_t at = (time_t)seconds;
    struct tm tm;
    char text[80];

    CHECK(gmtime_r(&at, &tm) && tm.tm_year < 150);
    snprintf(text, sizeof(text), "%02d%02d%02d%02d%02d%02dZ", tm.tm_year % 100, tm.tm_mon + 1,
             tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
    asn1_put(out, ASN1_UTC_TIME, span_str(text));
}
