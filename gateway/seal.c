/* Step seal: the body for the worker; what only concerns us is left out, the rest stays byte for
 * byte. */
#include "gateway/call.h"

enum step_result call_seal(struct call *c)
{
    if (call_is_end_to_end(c))
        return STEP_NEXT; /* the client has */
    if (c->sealed_body.len == 0 &&
        request_forward(&c->rq, buf_span(&c->rq.model), &c->sealed_body) < 0) {
        api_fault_set(&c->fault, &ERR_INTERNAL, NULL, NULL);
        return STEP_FAIL;
    }
    return STEP_NEXT;
}
