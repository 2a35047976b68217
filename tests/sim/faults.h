/* What a simulated engine does wrong, and when: JSON objects from a script or from its control
 * address.
 *
 *   {"at_ms": 5000, "stall_ms": 3000}     a script has one a line; at_ms from the engine's start
 *   speed          its speed beside its own: 0.5 is half, 1 ends it
 *   stall_ms       nothing moves for so long; connections are taken, and rest
 *   slow_start_ms  /health says 503 for so long, and requests are refused with it
 *   refuse         true: nobody listens any more (but at the control address)
 *   die            share of the streams that are cut off ...
 *   die_after      ... behind so many tokens
 *   status         {"500": 0.5, "429": 0.1}: shares of the requests that are answered so
 *   garbage        share of the streams that are no events
 *   lie            usage says so many times the tokens
 *   clear          true: everything before is over
 */
#ifndef TESTS_SIM_FAULTS_H
#define TESTS_SIM_FAULTS_H

#include <stdbool.h>

#include "base/span.h"
#include "tests/sim/rng.h"

enum { FAULTS_STATUS_MAX = 8 };

/* Embedded; faults_clear first. */
struct faults {
    double speed, die, garbage, lie;
    int64_t die_after;
    bool refuse;
    struct {
        unsigned code;
        double share;
    } status[FAULTS_STATUS_MAX];
    size_t status_count;
    int64_t stall_ms, slow_start_ms; /* for the owner to take, and to zero */
};

void faults_clear(struct faults *f);
/* Members that are not there stay as they are. *at_ms is 0 where it is absent. E_INVALID for what
 * is not understood: then *f is as it was. */
MUST_CHECK int faults_read(struct faults *f, struct span json, uint64_t *at_ms);
/* The status that this request is answered with; 0: as usual. */
unsigned faults_status(const struct faults *f, struct rng *rng);

#endif
