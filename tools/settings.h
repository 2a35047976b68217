/* What may be set on accounts, projects and keys: options of cocoonctl, as members of a body. */
#ifndef TOOLS_SETTINGS_H
#define TOOLS_SETTINGS_H

#include "base/json.h"
#include "tools/command.h"

struct settings {
    const char *name;
    int64_t requests, tokens, streams, day, month, total, coefficient,
        max_output; /* -1: not given */
    struct option_texts models;
    bool end_to_end;
};

#define SETTINGS_NONE                                                                              \
    {                                                                                              \
        .requests = -1, .tokens = -1, .streams = -1, .day = -1, .month = -1, .total = -1,          \
        .coefficient = -1, .max_output = -1                                                        \
    }

#define SETTINGS_OPTIONS(s)                                                                        \
    {"name", OPTION_TEXT, &(s).name, "a name for people"},                                         \
        {"requests-per-minute", OPTION_NUMBER, &(s).requests, "most requests a minute (0: any)"},  \
        {"tokens-per-minute", OPTION_NUMBER, &(s).tokens, "most tokens a minute (0: any)"},        \
        {"streams", OPTION_NUMBER, &(s).streams, "most requests at a time (0: any)"},              \
        {"budget-day", OPTION_COINS, &(s).day, "most TON a UTC day (0: any)"},                     \
        {"budget-month", OPTION_COINS, &(s).month, "most TON a UTC month (0: any)"},               \
        {"budget-total", OPTION_COINS, &(s).total, "most TON ever (0: any)"},                      \
        {"model", OPTION_TEXTS, &(s).models, "only these models (all)"},                           \
        {"max-coefficient", OPTION_NUMBER, &(s).coefficient,                                       \
         "default bid, in 1/1000 of the price book (1000)"},                                       \
    {                                                                                              \
        "max-output", OPTION_NUMBER, &(s).max_output, "most tokens of an answer (the gateway's)"   \
    }

/* Puts what was given into the body; max_output stands among the limits of keys. */
void settings_put(const struct settings *s, json_t *body, bool of_key);
/* body.name = value, when value ≥ 0; as text for money. */
void settings_number(json_t *body, const char *name, int64_t value);
void settings_money(json_t *body, const char *name, int64_t nano);
/* body.name = whether it is `yes`, where one of the two was given. -1, or an exit code after it was
 * said that both were. */
int settings_switch(const struct command *c, json_t *body, const char *name, bool yes, bool no);
json_t *settings_list(const struct option_texts *texts);

#endif
