/* What was not given is not sent, so that it stays as it is. */
#include "tools/settings.h"

#include <inttypes.h>
#include <stdio.h>

void settings_number(json_t *body, const char *name, int64_t value)
{
    if (value >= 0)
        json_object_set_new(body, name, json_integer(value));
}

void settings_money(json_t *body, const char *name, int64_t nano)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRId64, nano);
    if (nano > 0)
        json_object_set_new(body, name, json_string(text));
    else if (nano == 0)
        json_object_set_new(body, name, json_null());
}

int settings_switch(const struct command *c, json_t *body, const char *name, bool yes, bool no)
{
    if (yes && no)
        return usage_error(c, "an option and its --no- exclude each other");
    if (yes || no)
        json_object_set_new(body, name, json_boolean(yes));
    return -1;
}

json_t *settings_list(const struct option_texts *texts)
{
    json_t *list = json_array();

    for (size_t i = 0; i < texts->count; i++)
        json_array_append_new(list, json_string(texts->items[i]));
    return list;
}

static void put_group(json_t *body, const char *name, json_t *take)
{
    if (json_object_size(take) > 0)
        json_object_set_new(body, name, take);
    else
        json_decref(take);
}

void settings_put(const struct settings *s, json_t *body, bool of_key)
{
    json_t *limits = json_object(), *budgets = json_object();

    if (s->name)
        json_object_set_new(body, "name", json_string(s->name));
    settings_number(limits, "requests_per_minute", s->requests);
    settings_number(limits, "tokens_per_minute", s->tokens);
    settings_number(limits, "streams", s->streams);
    settings_number(of_key ? limits : body, "max_output", s->max_output);
    settings_money(budgets, "day", s->day);
    settings_money(budgets, "month", s->month);
    settings_money(budgets, "total", s->total);
    settings_number(body, "max_coefficient", s->coefficient);
    put_group(body, "limits", limits);
    put_group(body, "budgets", budgets);
    if (s->models.count > 0 && !of_key)
        json_object_set_new(body, "models", settings_list(&s->models));
}
