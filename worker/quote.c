/* Chooses the source of quotes, and looks whether what came back is what was asked for. */
#include "worker/quote.h"

#include <stdio.h>

#include "base/clock.h"
#include "crypto/hash.h"

int quote_source_read(struct quote_source *out, const char *setting)
{
    const struct span s = span_str(setting);
    const struct span socket = SPAN("socket:");
    struct quote_source source = {.kind = QUOTE_NO_TEE};

    if (span_is(s, "tsm")) {
        source = (struct quote_source){QUOTE_TSM, QUOTE_TSM_ROOT};
    } else if (span_starts(s, socket)) {
        source.kind = QUOTE_SOCKET;
        TRY(span_cstr(span_from(s, socket.len), source.path, sizeof(source.path)));
    } else if (!span_is(s, "none")) {
        return E_INVALID;
    }
    *out = source;
    return 0;
}

int quote_source_check(const struct quote_source *source, char why[static QUOTE_WHY_LEN])
{
    return source->kind == QUOTE_TSM ? quote_tsm_check(source->path, why) : 0;
}

/* A host that lies, or a process that interferes, answers with another's quote. */
static int own_quote(struct span bytes, const uint8_t *report_data, char *why)
{
    struct quote q;

    const enum attest_reason reason = quote_parse(&q, bytes);
    if (reason != ATTEST_OK) {
        snprintf(why, QUOTE_WHY_LEN, "what came as a quote is none: %s",
                 attest_reason_name(reason));
        return E_INVALID;
    }
    if (crypto_equal(span_of(q.report_data, QUOTE_REPORT_DATA_LEN),
                     span_of(report_data, QUOTE_REPORT_DATA_LEN)))
        return 0;
    snprintf(why, QUOTE_WHY_LEN, "the quote carries other report data than was asked for");
    return E_AUTH;
}

int quote_get(const struct quote_source *source,
              const uint8_t report_data[static QUOTE_REPORT_DATA_LEN], struct buf *quote,
              char why[static QUOTE_WHY_LEN])
{
    const uint64_t deadline = clock_mono_ms() + QUOTE_WAIT_MS;
    AUTO(buf_fini) struct buf bytes = {0};

    if (source->kind == QUOTE_TSM)
        TRY(quote_tsm_get(source->path, report_data, deadline, &bytes, why));
    else
        TRY(quote_socket_get(source->path, report_data, deadline, &bytes, why));
    TRY(own_quote(buf_span(&bytes), report_data, why));
    buf_append(quote, buf_span(&bytes));
    return 0;
}
