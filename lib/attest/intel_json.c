/* What the two documents of Intel's certification service have in common. */
#include "attest/intel_json.h"

#include <time.h>

#include "base/encode.h"

static const char DATE_FORM[] = "dddd-dd-ddTdd:dd:ddZ"; /* d: a digit */

/* Two digits of s at `at`. */
static int two(struct span s, size_t at)
{
    return (s.data[at] - '0') * 10 + s.data[at + 1] - '0';
}

static bool date_has_form(struct span s)
{
    if (s.len != sizeof(DATE_FORM) - 1)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        const bool digit = s.data[i] >= '0' && s.data[i] <= '9';

        if (DATE_FORM[i] == 'd' ? !digit : s.data[i] != (uint8_t)DATE_FORM[i])
            return false;
    }
    return true;
}

static int date_read(struct span s, uint64_t *out)
{
    struct tm tm, back;
    time_t at;

    if (!date_has_form(s))
        return E_INVALID;
    tm = (struct tm){.tm_year = two(s, 0) * 100 + two(s, 2) - 1900,
                     .tm_mon = two(s, 5) - 1,
                     .tm_mday = two(s, 8),
                     .tm_hour = two(s, 11),
                     .tm_min = two(s, 14),
                     .tm_sec = two(s, 17)};
    back = tm;
    at = timegm(&back);
    /* timegm turns 32 January into 1 February: such dates do not come back as they were. */
    if (at < 0 || back.tm_mon != tm.tm_mon || back.tm_mday != tm.tm_mday ||
        back.tm_hour != tm.tm_hour || back.tm_min != tm.tm_min || back.tm_sec != tm.tm_sec)
        return E_INVALID;
    *out = (uint64_t)at;
    return 0;
}

int intel_date_read(const json_t *object, const char *name, uint64_t *out)
{
    struct span text;

    if (json_obj_string(object, name, &text) < 0)
        return E_INVALID;
    return date_read(text, out);
}

int intel_hex_read(const json_t *object, const char *name, uint8_t *out, size_t len)
{
    struct span text;

    if (json_obj_string(object, name, &text) < 0)
        return E_INVALID;
    return hex_decode(out, len, text);
}

static int advisories_check(const json_t *list)
{
    if (!list)
        return 0;
    if (!json_is_array(list))
        return E_INVALID;
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!json_is_string(json_array_get(list, i)))
            return E_INVALID;
    return 0;
}

int intel_level_read(const json_t *level, enum tcb_status *status, uint64_t *date)
{
    struct span name;

    if (json_obj_string(level, "tcbStatus", &name) < 0)
        return E_INVALID;
    TRY(tcb_status_read(name, status));
    TRY(intel_date_read(level, "tcbDate", date));
    return advisories_check(json_object_get(level, "advisoryIDs"));
}

void intel_advisories_add(struct attest_verdict *v, const json_t *level)
{
    const json_t *list = json_object_get(level, "advisoryIDs");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *name = json_array_get(list, i);

        attest_advisory_add(v, span_of(json_string_value(name), json_string_length(name)));
    }
}

static int isv_level_read(struct isv_level *out, const json_t *level)
{
    int64_t svn;
    uint64_t date;

    out->json = level;
    if (json_obj_int(json_object_get(level, "tcb"), "isvsvn", 0, UINT16_MAX, &svn) < 0)
        return E_INVALID;
    out->isv_svn = (uint16_t)svn;
    return intel_level_read(level, &out->status, &date);
}

int isv_levels_read(struct isv_levels *out, const json_t *object)
{
    const json_t *list = json_object_get(object, "tcbLevels");
    const size_t count = json_array_size(list); /* 0 when it is no array */

    if (count == 0 || count > ISV_LEVELS_MAX)
        return E_INVALID;
    for (size_t i = 0; i < count; i++)
        TRY(isv_level_read(&out->items[i], json_array_get(list, i)));
    out->count = count;
    return 0;
}

const struct isv_level *isv_levels_match(const struct isv_levels *levels, uint16_t svn)
{
    const struct isv_level *best = NULL;

    for (size_t i = 0; i < levels->count; i++) {
        const struct isv_level *level = &levels->items[i];

        if (level->isv_svn <= svn && (!best || level->isv_svn > best->isv_svn))
            best = level;
    }
    return best;
}
