/* Any bytes as a price file: what is taken is a book that gateways take, and canonical. */
#include "base/error.h"
#include "billing/price_book.h"
#include "ledger/books/price_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    AUTO(buf_fini) struct buf json = {0};
    AUTO(buf_fini) struct buf why = {0};
    AUTO(price_book_unref) struct price_book *book = NULL;

    if (price_file_read(span_of(data, len), &json, &why) < 0) {
        CHECK(why.len > 0 && json.len == 0);
        return 0;
    }
    CHECK(price_book_parse(&book, buf_span(&json)) == 0);
    CHECK(book->version > 0);
    return 0;
}
