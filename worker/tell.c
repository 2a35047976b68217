/* Notices of a gateway. */
#include "worker/tell.h"

#include "base/arena.h"
#include "base/json.h"
#include "base/log.h"

void tell_gateways(struct exchange *x)
{
    struct arena arena = {0};
    struct config_strings addresses;
    bool again;

    if (gateways_read(buf_span(&x->body), &arena, &addresses, &again) < 0) {
        exchange_problem(x, &problem_bad_request);
    } else {
        if (!x->link->eligible)
            log_event(LOG_INFO, "eligible", "operator=%s gateway=%s", link_operator_name(x->link),
                      x->link->address);
        x->link->eligible = true;
        if (!x->worker->stopping)
            gateways_learn(x->link, &addresses);
        if (again && !x->worker->stopping)
            gateways_again(x->link);
        exchange_reply(x, 204, NULL, NULL);
    }
    arena_fini(&arena);
}

/* For this tunnel only: one operator does not stop the work of another. */
void tell_drain(struct exchange *x)
{
    x->link->draining = true;
    log_event(LOG_INFO, "drain_asked", "operator=%s gateway=%s", link_operator_name(x->link),
              x->link->address);
    exchange_reply(x, 204, NULL, NULL);
}

void tell_refused(struct exchange *x)
{
    AUTO_JSON json_t *doc = NULL;
    struct span code = {0};

    if (json_read(buf_span(&x->body), &doc) == 0)
        (void)!json_obj_string(doc, "code", &code);
    if (!span_visible(code, 64))
        code = SPAN("unknown");
    log_event(LOG_ERROR, "refused", "operator=%s gateway=%s code=%.*s", link_operator_name(x->link),
              x->link->address, SPAN_FMT(code));
    exchange_reply(x, 204, NULL, NULL);
}

void tell_no_voucher(struct exchange *x)
{
    exchange_problem(x, &problem_not_found);
}

void tell_voucher_unknown(struct exchange *x)
{
    exchange_problem(x, &problem_not_implemented);
}
