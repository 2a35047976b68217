/* A quote whose form is right and whose signatures are not: what providers of the tests hand out.
 */
#ifndef TESTS_UNIT_WORKER_FAKE_QUOTE_H
#define TESTS_UNIT_WORKER_FAKE_QUOTE_H

#include "worker/quote.h"

static inline void fake_u16(uint8_t *at, unsigned v)
{
    at[0] = (uint8_t)v;
    at[1] = (uint8_t)(v >> 8);
}

/* Version 4 (attestation.md §1), certificates of four bytes. */
static inline void fake_quote(struct buf *out, const uint8_t *report_data)
{
    static const uint8_t vendor[16] = {0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9,
                                       0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07};
    enum { CERTIFICATES = 4, INNER = 384 + 64 + 2 + 6 + CERTIFICATES, AUTH = 64 + 64 + 6 + INNER };
    enum { LEN = 636 + AUTH };
    uint8_t *q = buf_reserve(out, LEN);

    memset(q, 0, LEN);
    q[0] = 4;
    q[2] = 2;
    q[4] = 0x81;
    memcpy(q + 12, vendor, sizeof(vendor));
    memcpy(q + 568, report_data, QUOTE_REPORT_DATA_LEN);
    fake_u16(q + 632, AUTH);
    q[764] = 6;
    fake_u16(q + 766, INNER);
    q[1220] = 5;
    q[1222] = CERTIFICATES;
    out->len += LEN;
}

#endif
