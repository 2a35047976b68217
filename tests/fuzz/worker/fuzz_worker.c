/* Any bytes as what a gateway or the owner sends beside sealed requests: the first byte says as
 * what. */
#include "worker/gateways.h"
#include "worker/outer.h"
#include "worker/settings.h"
#include "worker/usage.h"
#include "worker/watts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void see_ack(void *arg, const struct usage_ack *ack)
{
    (void)arg;
    CHECK(strlen(ack->call) == 32 && ack->pay_nano >= 0);
}

static void see_line(void *arg, const struct usage_record_line *line, uint64_t acked)
{
    AUTO(buf_fini) struct buf again = {0};

    (void)arg;
    CHECK(line || acked > 0);
    if (line)
        usage_line_write(&again, line);
}

static void try_acks(struct span in)
{
    (void)!usage_acks_read(in, see_ack, NULL);
}

static void try_line(struct span in)
{
    (void)!usage_line_read(in, see_line, NULL);
}

static void try_settings(struct span in)
{
    struct settings s = {.max_requests = 4};
    const char *what = NULL;

    (void)!settings_change(&s, in, &what);
    CHECK(what && s.max_requests >= 1 && s.max_requests <= 10000 && s.ask >= 0);
}

static void try_hours(struct span in)
{
    struct hours h = {0};
    const struct tm noon = {.tm_wday = 3, .tm_hour = 12};

    if (hours_set(&h, 2, in) == 0)
        (void)hours_open_at(&h, &noon);
}

static void try_gateways(struct span in)
{
    struct arena arena = {0};
    struct config_strings out = {0};
    bool again;

    if (gateways_read(in, &arena, &out, &again) == 0)
        CHECK(out.count <= OPERATOR_MAX_LEARNT);
    arena_fini(&arena);
}

static void try_watts(struct span in)
{
    int64_t watts = 0;

    if (watts_parse(in, &watts) == 0)
        CHECK(watts >= 0);
}

static struct span whole_input(const void *arg, const char *name)
{
    const struct span *in = arg;

    return strcmp(name, "content-type") == 0 ? SPAN("message/ohttp-chunked-req") : *in;
}

static void try_outer(struct span in)
{
    struct outer o;
    int64_t coefficient = 0;

    (void)!outer_read(&o, whole_input, &in);
    if (outer_price(in, &coefficient) == 0)
        CHECK(coefficient >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static void (*const tries[])(struct span) = {
        try_acks, try_line, try_settings, try_hours, try_gateways, try_watts, try_outer,
    };

    if (len > 0)
        tries[data[0] % (sizeof(tries) / sizeof(tries[0]))](span_of(data + 1, len - 1));
    return 0;
}
