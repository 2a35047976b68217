/* Parsers of INFO, of redirects, of CLUSTER SLOTS and of Sentinel's answer, and the slot of a key.
 */
#include "net/redis_parse.h"

#include <stdio.h>

/* ---- INFO ---- */

static bool yes(struct span value)
{
    return span_is(value, "1");
}

static void take_field(struct redis_info *info, struct span name, struct span value)
{
    if (span_is(name, "run_id") && value.len == REDIS_RUN_ID_LEN &&
        span_visible(value, REDIS_RUN_ID_LEN))
        memcpy(info->run_id, value.data, value.len);
    else if (span_is(name, "redis_mode"))
        info->sentinel = span_is(value, "sentinel");
    else if (span_is(name, "cluster_enabled"))
        info->cluster = yes(value);
    else if (span_is(name, "role"))
        info->replica = span_is(value, "slave");
    else if (span_is(name, "loading"))
        info->loading = yes(value);
    else if (span_is(name, "maxmemory_policy"))
        info->noeviction = span_is(value, "noeviction");
    else if (span_is(name, "aof_enabled"))
        info->aof = yes(value);
}

int redis_info_read(struct redis_info *out, struct span text)
{
    *out = (struct redis_info){0};
    while (text.len > 0) {
        struct span line = span_split(&text, '\n');
        if (span_ends(line, SPAN("\r")))
            line.len--;
        const struct span name = span_split(&line, ':');
        take_field(out, name, line);
    }
    return out->run_id[0] ? 0 : E_PROTOCOL;
}

/* ---- Slots ---- */

static uint16_t crc16(struct span s)
{
    uint16_t crc = 0;

    for (size_t i = 0; i < s.len; i++) {
        crc = (uint16_t)(crc ^ (s.data[i] << 8));
        for (int bit = 0; bit < 8; bit++)
            crc = (uint16_t)(crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1);
    }
    return crc;
}

uint16_t redis_slot(struct span key)
{
    const ptrdiff_t open = span_find(key, SPAN("{"));

    if (open >= 0) {
        const struct span rest = span_from(key, (size_t)open + 1);
        const ptrdiff_t close = span_find(rest, SPAN("}"));
        if (close > 0)
            key = span_cut(rest, 0, (size_t)close);
    }
    return crc16(key) % REDIS_SLOTS;
}

/* ---- Places that servers name ---- */

/* The host is another's word: empty means the host of `from`. */
static int place_of(struct span host, struct span port, const char *from,
                    char out[static REDIS_PLACE_LEN])
{
    char text[REDIS_PLACE_LEN];
    const char *colon = strrchr(from, ':');

    if (host.len == 0 && colon)
        host = span_of(from, (size_t)(colon - from));
    const int len = snprintf(text, sizeof(text), "%.*s:%.*s", SPAN_FMT(host), SPAN_FMT(port));
    if (len < 0 || (size_t)len >= sizeof(text))
        return E_INVALID;
    return redis_place_read(span_str(text), out);
}

enum redis_redirect redis_redirect_read(struct span text, const char *from, uint16_t *slot,
                                        char place[static REDIS_PLACE_LEN])
{
    const struct span verb = span_split(&text, ' '), number = span_split(&text, ' ');
    const enum redis_redirect kind = span_is(verb, "MOVED") ? REDIS_MOVED
                                     : span_is(verb, "ASK") ? REDIS_ASK
                                                            : REDIS_NO_REDIRECT;
    const uint8_t *colon = text.len > 0 ? memrchr(text.data, ':', text.len) : NULL;
    uint64_t value;

    if (kind == REDIS_NO_REDIRECT || !colon || span_u64(number, REDIS_SLOTS - 1, &value) < 0)
        return REDIS_NO_REDIRECT;
    const size_t host_len = (size_t)(colon - text.data);
    if (place_of(span_cut(text, 0, host_len), span_from(text, host_len + 1), from, place) < 0)
        return REDIS_NO_REDIRECT;
    *slot = (uint16_t)value;
    return kind;
}

static int slot_of(const struct redisReply *reply, uint16_t *out)
{
    const int64_t number = redis_reply_number(reply);

    if (redis_reply_type(reply) != REDIS_NUMBER || number < 0 || number >= REDIS_SLOTS)
        return E_PROTOCOL;
    *out = (uint16_t)number;
    return 0;
}

/* A host of "?" or a port of 0: the node that was asked does not know it yet. */
static int node_place(const struct redisReply *node, const char *from,
                      char out[static REDIS_PLACE_LEN])
{
    char port[24];

    out[0] = 0;
    if (redis_reply_count(node) < 2)
        return E_PROTOCOL;
    const struct redisReply *host = redis_reply_at(node, 0);
    const enum redis_type type = redis_reply_type(host);
    const int64_t number = redis_reply_number(redis_reply_at(node, 1));
    if ((type != REDIS_BULK && type != REDIS_NULL) || number < 0)
        return E_PROTOCOL;
    if (number == 0 || span_is(redis_reply_text(host), "?"))
        return 0;
    snprintf(port, sizeof(port), "%lld", (long long)number);
    return place_of(redis_reply_text(host), span_str(port), from, out) < 0 ? E_PROTOCOL : 0;
}

int redis_range_read(struct redis_range *out, const struct redisReply *reply, size_t i,
                     const char *from)
{
    const struct redisReply *range = redis_reply_at(reply, i);

    if (redis_reply_count(range) < 3)
        return E_PROTOCOL;
    TRY(slot_of(redis_reply_at(range, 0), &out->first));
    TRY(slot_of(redis_reply_at(range, 1), &out->last));
    if (out->last < out->first)
        return E_PROTOCOL;
    return node_place(redis_reply_at(range, 2), from, out->place);
}

int redis_master_read(char place[static REDIS_PLACE_LEN], const struct redisReply *reply)
{
    if (redis_reply_type(reply) == REDIS_NULL)
        return E_NOT_FOUND;
    if (redis_reply_count(reply) != 2)
        return E_PROTOCOL;
    const struct span host = redis_reply_text(redis_reply_at(reply, 0));
    const struct span port = redis_reply_text(redis_reply_at(reply, 1));
    return host.len == 0 || place_of(host, port, "", place) < 0 ? E_PROTOCOL : 0;
}

int redis_replica_read(char place[static REDIS_PLACE_LEN], const struct redisReply *entry)
{
    struct span host = {0}, port = {0};

    for (size_t i = 0; i + 1 < redis_reply_count(entry); i += 2) {
        const struct span name = redis_reply_text(redis_reply_at(entry, i));
        const struct span value = redis_reply_text(redis_reply_at(entry, i + 1));
        if (span_is(name, "ip"))
            host = value;
        else if (span_is(name, "port"))
            port = value;
    }
    return host.len == 0 || place_of(host, port, "", place) < 0 ? E_PROTOCOL : 0;
}
