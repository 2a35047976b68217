/* Pages, bodies and secrets of the admin API. */
#include "ledger/api.h"

int api_limit(const struct request *r, size_t *out)
{
    int64_t limit;

    TRY(request_number(r, "limit", 1, PAGE_MAX, 100, &limit));
    *out = (size_t)limit;
    return 0;
}

int api_body(const struct request *r)
{
    if (r->json)
        return 0;
    books_why("the body must be a JSON object (Content-Type: application/json)");
    return E_INVALID;
}

void api_secret(struct request *r, const char *name, struct buf *secret)
{
    record_set_text(r->out, name, buf_span(secret));
    buf_wipe(secret);
}

int api_list(struct request *r, record_list_fn *list)
{
    char account[REQUEST_WORD], after[REQUEST_WORD];
    size_t limit;

    TRY(request_word(r, "account", account));
    TRY(request_word(r, "after", after));
    TRY(api_limit(r, &limit));
    return list(r->ledger->books, account, after, limit, &r->out);
}
