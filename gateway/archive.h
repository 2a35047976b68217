/* The evidence behind the bills, on disk beside the journal for as long as the operator keeps it
 * (wire.md §12): Redis has it for days only. */
#ifndef GATEWAY_ARCHIVE_H
#define GATEWAY_ARCHIVE_H

#include "backends/pool/pool.h"

struct gateway;

/* Writes e's document, which holds the keyset, to `{billing.journal}.evidence/ab/{ab…}.json`, named
 * by the keyset's SHA-256 as records name it (`ks`), unless it is there or under way; by a thread
 * of the offload pool. Nothing without a journal. What cannot be written is logged
 * (`evidence_lost`); called for each proof, it is tried again by the keyset's next one. */
void archive_keep(struct gateway *g, const struct pool_evidence *e);

#endif
