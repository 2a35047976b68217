/* What somebody asks of his usage (OpenAI's usage and costs APIs), and its answer summed from what
 * the ledger projects: `usage:{A}:<day>`, field hour|project|key|model, value
 * requests,in,cached,out,reasoning,nano. Pure. */
#ifndef BILLING_USAGE_QUERY_H
#define BILLING_USAGE_QUERY_H

#include "base/arena.h"
#include "base/buf.h"

enum { USAGE_IDS_MAX = 64, USAGE_DAYS_MAX = 180, USAGE_DAY_S = 86400, USAGE_HOUR_S = 3600 };
enum usage_group { USAGE_GROUP_PROJECT = 1, USAGE_GROUP_KEY = 2, USAGE_GROUP_MODEL = 4 };

struct usage_ids {
    struct span items[USAGE_IDS_MAX];
    size_t count; /* 0: any */
};
struct usage_query {
    bool costs;         /* of /organization/costs */
    int64_t start, end; /* seconds, cut to whole buckets: start ≤ t < end */
    int64_t width;      /* of a bucket */
    int64_t limit;      /* buckets of a page */
    unsigned groups;
    struct usage_ids projects, keys, models;
    bool nothing; /* is asked for that may be seen */
};

/* Reads the bytes behind '?': start_time (required), end_time, bucket_width (1h, 1d), limit, page,
 * group_by, project_ids, api_key_ids, models; lists as name=a,b, as name=a&name=b or as name[]=….
 * Texts live in the arena. now in seconds. E_INVALID: *param names the parameter. */
MUST_CHECK int usage_query_read(struct usage_query *q, struct arena *a, struct span query,
                                bool costs, int64_t now, const char **param);

/* For who may see one project alone: of what was asked for, that. */
void usage_query_confine(struct usage_query *q, struct span project);

struct usage_sums;
struct usage_sums *usage_sums_new(const struct usage_query *q);
void usage_sums_free(struct usage_sums *s);
AUTO_FREE(struct usage_sums, usage_sums_free)
/* One field of a day (days since 1970). What cannot be read, or is outside of the query, is left
 * out.
 */
void usage_sums_add(struct usage_sums *s, int64_t day, struct span field, struct span value);
/* Appends the page as JSON. */
void usage_sums_write(const struct usage_sums *s, struct buf *out);

#endif
