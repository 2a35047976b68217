/* Event log of a trust domain (CCEL in the TCG2 format, UEFI "Confidential Computing Event Log"):
 * replayed to the RTMRs. Digests prove order; a name is believed only where its digest is
 * recomputed from its content (attestation.md §8). */
#ifndef ATTEST_EVENT_LOG_H
#define ATTEST_EVENT_LOG_H

#include "attest/verdict.h"

enum { EVENT_LOG_MAX = 256 * 1024 };

/* SHA-384 registers RTMR0..3 that the log leads to. E_INVALID: not a log, or a digest that its own
 * event's bytes contradict where the type says the digest is over them; E_TOO_LARGE. Trailing 0xff
 * and zero padding is tolerated. */
MUST_CHECK int event_log_replay(struct span log, uint8_t rtmr[static 4][ATTEST_MR_LEN]);

#endif
