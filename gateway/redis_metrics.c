/* Figures of the Redis client as Prometheus text. */
#include "gateway/redis_metrics.h"

#include "gateway/metrics.h"

#define NAME "cocoon_redis_reply_seconds"

static void write_latency(const struct redis_stats *s, struct buf *out)
{
    uint64_t sum = 0;

    buf_append_str(out, "# HELP " NAME " From a command to its reply, late ones too.\n"
                        "# TYPE " NAME " histogram\n");
    for (size_t i = 0; redis_latency_bounds_us[i]; i++) {
        sum += s->latency[i];
        buf_printf(out, NAME "_bucket{le=\"%g\"} %llu\n", (double)redis_latency_bounds_us[i] / 1e6,
                   (unsigned long long)sum);
    }
    sum += s->latency[REDIS_LATENCY_BUCKETS - 1];
    buf_printf(out, NAME "_bucket{le=\"+Inf\"} %llu\n" NAME "_sum %.6f\n" NAME "_count %llu\n",
               (unsigned long long)sum, (double)s->latency_sum_us / 1e6, (unsigned long long)sum);
}

static void write_row(struct buf *out, const char *name, const char *label, const char *value,
                      uint64_t number)
{
    buf_printf(out, "%s{%s=\"%s\"} %llu\n", name, label, value, (unsigned long long)number);
}

static void write_failures(const struct redis_stats *s, struct buf *out)
{
    static const char name[] = "cocoon_redis_failures_total";

    buf_printf(out, "# HELP %s Commands without a reply.\n# TYPE %s counter\n", name, name);
    write_row(out, name, "why", "timeout", s->timeouts);
    write_row(out, name, "why", "away", s->refused);
    write_row(out, name, "why", "lost", s->lost);
}

static void write_followed(const struct redis_stats *s, struct buf *out)
{
    static const char name[] = "cocoon_redis_followed_total";

    buf_printf(out, "# HELP %s Commands sent again where the server said.\n# TYPE %s counter\n",
               name, name);
    write_row(out, name, "what", "moved", s->moved);
    write_row(out, name, "what", "ask", s->asked);
    write_row(out, name, "what", "script", s->loaded);
}

void redis_metrics_write(const struct redis *r, struct buf *out)
{
    struct redis_stats s;

    redis_stats(r, &s);
    gauge_write("cocoon_redis_up", "1 while some primary takes commands.", redis_up(r) ? 1 : 0,
                out);
    gauge_write("cocoon_redis_subscribed", "1 while all subscriptions are confirmed.",
                redis_subscribed(r) ? 1 : 0, out);
    gauge_write("cocoon_redis_primaries", "Primaries that are connected.", s.primaries, out);
    gauge_write("cocoon_redis_unsafe", "Of these: may evict keys, or keep no AOF.", s.unsafe, out);
    gauge_write("cocoon_redis_breaker_open", "Of these: too late to be asked.", s.broken, out);
    gauge_write("cocoon_redis_latency_seconds", "Of the last reply.",
                (double)s.latency_last_us / 1e6, out);
    counter_write("cocoon_redis_connects_total", "Primaries that became usable.", s.connects, out);
    counter_write("cocoon_redis_breaker_opened_total", "Times a breaker opened.", s.breaker_opened,
                  out);
    counter_write("cocoon_redis_maps_total",
                  "Maps of a Cluster's slots, and new primaries of Sentinels, taken.", s.maps, out);
    write_failures(&s, out);
    write_followed(&s, out);
    write_latency(&s, out);
}
