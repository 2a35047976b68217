/* QUIC's variable-length integers: the first two bits say how long the encoding is. */
#include "ohttp/varint.h"

void varint_append(struct buf *out, uint64_t value)
{
    CHECK(value <= VARINT_MAX);
    if (value < 1 << 6)
        buf_byte(out, (uint8_t)value);
    else if (value < 1 << 14)
        buf_u16be(out, (uint16_t)(value | 1U << 14));
    else if (value < 1 << 30)
        buf_u32be(out, (uint32_t)(value | UINT32_C(2) << 30));
    else
        buf_u64be(out, value | UINT64_C(3) << 62);
}

size_t varint_len(uint8_t first)
{
    return (size_t)1 << (first >> 6);
}

size_t varint_read(struct span in, uint64_t *value)
{
    size_t len = in.len > 0 ? varint_len(in.data[0]) : 1;

    if (in.len < len)
        return 0;
    *value = in.data[0] & 0x3F;
    for (size_t i = 1; i < len; i++)
        *value = *value << 8 | in.data[i];
    return len;
}
