/* Live settings: from the configuration, and from the owner's admin socket. */
#include "worker/settings.h"

#include "base/json.h"

int settings_from_config(struct settings *out, const struct worker_config *c)
{
    const char *const days[HOURS_DAYS] = {c->hours_mon, c->hours_tue, c->hours_wed, c->hours_thu,
                                          c->hours_fri, c->hours_sat, c->hours_sun};
    struct settings s = {
        .max_requests = c->max_requests,
        .ask = c->ask,
        .max_watts = c->max_watts,
    };

    for (int day = 0; day < HOURS_DAYS; day++)
        TRY(hours_set(&s.hours, day, span_str(days[day])));
    *out = s;
    return 0;
}

// Same ranges as in the configuration's table.
static const struct {
    const char *name;
    int64_t min, max;
    size_t offset;
} numbers[] = {
    {"max_requests", 1, 10000, offsetof(struct settings, max_requests)},
    {"ask", 0, 1000000, offsetof(struct settings, ask)},
    {"max_watts", 0, 1000000, offsetof(struct settings, max_watts)},
};
enum { NUMBERS = sizeof(numbers) / sizeof(numbers[0]) };

static int change_hours(struct hours *h, json_t *days, const char **what)
{
    const char *name;
    json_t *value;

    if (!json_is_object(days))
        return E_INVALID;
    json_object_foreach(days, name, value) {
        int day = 0;
        while (day < HOURS_DAYS && strcmp(name, hours_days[day]) != 0)
            day++;
        *what = day < HOURS_DAYS ? hours_days[day] : "hours";
        if (day == HOURS_DAYS || !json_is_string(value))
            return E_INVALID;
        TRY(hours_set(h, day, span_of(json_string_value(value), json_string_length(value))));
    }
    return 0;
}

static int change_member(struct settings *s, const json_t *doc, const char *name, json_t *value,
                         const char **what)
{
    for (size_t i = 0; i < NUMBERS; i++) {
        if (strcmp(name, numbers[i].name) != 0)
            continue;
        *what = numbers[i].name;
        void *field = (char *)s + numbers[i].offset;
        return json_obj_int(doc, name, numbers[i].min, numbers[i].max, field);
    }
    *what = strcmp(name, "hours") == 0 ? "hours" : "unknown";
    return strcmp(name, "hours") == 0 ? change_hours(&s->hours, value, what) : E_INVALID;
}

int settings_change(struct settings *s, struct span json, const char **what)
{
    AUTO_JSON json_t *doc = NULL;
    struct settings changed = *s;
    const char *name;
    json_t *value;

    *what = "json";
    TRY(json_read(json, &doc));
    json_object_foreach(doc, name, value)
        if (change_member(&changed, doc, name, value, what) < 0)
            return E_INVALID;
    *s = changed;
    return 0;
}
