/* Reads a caller's demands and holds a verdict against them. */
#include "attest/require.h"

#include "base/encode.h"

#include <stdio.h>

static int refuse(char why[static 120], const char *sentence)
{
    snprintf(why, 120, "%s", sentence);
    return E_INVALID;
}

static int flag_set(bool *flag, struct span value, const char *only, char why[static 120])
{
    if (*flag)
        return refuse(why, "A demand stands there twice.");
    if (!span_is(value, only)) {
        snprintf(why, 120, "The only value of this demand is %s.", only);
        return E_INVALID;
    }
    *flag = true;
    return 0;
}

static int measurement_set(struct attest_require *r, struct span value, char why[static 120])
{
    if (r->has_measurement)
        return refuse(why, "A demand stands there twice.");
    if (hex_decode(r->measurement, sizeof(r->measurement), value) < 0)
        return refuse(why, "A measurement is 96 lower-case hexadecimal digits.");
    r->has_measurement = true;
    return 0;
}

static int demand_read(struct attest_require *r, struct span name, struct span value,
                       char why[static 120])
{
    if (span_is(name, "tee"))
        return flag_set(&r->tee_tdx, value, "tdx", why);
    if (span_is(name, "gpu"))
        return flag_set(&r->gpu_nvidia, value, "nvidia-cc", why);
    if (span_is(name, "tcb"))
        return flag_set(&r->tcb_up_to_date, value, "up-to-date", why);
    if (span_is(name, "measurement"))
        return measurement_set(r, value, why);
    return refuse(why, "Demands are tee, gpu, tcb and measurement.");
}

static size_t index_of(struct span s, char c)
{
    const uint8_t *at = s.len > 0 ? memchr(s.data, c, s.len) : NULL;

    return at ? (size_t)(at - s.data) : s.len;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static struct span trim(struct span s)
{
    while (s.len > 0 && is_blank(s.data[0]))
        s = span_of(s.data + 1, s.len - 1);
    while (s.len > 0 && is_blank(s.data[s.len - 1]))
        s.len--;
    return s;
}

int attest_require_read(struct attest_require *out, struct span text, char why[static 120])
{
    struct span rest = trim(text);

    *out = (struct attest_require){0};
    while (rest.len > 0) {
        const size_t end = index_of(rest, ',');
        const struct span item = trim(span_of(rest.data, end));
        const size_t equal = index_of(item, '=');

        if (equal == item.len)
            return refuse(why, "A demand has the form name=value.");
        TRY(demand_read(out, trim(span_of(item.data, equal)),
                        trim(span_of(item.data + equal + 1, item.len - equal - 1)), why));
        if (end == rest.len)
            return 0;
        rest = trim(span_of(rest.data + end + 1, rest.len - end - 1));
        if (rest.len == 0)
            return refuse(why, "A demand is missing behind the last comma.");
    }
    return 0;
}

int attest_require_merge(struct attest_require *into, const struct attest_require *more)
{
    if (more->has_measurement) {
        if (into->has_measurement &&
            memcmp(into->measurement, more->measurement, sizeof(into->measurement)) != 0)
            return E_INVALID;
        into->has_measurement = true;
        memcpy(into->measurement, more->measurement, sizeof(into->measurement));
    }
    into->tee_tdx |= more->tee_tdx;
    into->gpu_nvidia |= more->gpu_nvidia;
    into->tcb_up_to_date |= more->tcb_up_to_date;
    return 0;
}

bool attest_require_any(const struct attest_require *r)
{
    return r->tee_tdx || r->gpu_nvidia || r->tcb_up_to_date || r->has_measurement;
}

const char *attest_require_unmet(const struct attest_require *r, const struct attest_verdict *v)
{
    const bool accepted = v->reason == ATTEST_OK;

    /* Evidence under a dev root shows no TDX. */
    if (r->tee_tdx && !(accepted && v->env == ATTEST_PRODUCTION))
        return "tee";
    if (r->gpu_nvidia && !(accepted && v->gpu_count > 0))
        return "gpu";
    if (r->tcb_up_to_date && !(accepted && v->status == TCB_UP_TO_DATE))
        return "tcb";
    if (r->has_measurement && !(accepted && memcmp(r->measurement, v->mrtd, sizeof(v->mrtd)) == 0))
        return "measurement";
    return NULL;
}
