/* Where TDX quotes come from: the kernel's configfs-tsm, or a UNIX socket (cocoon-devtee). All of
 * it blocks: for a thread of the offload pool. */
#ifndef WORKER_QUOTE_H
#define WORKER_QUOTE_H

#include "attest/quote.h"

enum { QUOTE_WAIT_MS = 10000, QUOTE_WHY_LEN = 240 };
#define QUOTE_TSM_ROOT "/sys/kernel/config/tsm/report"

enum quote_kind {
    QUOTE_NO_TEE, /* no evidence is made */
    QUOTE_TSM,
    QUOTE_SOCKET
};

struct quote_source {
    enum quote_kind kind;
    char path[108]; /* socket, or the root of configfs-tsm */
};

/* From the setting `quote_provider`: "none", "tsm", "socket:/path". E_INVALID. */
MUST_CHECK int quote_source_read(struct quote_source *out, const char *setting);
/* Whether quotes can be had here at all, before anything is promised. why: a sentence. */
MUST_CHECK int quote_source_check(const struct quote_source *source,
                                  char why[static QUOTE_WHY_LEN]);
/* Appends a quote over report_data, which it has been found to carry. E_UNSUPPORTED: never here;
 * E_BUSY, E_TIMEOUT: later perhaps; E_AUTH: another's report data came back; E_IO, E_INVALID. */
MUST_CHECK int quote_get(const struct quote_source *source,
                         const uint8_t report_data[static QUOTE_REPORT_DATA_LEN], struct buf *quote,
                         char why[static QUOTE_WHY_LEN]);

/* ---- The sources; deadline_ms as of clock_mono_ms ---- */

/* attestation.md §12. */
MUST_CHECK int quote_tsm_check(const char *root, char why[static QUOTE_WHY_LEN]);
MUST_CHECK int quote_tsm_get(const char *root,
                             const uint8_t report_data[static QUOTE_REPORT_DATA_LEN],
                             uint64_t deadline_ms, struct buf *quote,
                             char why[static QUOTE_WHY_LEN]);
/* 64 bytes out; u32be length and quote in. */
MUST_CHECK int quote_socket_get(const char *path,
                                const uint8_t report_data[static QUOTE_REPORT_DATA_LEN],
                                uint64_t deadline_ms, struct buf *quote,
                                char why[static QUOTE_WHY_LEN]);

#endif
