/* Any bytes as the settings of an account: what is taken is written and read again unchanged. */
#include "ledger/books/account.h"
#include "ledger/books/books.h"
#include "ledger/books/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    AUTO_JSON json_t *body = NULL;
    AUTO_JSON json_t *again = NULL;
    AUTO(buf_fini) struct buf text = {0};

    if (json_read(span_of(data, len), &body) < 0)
        return 0;
    books_why("%s", "");
    if (account_settings_check(body) < 0) {
        CHECK(*books_reason());
        return 0;
    }
    record_write(&text, body);
    CHECK(record_read(buf_span(&text), &again) == 0 && json_equal(body, again));
    return 0;
}
