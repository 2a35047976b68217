/* Records of keys, and the markers by which a Redis that lost some is known. */
#include <inttypes.h>
#include <stdio.h>

#include "auth/marker.h"
#include "ledger/books/facts.h"
#include "ledger/books/key.h"
#include "ledger/books/record.h"
#include "ledger/projection_job.h"
#include "ledger/recovery.h"

static void send_record(void *arg, const char *lookup, struct span record)
{
    char key[64];

    snprintf(key, sizeof(key), "key:{%s}", lookup);
    JOB_SEND(arg, SPAN("SET"), span_str(key), record);
}

struct publishing {
    struct job *job;
    char marker[FACTS_MARKER_LEN];
};

/* The marker of the record's slot moves on with it: a Redis set back behind this change is noticed.
 */
static void publish(void *arg, const char *lookup, struct span record)
{
    const struct publishing *p = arg;
    const struct redis *redis = p->job->projection->ledger->redis;
    char key[64], marker[MARKER_KEY_LEN];

    (void)record;
    snprintf(key, sizeof(key), "key:{%s}", lookup);
    marker_key(redis, marker_of(redis, span_str(key)), marker);
    if (recovery_state(p->job->projection->ledger->recovery) == RECOVERY_OPEN)
        JOB_SEND(p->job, SPAN("SET"), span_str(marker), span_str(p->marker));
    JOB_SEND(p->job, SPAN("PUBLISH"), SPAN("keys:changed"), span_str(lookup));
}

static int run_publish(struct job *j, struct books *b, const json_t *key)
{
    struct publishing p = {.job = j};

    TRY(facts_keys_marker(b, p.marker));
    return key_project(b, key, publish, &p);
}

/* The account's slot first: from then on the old record admits nothing (auth.md). */
int job_key(struct job *j, struct books *b)
{
    AUTO_JSON json_t *key = NULL;
    char name[JOB_NAME_LEN + 3], version[JOB_NUMBER_LEN];

    TRY(key_find(b, j->name, &key));
    switch (j->phase) {
    case 1:
        snprintf(name, sizeof(name), "kv:%s", j->name);
        snprintf(version, sizeof(version), "%" PRId64, record_int(key, "version", 0));
        job_field(j, record_text(key, "account", ""), name, record_int(key, "version", 0), version);
        return 0;
    case 2:
        return key_project(b, key, send_record, j);
    default:
        return run_publish(j, b, key);
    }
}

static void ask_key(void *arg, const json_t *key)
{
    projection_key(arg, record_text(key, "id", ""));
}

int job_keys_of(struct job *j, struct books *b)
{
    return keys_each(b, j->name, ask_key, j->projection);
}

/* Gateways take Redis for emptied without it: written when every record stands there. */
int job_marker(struct job *j, struct books *b)
{
    const struct redis *redis = j->projection->ledger->redis;
    char marker[96], key[MARKER_KEY_LEN];

    TRY(facts_keys_marker(b, marker));
    for (size_t i = 0; i < marker_count(redis); i++) {
        marker_key(redis, i, key);
        JOB_SEND(j, SPAN("SET"), span_str(key), span_str(marker));
    }
    JOB_SEND(j, SPAN("SET"), SPAN(MARKER_FIRST), span_str(marker));
    return 0;
}
