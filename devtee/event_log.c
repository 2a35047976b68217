/* The trust domain's event log (CCEL in the TCG2 format), and the registers it leads to. */
#include "devtee/issuer_impl.h"

enum { NO_ACTION = 3, SEPARATOR = 4, EVENT_TAG = 6, SHA384_ALGORITHM = 0x0c, REGISTERS = 3 };

static void put_le(struct buf *out, uint64_t v, unsigned bytes)
{
    for (; bytes > 0; bytes--, v >>= 8)
        buf_byte(out, (uint8_t)v);
}

/* TCG_EfiSpecIdEvent: SHA-384 alone. */
static void put_heading(struct buf *out)
{
    const uint8_t zeroes[20] = {0};

    put_le(out, 1, 4);
    put_le(out, NO_ACTION, 4);
    buf_append(out, SPAN_OF(zeroes)); // a digest of SHA-1's length
    put_le(out, 33, 4);
    buf_append(out, SPAN("Spec ID Event03\0\0\0\0\0\0\2\0\2\1\0\0\0\x0c\0\x30\0\0"));
}

/* TCG_PCR_EVENT2, whose digest is over its bytes; extends the register. */
static void put_event(struct buf *out, unsigned n, uint32_t type, struct span event,
                      uint8_t rtmr[static ATTEST_MR_LEN])
{
    uint8_t both[2 * ATTEST_MR_LEN];

    memcpy(both, rtmr, ATTEST_MR_LEN);
    sha384(both + ATTEST_MR_LEN, event);
    sha384(rtmr, SPAN_OF(both));
    put_le(out, n + 1, 4); // register 0 is MRTD
    put_le(out, type, 4);
    put_le(out, 1, 4);
    put_le(out, SHA384_ALGORITHM, 2);
    buf_append(out, span_of(both + ATTEST_MR_LEN, ATTEST_MR_LEN));
    put_le(out, event.len, 4);
    buf_append(out, event);
}

void event_log_make(struct buf *log, const char *build_id, uint8_t rtmr[static 4][ATTEST_MR_LEN])
{
    AUTO(buf_fini) struct buf text = {0};

    put_heading(log);
    for (unsigned n = 0; n < REGISTERS; n++) {
        buf_clear(&text);
        buf_printf(&text, "cgw dev rtmr%u %s", n, build_id);
        put_event(log, n, EVENT_TAG, buf_span(&text), rtmr[n]);
        put_event(log, n, SEPARATOR, SPAN("\0\0\0\0"), rtmr[n]);
    }
}
