/* Checks of single configuration values: addresses, URLs, pins, hours, and choices from short
 * lists. */
#include "config/check.h"

#include <arpa/inet.h>
#include <sys/un.h>

#include "base/redis_url.h"

#define ADDRESS_HELP "must be host:port with a number as host, [v6]:port, :port or unix:/path"
#define URL_HELP     "must be http:// on 127.0.0.1, [::1] or localhost, or unix:/path"

static bool is_port(struct span text)
{
    uint64_t port;

    return span_u64(text, 65535, &port) == 0;
}

static bool is_number(int family, struct span host)
{
    char text[INET6_ADDRSTRLEN], bytes[16];

    if (host.len == 0 || host.len >= sizeof(text))
        return false;
    memcpy(text, host.data, host.len);
    text[host.len] = 0;
    return inet_pton(family, text, bytes) == 1;
}

static bool is_path(struct span path)
{
    return span_starts(path, SPAN("/")) && path.len > 1 &&
           path.len < sizeof((struct sockaddr_un){0}.sun_path);
}

static bool is_unix(struct span text)
{
    return span_starts(text, SPAN("unix:")) && is_path(span_from(text, 5));
}

// Cuts "host:port" or "[v6]:port"; *v6 tells which. False when it is neither.
static bool cut_host(struct span text, struct span *host, struct span *port, bool *v6)
{
    *v6 = span_starts(text, SPAN("["));
    const ptrdiff_t at = *v6 ? span_find(text, SPAN("]:")) : span_find(text, SPAN(":"));
    if (at < 0)
        return false;
    const size_t skip = *v6 ? 1 : 0;
    *host = span_cut(text, skip, (size_t)at - skip);
    *port = span_from(text, (size_t)at + 1 + skip);
    return is_port(*port);
}

static bool is_listen(const char *text, bool local)
{
    struct span host, port;
    bool v6;

    if (is_unix(span_str(text)))
        return true;
    if (!cut_host(span_str(text), &host, &port, &v6))
        return false;
    if (local)
        return v6 ? span_is(host, "::1")
                  : is_number(AF_INET, host) && span_starts(host, SPAN("127."));
    return (!v6 && host.len == 0) || is_number(v6 ? AF_INET6 : AF_INET, host);
}

const char *setting_listen(const char *text)
{
    return is_listen(text, false) ? NULL : ADDRESS_HELP;
}

const char *setting_listen_local(const char *text)
{
    return is_listen(text, true) ? NULL : "must be 127.0.0.1:port, [::1]:port or unix:/path";
}

const char *setting_listen_tcp(const char *text)
{
    return is_listen(text, false) && !is_unix(span_str(text))
               ? NULL
               : "must be host:port with a number as host, [v6]:port or :port";
}

const char *setting_unix(const char *text)
{
    return is_unix(span_str(text)) ? NULL : "must be unix:/path (at most 107 characters of path)";
}

static bool is_name(struct span s, size_t max)
{
    return span_plain(s, "-._", max);
}

static bool is_host_port(struct span text)
{
    struct span host, port;
    bool v6;

    if (!cut_host(text, &host, &port, &v6) || span_is(port, "0"))
        return false;
    return v6 ? is_number(AF_INET6, host) : is_name(host, 253);
}

const char *setting_host_port(const char *text)
{
    return is_host_port(span_str(text)) ? NULL : "must be host:port";
}

const char *setting_redis_url(const char *text)
{
    struct redis_url url;
    const int error = redis_url_parse(&url, text);

    explicit_bzero(&url, sizeof(url));
    return error == 0
               ? NULL
               : "must be redis://host:port[/db], redis+sentinel://host:port,.../primary[/db], "
                 "redis+cluster://host:port,... (rediss for TLS) or unix:/path[?db=n], at "
                 "most 1023 bytes";
}

const char *setting_redis_user(const char *text)
{
    return *text == 0 || (span_visible(span_str(text), REDIS_LOGIN_LEN - 1) && !strchr(text, ':'))
               ? NULL
               : "must be visible ASCII characters without ':'";
}

const char *setting_redis_tls_name(const char *text)
{
    return *text == 0 || is_name(span_str(text), 253) || is_number(AF_INET, span_str(text)) ||
                   is_number(AF_INET6, span_str(text))
               ? NULL
               : "must be a host name or an address";
}

const char *setting_engine_url(const char *text)
{
    struct span rest = span_str(text), host, port;
    bool v6;

    if (is_unix(rest))
        return NULL;
    if (!span_starts(rest, SPAN("http://")) || !span_visible(rest, 1024))
        return URL_HELP;
    rest = span_from(rest, 7);
    if (!cut_host(span_split(&rest, '/'), &host, &port, &v6) || span_is(port, "0"))
        return URL_HELP;
    if (v6)
        return span_is(host, "::1") ? NULL : URL_HELP;
    const bool loopback = is_number(AF_INET, host) && span_starts(host, SPAN("127."));
    return loopback || span_is(host, "localhost") ? NULL : URL_HELP;
}

#define GATEWAY_HELP "must be https://host[:port], http://host[:port] or unix:/path"

/* Without user, query or fragment: what is appended must stay a path. */
const char *setting_gateway_url(const char *text)
{
    struct span rest = span_str(text);

    if (is_unix(rest))
        return NULL;
    const bool plain = span_starts(rest, SPAN("http://"));
    if ((!plain && !span_starts(rest, SPAN("https://"))) || !span_visible(rest, 1024))
        return GATEWAY_HELP;
    rest = span_from(rest, plain ? 7 : 8);
    return rest.len > 0 && rest.data[0] != '/' && !strpbrk((const char *)rest.data, "@?#\\")
               ? NULL
               : GATEWAY_HELP;
}

const char *setting_service_url(const char *text)
{
    return is_unix(span_str(text)) || setting_gateway_url(text)
               ? "must be https://host[:port]/path or http://host[:port]/path"
               : NULL;
}

static bool is_hex64(struct span s)
{
    return s.len == 64 && strspn((const char *)s.data, "0123456789abcdef") == 64;
}

const char *setting_pin(const char *text)
{
    return is_hex64(span_str(text)) ? NULL : "must be 64 lower-case hex digits";
}

const char *setting_verity(const char *text)
{
    return text[0] ? setting_pin(text) : NULL;
}

const char *setting_payout(const char *text)
{
    const struct span s = span_str(text);

    if (span_starts(s, SPAN("0:")) && is_hex64(span_from(s, 2)))
        return NULL;
    if (span_starts(s, SPAN("-1:")) && is_hex64(span_from(s, 3)))
        return NULL;
    return "must be a raw address: 0: or -1: and 64 lower-case hex digits";
}

// Minutes since midnight of "HH:MM", or -1.
static int minutes_of(struct span s)
{
    if (s.len != 5 || s.data[2] != ':')
        return -1;
    for (size_t i = 0; i < 5; i++) {
        if (i != 2 && (s.data[i] < '0' || s.data[i] > '9'))
            return -1;
    }
    const int hour = (s.data[0] - '0') * 10 + s.data[1] - '0';
    const int minute = (s.data[3] - '0') * 10 + s.data[4] - '0';
    const int total = hour * 60 + minute;
    return minute < 60 && total <= 24 * 60 ? total : -1;
}

const char *setting_hours(const char *text)
{
    struct span rest = span_str(text);

    if (span_is(rest, "always"))
        return NULL;
    while (rest.len > 0) {
        const bool more = rest.data[rest.len - 1] == ',';
        const struct span range = span_split(&rest, ',');
        const int from = minutes_of(span_cut(range, 0, 5)), to = minutes_of(span_from(range, 6));
        if (range.len != 11 || range.data[5] != '-' || from < 0 || to < 0 || more)
            return "must be always, \"\" (never) or HH:MM-HH:MM[,HH:MM-HH:MM…]";
        if (from >= to)
            return "has a range that ends before it begins: write a night on both days";
    }
    return NULL;
}

static bool is_one_of(const char *text, const char *const *words)
{
    for (; *words; words++) {
        if (strcmp(text, *words) == 0)
            return true;
    }
    return false;
}

#define ONE_OF(text, ...) is_one_of(text, (const char *const[]){__VA_ARGS__, NULL})

const char *setting_log_level(const char *text)
{
    return ONE_OF(text, "debug", "info", "warn", "error") ? NULL
                                                          : "must be debug, info, warn or error";
}

const char *setting_padding(const char *text)
{
    return ONE_OF(text, "none", "pow2", "64") ? NULL : "must be none, pow2 or 64";
}

const char *setting_engine_kind(const char *text)
{
    return ONE_OF(text, "auto", "llamacpp", "vllm", "sglang", "generic")
               ? NULL
               : "must be auto, llamacpp, vllm, sglang or generic";
}

const char *setting_quote_provider(const char *text)
{
    const struct span s = span_str(text);

    if (ONE_OF(text, "none", "tsm"))
        return NULL;
    return span_starts(s, SPAN("socket:/")) && s.len > 8 && s.len < 107
               ? NULL
               : "must be tsm, socket:/path or none";
}

const char *setting_gpu(const char *text)
{
    return ONE_OF(text, "none", "nvidia-cc") ? NULL : "must be none or nvidia-cc";
}

const char *setting_endpoint(const char *text)
{
    return ONE_OF(text, "chat", "completions", "embeddings")
               ? NULL
               : "must be chat, completions or embeddings";
}

static bool is_range(struct span text)
{
    const bool single = span_find(text, SPAN("/")) < 0;
    const struct span host = span_split(&text, '/');
    const bool v6 = is_number(AF_INET6, host);
    uint64_t bits;

    if (!v6 && !is_number(AF_INET, host))
        return false;
    return single || span_u64(text, v6 ? 128 : 32, &bits) == 0;
}

const char *setting_proxy(const char *text)
{
    if (strcmp(text, "unix") == 0 || is_range(span_str(text)))
        return NULL;
    return "must be an address, a range such as 10.0.0.0/8, or unix";
}

const char *setting_origin(const char *text)
{
    const struct span s = span_str(text);
    const ptrdiff_t at = span_find(s, SPAN("://"));

    if (span_is(s, "*"))
        return NULL;
    if (at > 0 && span_visible(s, 256)) {
        const struct span host = span_from(s, (size_t)at + 3);
        if (host.len > 0 && span_find(host, SPAN("/")) < 0)
            return NULL;
    }
    return "must be * or scheme://host[:port] without a path";
}

const char *setting_label(const char *text)
{
    return is_name(span_str(text), 64) ? NULL : "must be 1 to 64 letters, digits, '.', '_' or '-'";
}

const char *setting_extra(const char *text)
{
    const struct span s = span_str(text);

    return is_name(span_cut(s, 0, s.len - span_ends(s, SPAN("*"))), 64)
               ? NULL
               : "must be 1 to 64 letters, digits, '.', '_' or '-', and may end in '*'";
}

const char *setting_denied(const char *text)
{
    static const char *const needed[] = {"model", "messages", "prompt", "input"};
    const struct span s = span_str(text);
    const bool many = span_ends(s, SPAN("*"));
    const char *problem = setting_extra(text);

    for (size_t i = 0; !problem && i < sizeof(needed) / sizeof(needed[0]); i++)
        if (many ? span_starts(span_str(needed[i]), span_cut(s, 0, s.len - 1))
                 : span_is(s, needed[i]))
            problem = "must leave model, messages, prompt and input: no request does without";
    return problem;
}

const char *setting_books(const char *text)
{
    const struct span s = span_str(text);

    return (*text == '/' && s.len < 4000) || span_starts(s, SPAN("postgresql://"))
               ? NULL
               : "must be an absolute path, or postgresql://...";
}

const char *setting_role(const char *text)
{
    return ONE_OF(text, "viewer", "support", "treasurer", "admin")
               ? NULL
               : "must be viewer, support, treasurer or admin";
}

const char *setting_class(const char *text)
{
    return ONE_OF(text, "interactive", "batch", "internal")
               ? NULL
               : "must be interactive, batch or internal";
}

static bool is_dns_san(struct span name)
{
    for (size_t i = 0; i < name.len; i++)
        if (name.data[i] >= 'A' && name.data[i] <= 'Z')
            return false;
    return is_name(name, 253);
}

const char *setting_san(const char *text)
{
    const struct span s = span_str(text), name = span_from(s, s.len < 4 ? s.len : 4);
    const bool good = span_starts(s, SPAN("DNS:"))
                          ? is_dns_san(name)
                          : span_starts(s, SPAN("URI:")) && name.len > 0 && span_visible(name, 255);

    return good ? NULL : "must be DNS:name, in small letters and without wildcard, or URI:uri";
}

const char *setting_model(const char *text)
{
    return span_visible(span_str(text), 256) ? NULL : "must be 1 to 256 visible ASCII characters";
}
