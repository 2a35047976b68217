/* Price books from Redis: whatever is accepted has a price within bounds for each of its models. */
#include "billing/price_book.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(price_book_unref) struct price_book *b = NULL;
    struct span name;
    void *value;
    size_t at = 0;
    int64_t nano;

    if (price_book_parse(&b, span_of(data, size)) < 0)
        return 0;
    CHECK(b->version >= 1 && b->commission_bps >= 0 && b->commission_bps <= PRICE_BPS);
    while (map_next(&b->models, &at, &name, &value)) {
        CHECK(price_book_find(b, name) == value);
        int error = price_ceiling(value, 1000, 1000, 1000, &nano);
        CHECK(error == E_TOO_LARGE || (error == 0 && nano >= 0));
    }
    return 0;
}
