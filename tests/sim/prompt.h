/* Prompts as texts, for engines that count TOKEN_BYTES bytes as a token: as long as a trace says,
 * and alike where it says that they are. */
#ifndef TESTS_SIM_PROMPT_H
#define TESTS_SIM_PROMPT_H

#include "base/buf.h"
#include "tests/sim/trace.h"

enum { TOKEN_BYTES = 4 };

/* Appends the text of the arrival's prompt, which needs no escaping in JSON. What stands behind its
 * blocks is nobody else's: `serial` is another for each. */
void prompt_put(const struct trace *t, const struct arrival *a, uint64_t serial, struct buf *out);

#endif
