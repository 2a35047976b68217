/* Quotes from the kernel by configfs-tsm (Linux ≥ 6.7, CONFIG_TSM_REPORTS; attestation.md §12). */
#include "worker/quote.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/random.h"

enum { ATTEMPTS = 6, BACK_OFF_MS = 50, ATTRIBUTE_MAX = 64, OUTBLOB_MAX = 32 * 1024 };

static const char NO_KERNEL[] =
    "no configfs-tsm at %s: quotes need a TDX guest with Linux 6.7 or later and "
    "CONFIG_TSM_REPORTS (Debian 12's own 6.1 has neither; use a backports or vendor kernel)";

struct report {
    char path[160];
    int dir;
};

static int fail(char *why, const char *what)
{
    const int error = errno;

    snprintf(why, QUOTE_WHY_LEN, "configfs-tsm: %s: %s", what, strerror(error));
    return error == EBUSY || error == EWOULDBLOCK ? E_BUSY : E_IO;
}

static int read_attribute(const struct report *r, const char *name, size_t max, struct buf *out,
                          char *why)
{
    const int fd = openat(r->dir, name, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return fail(why, name);
    do {
        n = read(fd, buf_reserve(out, max), max);
        if (n > 0)
            out->len += (size_t)n;
    } while ((n > 0 && out->len <= max) || (n < 0 && errno == EINTR));
    const int error = n < 0 ? fail(why, name) : 0;
    close(fd);
    if (!error && out->len > max) {
        snprintf(why, QUOTE_WHY_LEN, "configfs-tsm: %s is longer than %zu bytes", name, max);
        return E_TOO_LARGE;
    }
    return error;
}

static int read_generation(const struct report *r, uint64_t *out, char *why)
{
    AUTO(buf_fini) struct buf text = {0};

    TRY(read_attribute(r, "generation", ATTRIBUTE_MAX, &text, why));
    struct span number = buf_span(&text);
    number = span_split(&number, '\n');
    if (span_u64(number, UINT64_MAX, out) == 0)
        return 0;
    snprintf(why, QUOTE_WHY_LEN, "configfs-tsm: generation is no number");
    return E_INVALID;
}

static int write_inblob(const struct report *r, const uint8_t *report_data, char *why)
{
    const int fd = openat(r->dir, "inblob", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return fail(why, "inblob");
    const ssize_t n =
        write(fd, report_data, QUOTE_REPORT_DATA_LEN); // one write: the kernel wants it whole
    const int error = n < 0 ? fail(why, "inblob") : 0;
    close(fd);
    if (error || n == QUOTE_REPORT_DATA_LEN)
        return error;
    snprintf(why, QUOTE_WHY_LEN, "configfs-tsm: inblob took %zd of %d bytes", n,
             QUOTE_REPORT_DATA_LEN);
    return E_IO;
}

static int check_provider(const struct report *r, char *why)
{
    AUTO(buf_fini) struct buf text = {0};

    TRY(read_attribute(r, "provider", ATTRIBUTE_MAX, &text, why));
    struct span name = buf_span(&text);
    name = span_split(&name, '\n');
    if (span_is(name, "tdx_guest"))
        return 0;
    snprintf(why, QUOTE_WHY_LEN,
             "this machine's provider of quotes is \"%.*s\": only tdx_guest is supported",
             SPAN_FMT(name));
    return E_UNSUPPORTED;
}

/* ---- The report's folder ---- */

static bool is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int report_open(struct report *r, const char *root, char *why)
{
    if (!is_folder(root) && strcmp(root, QUOTE_TSM_ROOT) == 0)
        (void)!mount("configfs", "/sys/kernel/config", "configfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                     NULL);
    if (!is_folder(root)) {
        snprintf(why, QUOTE_WHY_LEN, NO_KERNEL, root);
        return E_UNSUPPORTED;
    }
    snprintf(r->path, sizeof(r->path), "%.100s/cocoon-%d-%08x", root, (int)getpid(),
             (unsigned)random_below(UINT32_MAX));
    if (mkdir(r->path, 0700) < 0)
        return fail(why, root);
    r->dir = open(r->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r->dir >= 0)
        return 0;
    const int error = fail(why, root);
    rmdir(r->path);
    return error;
}

static void report_close(struct report *r)
{
    close(r->dir);
    rmdir(r->path);
}

int quote_tsm_check(const char *root, char why[static QUOTE_WHY_LEN])
{
    struct report r;

    TRY(report_open(&r, root, why));
    const int error = check_provider(&r, why);
    report_close(&r);
    return error;
}

/* ---- A quote ---- */

static int attempt(const struct report *r, const uint8_t *report_data, struct buf *quote, char *why)
{
    uint64_t before, after;

    buf_clear(quote);
    TRY(read_generation(r, &before, why));
    TRY(write_inblob(r, report_data, why));
    TRY(read_attribute(r, "outblob", OUTBLOB_MAX, quote, why));
    TRY(read_generation(r, &after, why));
    if (after == before + 1)
        return 0;
    snprintf(why, QUOTE_WHY_LEN,
             "configfs-tsm: another process wrote to this report (generation %" PRIu64
             " became %" PRIu64 ")",
             before, after);
    return E_BUSY;
}

static void sleep_ms(uint64_t ms)
{
    const struct timespec t = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};

    nanosleep(&t, NULL);
}

/* Busy: interference, or the host's quoting service has another's request. */
static int attempts(const struct report *r, const uint8_t *report_data, uint64_t deadline_ms,
                    struct buf *quote, char *why)
{
    int error = E_BUSY;

    for (unsigned n = 0; n < ATTEMPTS && error == E_BUSY; n++) {
        const uint64_t wait = n ? (uint64_t)BACK_OFF_MS << (n - 1) : 0;
        if (clock_mono_ms() + wait > deadline_ms)
            return E_TIMEOUT;
        sleep_ms(wait);
        error = attempt(r, report_data, quote, why);
    }
    return error;
}

int quote_tsm_get(const char *root, const uint8_t report_data[static QUOTE_REPORT_DATA_LEN],
                  uint64_t deadline_ms, struct buf *quote, char why[static QUOTE_WHY_LEN])
{
    struct report r;

    TRY(report_open(&r, root, why));
    int error = check_provider(&r, why);
    if (!error)
        error = attempts(&r, report_data, deadline_ms, quote, why);
    report_close(&r);
    return error;
}
