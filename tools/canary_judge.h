/* Whether a worker's answer to a canary is one that its model gives, and counted as it counts.
 * Pure. */
#ifndef TOOLS_CANARY_JUDGE_H
#define TOOLS_CANARY_JUDGE_H

#include "crypto/hash.h"
#include "openai/answer.h"
#include "tools/canary_file.h"

enum canary_finding {
    CANARY_RIGHT,
    CANARY_OTHER_TEXT,
    CANARY_OTHER_PROMPT, /* the text is known, the count of the prompt's tokens is another */
    CANARY_OTHER_COUNT,  /* the same of the answer's tokens */
};
const char *canary_finding_name(enum canary_finding f); /* "right", "other text", … */

/* Appends the request's body: temperature 0, in one piece. No seed: nothing is drawn. */
void canary_body(const struct canary *c, int64_t max_coefficient, struct buf *out);
/* Appends the text of a chat completion's first choice without white space around it, nothing where
 * it has none. E_INVALID: the
 * body is no such thing. */
MUST_CHECK int canary_text(struct span body, struct buf *out);
/* text: as of canary_text; used: as the worker's signed record counts. */
enum canary_finding canary_judge(const struct canary *c, struct span text,
                                 const struct usage *used);

/* Names a canary for a model's weights without telling anything of it: HMAC under key over all that
 * its judging goes by. Hex with NUL. */
enum { CANARY_TAG_LEN = 2 * SHA256_LEN };
void canary_tag(char out[static CANARY_TAG_LEN + 1], struct span key, const struct canary *c,
                struct span model_digest);

#endif
