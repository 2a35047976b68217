/* Counters and histograms, Prometheus text. Label sets are closed: no account, key, address or text
 * of a request. */
#ifndef GATEWAY_METRICS_H
#define GATEWAY_METRICS_H

#include "base/buf.h"
#include "base/map.h"

enum { METRIC_BUCKETS = 14, METRIC_STATUSES = 600, METRIC_TOKEN_CLASSES = 4 };

struct histogram {
    uint64_t count, buckets[METRIC_BUCKETS + 1];
    uint64_t sum_us;
};

/* What a call's time went to; recv begins when the key is known, admit with the last byte. */
enum metric_step {
    METRIC_AUTH,
    METRIC_RECV,
    METRIC_ADMIT,
    METRIC_QUEUE,
    METRIC_ROUTE,
    METRIC_WORKER, /* up to the answer's head */
    METRIC_STEPS
};

struct metrics {
    struct map requests;                   /* model and outcome, as labels → uint64_t */
    uint64_t answers[METRIC_STATUSES];     /* by HTTP status; 499: the client left first */
    uint64_t tokens[METRIC_TOKEN_CLASSES]; /* prompt, cached, completion, reasoning */
    uint64_t attempts, retries, retries_refused, queue_refused, queue_late, broken_streams,
        usage_missing, sdk_retries, internal_refused;
    uint64_t events, end_to_end;
    struct histogram first_event, event_gap, total, steps[METRIC_STEPS];
};

void metrics_fini(struct metrics *m);
/* One more call that is over. model: a name that a worker serves, or "-"; outcome: as in the access
 * line. Of more than some thousands of pairs the last ones are not counted. */
void metrics_request(struct metrics *m, const char *model, const char *outcome);
void histogram_add(struct histogram *h, uint64_t us);
/* Appends `name_bucket{le=…}`, `_sum`, `_count`. */
void histogram_write(const struct histogram *h, const char *name, const char *help,
                     struct buf *out);
/* The lines before a metric's values. */
void metric_head_write(const char *name, const char *help, const char *type, struct buf *out);
void counter_write(const char *name, const char *help, uint64_t value, struct buf *out);
void gauge_write(const char *name, const char *help, double value, struct buf *out);
/* Everything of m. */
void metrics_write(const struct metrics *m, struct buf *out);

#endif
