/* Price books: all of them, then which is the newest, then that it is. */
#include <inttypes.h>
#include <stdio.h>

#include "billing/layout.h"
#include "ledger/books/prices.h"
#include "ledger/books/record.h"
#include "ledger/projection_job.h"

static void send_book(void *arg, int64_t version, struct span book)
{
    char key[64];

    snprintf(key, sizeof(key), LAYOUT_BOOK, (long long)version);
    JOB_SEND(arg, SPAN("SET"), span_str(key), book);
}

int job_prices(struct job *j, struct books *b)
{
    AUTO_JSON json_t *newest = NULL;
    char version[JOB_NUMBER_LEN];

    if (j->phase == 1)
        return prices_each(b, send_book, j);
    const int error = prices_find(b, 0, &newest);
    if (error < 0)
        return error;
    snprintf(version, sizeof(version), "%" PRId64, record_int(newest, "version", 0));
    if (j->phase == 2)
        JOB_SEND(j, SPAN("SET"), SPAN(LAYOUT_CURRENT), span_str(version));
    else
        JOB_SEND(j, SPAN("PUBLISH"), SPAN(LAYOUT_CHANGED), span_str(version));
    return 0;
}
