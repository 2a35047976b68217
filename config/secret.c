/* Reads one secret from a file that only its owner may read, and puts Redis' into its URL. */
#include "config/config.h"

#include "base/file.h"

enum { SECRET_MAX = 64 * 1024 };

int config_read_secret(const char *file, struct buf *out)
{
    AUTO(buf_wipe) struct buf text = {0};

    TRY(file_read_secret(file, SECRET_MAX, &text));
    struct span rest = buf_span(&text);
    struct span line = span_split(&rest, '\n');
    if (span_ends(line, SPAN("\r")))
        line.len--;
    buf_append(out, line);
    return 0;
}

int config_redis_url(struct buf *out, const char *url, const char *password_file)
{
    AUTO(buf_wipe) struct buf password = {0};
    const struct span all = span_str(url);
    const size_t scheme = span_starts(all, SPAN("redis://")) ? 8 : 5;

    if (*password_file == 0) {
        buf_append(out, all);
        return 0;
    }
    if ((scheme == 5 && !span_starts(all, SPAN("unix:"))) || url[scheme] == ':')
        return E_INVALID;
    TRY(config_read_secret(password_file, &password));
    buf_append(out, span_cut(all, 0, scheme));
    buf_byte(out, ':');
    buf_append(out, buf_span(&password));
    buf_byte(out, '@');
    buf_append(out, span_from(all, scheme));
    return 0;
}
