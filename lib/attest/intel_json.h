/* Members that TCB Info and QE Identity share: dates, hex, and the levels of an enclave's or
 * module's security version. */
#ifndef ATTEST_INTEL_JSON_H
#define ATTEST_INTEL_JSON_H

#include "attest/verdict.h"
#include "base/json.h"

/* "2025-06-19T10:16:03Z" in seconds since 1970; nothing else is a date. E_INVALID. */
MUST_CHECK int intel_date_read(const json_t *object, const char *name, uint64_t *out);
/* Exactly len bytes. E_INVALID. */
MUST_CHECK int intel_hex_read(const json_t *object, const char *name, uint8_t *out, size_t len);
/* tcbStatus, tcbDate and, where there are any, advisoryIDs of a level. E_INVALID: unknown status.
 */
MUST_CHECK int intel_level_read(const json_t *level, enum tcb_status *status, uint64_t *date);
/* The level's advisories, which intel_level_read has accepted, to v's. */
void intel_advisories_add(struct attest_verdict *v, const json_t *level);

enum { ISV_LEVELS_MAX = 32 };

/* Levels of `isvsvn`; json belongs to the document they were read from. */
struct isv_levels {
    struct isv_level {
        uint16_t isv_svn;
        enum tcb_status status;
        const json_t *json;
    } items[ISV_LEVELS_MAX];
    size_t count;
};
/* Member `tcbLevels` of object. E_INVALID; an empty or too long list too. */
MUST_CHECK int isv_levels_read(struct isv_levels *out, const json_t *object);
/* The highest level that svn reaches, or NULL. */
const struct isv_level *isv_levels_match(const struct isv_levels *levels, uint16_t svn);

#endif
