/* CPU time of processes by their CPU clocks (the sum that /proc/PID/stat shows in ticks of 10 ms,
 * in nanoseconds), memory from /proc/PID/statm. */
#include "tests/bench/watch.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

int watch_add(struct watch *w, const char *text)
{
    struct span pid = span_str(text);
    const struct span name = span_split(&pid, '=');
    uint64_t number;

    if (w->count == WATCH_MAX)
        return E_TOO_LARGE;
    struct watch_process *p = &w->process[w->count];
    TRY(span_u64(pid, INT32_MAX, &number));
    if (name.len == 0 || name.len >= sizeof(p->name))
        return E_INVALID;
    *p = (struct watch_process){.pid = (int)number};
    memcpy(p->name, name.data, name.len);
    w->count++;
    return 0;
}

static int read_cpu(int pid, uint64_t *ns)
{
    clockid_t clock;
    struct timespec t;

    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) < 0)
        return E_IO;
    *ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    return 0;
}

static int read_rss(int pid, uint64_t *kb)
{
    char path[64];
    unsigned long long pages = 0;

    snprintf(path, sizeof(path), "/proc/%d/statm", pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return E_IO;
    const int got = fscanf(f, "%*u %llu", &pages);
    fclose(f);
    *kb = pages * (uint64_t)sysconf(_SC_PAGESIZE) / 1024;
    return got == 1 ? 0 : E_IO;
}

/* The first line of /proc/stat: user nice system idle iowait irq softirq steal. */
static int read_machine(uint64_t *idle, uint64_t *all)
{
    unsigned long long v[8] = {0};
    FILE *f = fopen("/proc/stat", "re");

    if (!f)
        return E_IO;
    const int got = fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2],
                           &v[3], &v[4], &v[5], &v[6], &v[7]);
    fclose(f);
    *idle = v[3] + v[4];
    *all = 0;
    for (int i = 0; i < 8; i++)
        *all += v[i];
    return got == 8 ? 0 : E_IO;
}

static int read_process(struct watch_process *p)
{
    TRY(read_cpu(p->pid, &p->cpu_ns));
    return read_rss(p->pid, &p->rss_kb);
}

int watch_begin(struct watch *w)
{
    for (size_t i = 0; i < w->count; i++) {
        struct watch_process *p = &w->process[i];
        TRY(read_process(p));
        p->cpu_begin_ns = p->cpu_ns;
        p->rss_begin_kb = p->rss_kb;
    }
    return read_machine(&w->idle_ticks, &w->all_ticks);
}

int watch_end(struct watch *w)
{
    uint64_t idle, all;

    for (size_t i = 0; i < w->count; i++)
        TRY(read_process(&w->process[i]));
    TRY(read_machine(&idle, &all));
    w->idle_ticks = idle - w->idle_ticks;
    w->all_ticks = all - w->all_ticks;
    return 0;
}

void watch_json(const struct watch *w, struct buf *out)
{
    buf_printf(out, "{\"idle\":%.3f,\"processes\":{",
               w->all_ticks ? (double)w->idle_ticks / (double)w->all_ticks : 0.0);
    for (size_t i = 0; i < w->count; i++) {
        const struct watch_process *p = &w->process[i];
        buf_printf(out, "%s\"%s\":{\"cpu_us\":%.1f,\"rss_kb\":%lu,\"rss_begin_kb\":%lu}",
                   i ? "," : "", p->name, (double)(p->cpu_ns - p->cpu_begin_ns) / 1000.0, p->rss_kb,
                   p->rss_begin_kb);
    }
    buf_append(out, SPAN("}}"));
}
