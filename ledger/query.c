/* Parameters behind '?': strict, since a filter that is misread shows another account's figures. */
#include "base/encode.h"
#include "ledger/request.h"

static int decode(struct span in, char *out, size_t size)
{
    size_t len;

    TRY(form_decode((uint8_t *)out, size - 1, &len, in));
    out[len] = '\0';
    return 0;
}

int query_word(struct span query, const char *name, char *out, size_t size)
{
    bool found = false;

    out[0] = '\0';
    while (query.len > 0) {
        struct span value = span_split(&query, '&');
        if (!span_is(span_split(&value, '='), name))
            continue;
        if (found || decode(value, out, size) < 0) {
            books_why("the query's %s is not readable", name);
            return E_INVALID;
        }
        found = true;
    }
    return 0;
}

int request_word(const struct request *r, const char *name, char out[static REQUEST_WORD])
{
    return query_word(http_query(r->ex), name, out, REQUEST_WORD);
}

int request_number(const struct request *r, const char *name, int64_t min, int64_t max,
                   int64_t absent, int64_t *out)
{
    char word[REQUEST_WORD];
    uint64_t number = 0;

    TRY(request_word(r, name, word));
    *out = absent;
    if (!word[0])
        return 0;
    if (span_u64(span_str(word), (uint64_t)max, &number) < 0 || (int64_t)number < min) {
        books_why("the query's %s must be a whole number in range", name);
        return E_INVALID;
    }
    *out = (int64_t)number;
    return 0;
}
