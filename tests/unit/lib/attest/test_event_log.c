/* Event logs: a real one leads to its quote's registers; what is recomputed must fit. */
#include "tests/unit/lib/vectors.h"

#include "attest/event_log.h"
#include "attest/quote.h"
#include "crypto/hash.h"

static void a_real_log_leads_to_its_quotes_registers(void **state)
{
    AUTO(buf_fini) struct buf log = vectors_bytes("tdx/go-tdx-guest/ccel/ccel_data.dat");
    AUTO(buf_fini) struct buf bytes = vectors_bytes("tdx/go-tdx-guest/ccel/cos-113-tdx-quote.dat");
    uint8_t rtmr[4][ATTEST_MR_LEN];
    struct quote quote;

    (void)state;
    assert_int_equal(quote_parse(&quote, buf_span(&bytes)), ATTEST_OK);
    assert_int_equal(event_log_replay(buf_span(&log), rtmr), 0);
    for (size_t i = 0; i < 3; i++)
        assert_memory_equal(rtmr[i], quote.rtmr[i], ATTEST_MR_LEN);
}

/* ---- Logs of our own ---- */

static void put(struct buf *out, uint32_t v, size_t len)
{
    for (size_t i = 0; i < len; i++)
        buf_byte(out, (uint8_t)(v >> 8 * i));
}

static void log_begin(struct buf *out)
{
    static const uint8_t zeros[20] = {0};

    put(out, 0, 4);
    put(out, 3, 4);
    buf_append(out, SPAN_OF(zeros));
    put(out, 33, 4);
    buf_append(out, SPAN("Spec ID Event03\0"));
    put(out, 0, 4);
    buf_append(out, SPAN("\0\2\0\2"));
    put(out, 1, 4);
    put(out, 0x000c, 2);
    put(out, 48, 2);
    buf_byte(out, 0);
}

static void event_put(struct buf *out, uint32_t index, uint32_t type, const uint8_t *digest,
                      struct span event)
{
    put(out, index, 4);
    put(out, type, 4);
    put(out, 1, 4);
    put(out, 0x000c, 2);
    buf_append(out, span_of(digest, 48));
    put(out, (uint32_t)event.len, 4);
    buf_append(out, event);
}

static void a_separators_digest_is_recomputed(void **state)
{
    uint8_t rtmr[4][ATTEST_MR_LEN], digest[SHA384_LEN], both[96] = {0};
    AUTO(buf_fini) struct buf log = {0};

    (void)state;
    sha384(digest, SPAN("\0\0\0\0"));
    log_begin(&log);
    event_put(&log, 2, 4, digest, SPAN("\0\0\0\0"));
    assert_int_equal(event_log_replay(buf_span(&log), rtmr), 0);
    memcpy(both + 48, digest, 48);
    sha384(digest, SPAN_OF(both));
    assert_memory_equal(rtmr[1], digest, ATTEST_MR_LEN);
    log.data[log.len - 1] = 1;
    assert_int_equal(event_log_replay(buf_span(&log), rtmr), E_INVALID);
}

static void every_type_whose_digest_is_over_its_event_is_recomputed(void **state)
{
    /* EV_ACTION, EV_EFI_VARIABLE_DRIVER_CONFIG, EV_EFI_ACTION; EV_IPL is taken as it stands. */
    static const uint32_t types[] = {5, 0x80000001, 0x80000007, 0x0d};
    uint8_t rtmr[4][ATTEST_MR_LEN], digest[SHA384_LEN];

    (void)state;
    sha384(digest, SPAN("honest"));
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        AUTO(buf_fini) struct buf log = {0};

        log_begin(&log);
        event_put(&log, 1, types[i], digest, SPAN("honest"));
        assert_int_equal(event_log_replay(buf_span(&log), rtmr), 0);
        log.data[log.len - 1] ^= 1;
        assert_int_equal(event_log_replay(buf_span(&log), rtmr), types[i] == 0x0d ? 0 : E_INVALID);
    }
}

static void padding_is_tolerated_and_nothing_else(void **state)
{
    uint8_t rtmr[4][ATTEST_MR_LEN], digest[SHA384_LEN] = {1};
    AUTO(buf_fini) struct buf log = {0};

    (void)state;
    log_begin(&log);
    event_put(&log, 4, 9, digest, SPAN("x"));
    const size_t end = log.len;
    put(&log, 0xffffffff, 4);
    assert_int_equal(event_log_replay(buf_span(&log), rtmr), 0);
    buf_byte(&log, 7);
    assert_int_equal(event_log_replay(buf_span(&log), rtmr), E_INVALID);
    for (size_t len = 0; len < end; len++)
        if (len != 65) /* after the head alone */
            assert_int_equal(event_log_replay(span_of(log.data, len), rtmr), E_INVALID);
}

static void a_register_that_is_none_is_refused(void **state)
{
    uint8_t rtmr[4][ATTEST_MR_LEN], digest[SHA384_LEN] = {1};
    AUTO(buf_fini) struct buf log = {0};

    (void)state;
    log_begin(&log);
    event_put(&log, 5, 9, digest, SPAN("x"));
    assert_int_equal(event_log_replay(buf_span(&log), rtmr), E_INVALID);
}

static void a_log_has_its_bounds(void **state)
{
    uint8_t rtmr[4][ATTEST_MR_LEN], digest[SHA384_LEN] = {1};
    AUTO(buf_fini) struct buf log = {0};

    (void)state;
    log_begin(&log);
    while (log.len < EVENT_LOG_MAX - 66)
        event_put(&log, 1, 9, digest, SPAN(""));
    assert_int_equal(event_log_replay(buf_span(&log), rtmr), 0);
    buf_append(&log, span_of(buf_reserve(&log, EVENT_LOG_MAX), 0));
    log.len = EVENT_LOG_MAX + 1;
    assert_int_equal(event_log_replay(buf_span(&log), rtmr), E_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_real_log_leads_to_its_quotes_registers),
        cmocka_unit_test(a_separators_digest_is_recomputed),
        cmocka_unit_test(every_type_whose_digest_is_over_its_event_is_recomputed),
        cmocka_unit_test(padding_is_tolerated_and_nothing_else),
        cmocka_unit_test(a_register_that_is_none_is_refused),
        cmocka_unit_test(a_log_has_its_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
