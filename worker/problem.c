/* The worker's problem documents. */
#include "worker/problem.h"

#define TYPES "https://iana.org/assignments/http-problem-types#"

const struct problem problem_key = {400, "ohttp_key", TYPES "ohttp-key",
                                    "The key is unknown or no longer valid."};
const struct problem problem_message = {400, "bad_message", "about:blank",
                                        "The message cannot be opened."};
const struct problem problem_too_large = {413, "request_too_large", "about:blank",
                                          "The message is too large."};
const struct problem problem_replay = {409, "replay", "urn:cocoon:error:replay",
                                       "The message was seen before."};
const struct problem problem_busy = {503, "busy", "about:blank", "The worker is at its limit."};
const struct problem problem_draining = {503, "draining", "about:blank",
                                         "The worker takes nothing new."};
const struct problem problem_exposure = {503, "exposure", "about:blank",
                                         "Too much work is not yet acknowledged."};
const struct problem problem_price = {503, "price", "about:blank",
                                      "The coefficient is below the worker's ask."};
const struct problem problem_not_found = {404, "not_found", "about:blank", "No such thing."};
const struct problem problem_not_implemented = {501, "not_implemented", "about:blank",
                                                "Not available yet."};
const struct problem problem_bad_request = {400, "bad_request", "about:blank",
                                            "The request is malformed."};
const struct problem problem_date = {400, "date", TYPES "date",
                                     "The date is too far from the worker's."};
const struct problem problem_no_quote = {503, "no_quote", "about:blank",
                                         "No quote can be had now."};
const struct problem problem_quote_late = {504, "quote_late", "about:blank",
                                           "The quote did not come in time."};

void problem_write(const struct problem *p, struct buf *out)
{
    buf_printf(out, "{\"type\":\"%s\",\"title\":\"%s\",\"status\":%u,\"code\":\"%s\"}", p->type,
               p->title, p->status, p->code);
}
