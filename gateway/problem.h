/* Refusals of /v1/confidential as problem documents (RFC 9457): one text a code, nothing of the
 * request in it (wire.md §6). */
#ifndef GATEWAY_PROBLEM_H
#define GATEWAY_PROBLEM_H

#include "gateway/call.h"

#define PROBLEM_TYPE "application/problem+json"

/* Those that the OpenAI API does not have. */
extern const struct api_error problem_ohttp_key, problem_bad_message, problem_replay;

/* The call's path answers with problem documents. */
bool problem_is_said(const struct call *c);
/* Appends c's fault: {"type":…,"title":…,"status":…,"code":…}; `detail` where its text tells more
 * and is of our own words; `lowest_ask` (1/1000) where only the bid was too low. */
void problem_body(const struct call *c, struct buf *out);

#endif
