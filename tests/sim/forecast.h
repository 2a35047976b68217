/* What only an oracle knows: when a request would be over on an engine, if nothing came after it.
 */
#ifndef TESTS_SIM_FORECAST_H
#define TESTS_SIM_FORECAST_H

#include "tests/sim/model.h"

struct forecast {
    double first_s, over_s; /* from now: its first token, its last */
};

/* The same rules as model.c's, with the lengths of all calls in it, phase by phase. */
struct forecast forecast_call(const struct model *m, const struct model_call *c);

#endif
