/* The store of unacknowledged records: a list by age, a map by whose they are, and an append-only
 * file behind them that is synced off the loop. */
#include "worker/usage.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fail_point.h"
#include "base/file.h"
#include "base/log.h"
#include "base/map.h"

enum {
    FILE_MAX = 256 << 20,
    TIDY_MS = 60000,
    SPARE_LINES = 1000, /* the file may hold so many lines more than twice what lives */
};

struct record {
    struct list link;
    uint64_t seq, t_ms; /* t_ms: for people, by a clock that may be wrong */
    uint64_t since_ms;  /* of this process: age is judged by this */
    struct usage_key key;
    struct buf jws;
};

struct usage_store {
    struct loop *loop;
    struct offload *offload;
    struct list records; /* oldest first */
    struct map by_key;
    uint64_t next_seq;
    struct loop_timer timer;

    /* The file. `job` owns fd, writing and rewrite while it is under way. */
    char *path; /* NULL: memory only */
    int fd;
    struct buf pending; /* lines not yet given to the job */
    size_t lines;       /* in the file, pending ones too */
    struct offload_job job;
    bool busy, stopped, failed;
    struct buf writing;
    bool rewrite; /* `writing` replaces the file */
    int error;
};

/* ---- Records ---- */

enum { KEY_LEN = SHA256_LEN + 32 + 4 };

static struct span key_bytes(uint8_t out[static KEY_LEN], const uint8_t *op, const char *call,
                             uint32_t attempt)
{
    memcpy(out, op, SHA256_LEN);
    memcpy(out + SHA256_LEN, call, 32);
    memcpy(out + SHA256_LEN + 32, &attempt, sizeof(attempt));
    return span_of(out, KEY_LEN);
}

static struct record *record_at(struct list *link)
{
    return CONTAINER(link, struct record, link);
}

static void record_drop(struct usage_store *s, struct record *r)
{
    uint8_t key[KEY_LEN];

    (void)map_del(&s->by_key, key_bytes(key, r->key.op, r->key.call, r->key.attempt));
    list_del(&r->link);
    buf_fini(&r->jws);
    free(r);
}

static void record_put(struct usage_store *s, const struct usage_record_line *line)
{
    struct record *r = mem_zero(sizeof(*r));
    uint8_t key[KEY_LEN];

    *r = (struct record){
        .seq = line->seq, .t_ms = line->t_ms, .since_ms = clock_mono_ms(), .key = line->key};
    buf_append(&r->jws, line->jws);
    list_push(&s->records, &r->link);
    struct record *old =
        map_put(&s->by_key, key_bytes(key, r->key.op, r->key.call, r->key.attempt), r);
    if (old) { /* the map's entry is the new one's already */
        list_del(&old->link);
        buf_fini(&old->jws);
        free(old);
    }
    if (line->seq >= s->next_seq)
        s->next_seq = line->seq + 1;
}

static void line_of(struct buf *out, const struct record *r)
{
    const struct usage_record_line line = {r->seq, r->t_ms, r->key, buf_span(&r->jws)};

    usage_line_write(out, &line);
}

/* ---- The file ---- */

static int replace_file(const char *path, struct span bytes, int *fd)
{
    TRY(file_replace(path, bytes, 0600));
    const int fresh = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fresh < 0)
        return E_IO;
    if (*fd >= 0)
        close(*fd);
    *fd = fresh;
    return 0;
}

static void file_work(struct offload_job *job)
{
    struct usage_store *s = CONTAINER(job, struct usage_store, job);

    fail_point("record.file.before");
    if (s->rewrite)
        s->error = replace_file(s->path, buf_span(&s->writing), &s->fd);
    else
        s->error = file_append(s->fd, buf_span(&s->writing));
    fail_point("record.file.after");
}

static void file_flush(struct usage_store *s);

static void file_done(struct offload_job *job)
{
    struct usage_store *s = CONTAINER(job, struct usage_store, job);

    s->busy = false;
    if ((s->error < 0) != s->failed)
        log_event(s->error < 0 ? LOG_ERROR : LOG_INFO, "usage_file", "error=%s",
                  s->error < 0 ? error_name(s->error) : "none");
    s->failed = s->error < 0;
    if (s->failed) /* what the file holds is unknown: write it anew at the next chance */
        s->lines = SIZE_MAX / 2;
    buf_clear(&s->writing);
    file_flush(s);
}

static void live_lines(const struct usage_store *s, struct buf *out)
{
    LIST_FOREACH(it, &s->records)
        line_of(out, record_at(it));
}

/* Hands the pending lines to the pool; a file of mostly dead lines is written anew instead. */
static void file_flush(struct usage_store *s)
{
    if (!s->path || s->busy || s->stopped || s->pending.len == 0)
        return;
    s->rewrite = s->lines > 2 * s->by_key.len + SPARE_LINES;
    if (s->rewrite) {
        buf_clear(&s->pending);
        live_lines(s, &s->writing);
        s->lines = s->by_key.len;
    } else {
        buf_take(&s->writing, &s->pending);
    }
    s->job = (struct offload_job){.work = file_work, .done = file_done};
    s->busy = offload_submit(s->offload, &s->job) == 0;
    if (!s->busy) /* too much in the pool: all of it later */
        s->lines = SIZE_MAX / 2;
}

static void put_line(struct usage_store *s, const struct record *r, uint64_t acked)
{
    if (!s->path)
        return;
    if (r)
        line_of(&s->pending, r);
    else
        buf_printf(&s->pending, "{\"ack\":%" PRIu64 "}\n", acked);
    s->lines++;
    file_flush(s);
}

/* Dropped first: putting the line may write all that lives anew. */
static void forget(struct usage_store *s, struct record *r)
{
    const uint64_t seq = r->seq;

    record_drop(s, r);
    put_line(s, NULL, seq);
}

/* ---- Opening and closing ---- */

void usage_tidy(struct usage_store *s, uint64_t now_ms)
{
    const uint64_t age = (uint64_t)USAGE_MAX_AGE_H * 3600 * 1000;

    while (!list_empty(&s->records) && record_at(s->records.next)->since_ms + age < now_ms) {
        struct record *r = record_at(s->records.next);
        log_event(LOG_WARN, "usage_expired", "call=%s attempt=%" PRIu32, r->key.call,
                  r->key.attempt);
        forget(s, r);
    }
}

static void on_tidy(void *arg)
{
    struct usage_store *s = arg;

    loop_timer_set(s->loop, &s->timer, TIDY_MS, on_tidy, s);
    usage_tidy(s, clock_mono_ms());
}

static void take_line(void *arg, const struct usage_record_line *line, uint64_t acked)
{
    struct usage_store *s = arg;

    if (line) {
        if (s->by_key.len < USAGE_MAX_RECORDS)
            record_put(s, line);
        return;
    }
    if (acked >= s->next_seq)
        s->next_seq = acked + 1;
    /* Acknowledged mostly in the order of age: near the front. */
    LIST_FOREACH_SAFE(it, &s->records) {
        if (record_at(it)->seq == acked) {
            record_drop(s, record_at(it));
            return;
        }
    }
}

static int read_file(const char *path, struct buf *out)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return errno == ENOENT ? 0 : E_IO;
    return st.st_size > FILE_MAX ? E_TOO_LARGE : file_read(path, (size_t)st.st_size, out);
}

static int load_file(struct usage_store *s)
{
    AUTO(buf_fini) struct buf text = {0};
    AUTO(buf_fini) struct buf live = {0};
    size_t bad = 0;

    TRY(read_file(s->path, &text));
    struct span rest = buf_span(&text);
    while (rest.len > 0) {
        const struct span line = span_split(&rest, '\n');
        if (line.len > 0 && usage_line_read(line, take_line, s) < 0)
            bad++;
    }
    live_lines(s, &live);
    TRY(replace_file(s->path, buf_span(&live), &s->fd));
    s->lines = s->by_key.len;
    log_event(bad ? LOG_WARN : LOG_INFO, "usage_file", "records=%zu unreadable_lines=%zu",
              s->by_key.len, bad);
    return 0;
}

int usage_open(struct usage_store **out, struct loop *l, struct offload *o, const char *file)
{
    struct usage_store *s = mem_zero(sizeof(*s));

    *s = (struct usage_store){.loop = l, .offload = o, .fd = -1, .next_seq = 1};
    list_init(&s->records);
    if (file[0]) {
        s->path = mem_strdup(file);
        const int error = load_file(s);
        if (error < 0) {
            usage_close(s);
            return error;
        }
    }
    on_tidy(s);
    *out = s;
    return 0;
}

void usage_stop(struct usage_store *s)
{
    s->stopped = true;
}

void usage_close(struct usage_store *s)
{
    if (!s)
        return;
    loop_timer_cancel(s->loop, &s->timer);
    if (s->fd >= 0 && s->pending.len > 0 && file_append(s->fd, buf_span(&s->pending)) < 0)
        log_event(LOG_ERROR, "usage_file", "error=%s", error_name(E_IO));
    LIST_FOREACH_SAFE(it, &s->records)
        record_drop(s, record_at(it));
    map_fini(&s->by_key);
    buf_fini(&s->pending);
    buf_fini(&s->writing);
    if (s->fd >= 0)
        close(s->fd);
    free(s->path);
    free(s);
}

/* ---- Use ---- */

void usage_add(struct usage_store *s, const struct usage_key *key, struct span jws)
{
    const struct usage_record_line line = {s->next_seq, clock_wall_ms(), *key, jws};

    record_put(s, &line);
    put_line(s, record_at(s->records.prev), 0);
}

bool usage_full(const struct usage_store *s)
{
    return s->by_key.len >= USAGE_MAX_RECORDS;
}

size_t usage_count(const struct usage_store *s)
{
    return s->by_key.len;
}

static bool owns(struct usage_owner owner, const uint8_t op[static SHA256_LEN])
{
    for (size_t i = 0; i < owner.count; i++)
        if (memcmp(owner.pins[i], op, SHA256_LEN) == 0)
            return true;
    return false;
}

void usage_list(const struct usage_store *s, struct usage_owner owner, uint64_t after,
                struct buf *out)
{
    size_t count = 0;

    buf_append_str(out, "{\"records\":[");
    LIST_FOREACH(it, &s->records) {
        const struct record *r = record_at(it);
        if (r->seq <= after || !owns(owner, r->key.op))
            continue;
        if (count++ == USAGE_LIST_MAX)
            break;
        buf_printf(out, "%s{\"seq\":%" PRIu64 ",\"jws\":\"", count > 1 ? "," : "", r->seq);
        buf_append(out, buf_span(&r->jws));
        buf_append_str(out, "\"}");
    }
    buf_printf(out, "],\"more\":%s}", count > USAGE_LIST_MAX ? "true" : "false");
}

int usage_ack(struct usage_store *s, struct usage_owner owner, const char *call, uint32_t attempt)
{
    uint8_t key[KEY_LEN];

    for (size_t i = 0; i < owner.count; i++) {
        struct record *r = map_get(&s->by_key, key_bytes(key, owner.pins[i], call, attempt));
        if (!r)
            continue;
        forget(s, r);
        return 0;
    }
    return E_NOT_FOUND;
}
