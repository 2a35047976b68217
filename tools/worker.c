/* cocoonctl worker: what the owner of a machine sees and sets of his running worker. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/worker_config.h"
#include "tools/admin.h"
#include "tools/command.h"
#include "tools/output.h"

#define DEFAULT_SOCKET "unix:/run/cocoon-worker/admin.sock"
#define SOCKET_HELP    "the worker's admin socket ($COCOON_WORKER_ADMIN)"

static const char *default_socket(void)
{
    const char *socket = getenv("COCOON_WORKER_ADMIN");

    return socket && *socket ? socket : DEFAULT_SOCKET;
}

static int print_answer(json_t *doc, bool json, const char *otherwise)
{
    if (doc && json)
        json_print(doc);
    else if (doc)
        json_print_flat(doc);
    else
        printf("%s\n", otherwise);
    return EXIT_DONE;
}

static int ask(const struct command *c, int argc, char **argv, const char *method, const char *path,
               const char *done)
{
    const char *socket = default_socket();
    bool json = false;
    const struct option options[] = {{"socket", OPTION_TEXT, &socket, SOCKET_HELP},
                                     {"json", OPTION_FLAG, &json, "print JSON"}};
    struct operands operands;
    int code = options_parse(c, options, COUNT(options), argc, argv, 0, 0, &operands);
    AUTO_JSON json_t *doc = NULL;

    if (code < 0)
        code = admin_ask(c, socket, "--socket", method, path, NULL, &doc);
    return code >= 0 ? code : print_answer(doc, json, done);
}

static int worker_status(const struct command *c, int argc, char **argv)
{
    return ask(c, argc, argv, "GET", "/status.json", "No status.");
}

static int worker_drain(const struct command *c, int argc, char **argv)
{
    return ask(c, argc, argv, "POST", "/drain", "Takes nothing new; what runs is finished.");
}

static int worker_resume(const struct command *c, int argc, char **argv)
{
    return ask(c, argc, argv, "POST", "/resume", "Takes requests again.");
}

// ---- set ----------------------------------------------------------------------------------------

static const struct config_field *find_field(struct span name)
{
    static const char *const settable[] = {"max_requests", "ask",       "max_watts", "hours.mon",
                                           "hours.tue",    "hours.wed", "hours.thu", "hours.fri",
                                           "hours.sat",    "hours.sun"};
    bool known = false;

    for (size_t i = 0; i < COUNT(settable); i++)
        known = known || span_is(name, settable[i]);
    for (size_t i = 0; known && i < worker_config_table.count; i++) {
        if (span_is(name, worker_config_table.fields[i].name))
            return &worker_config_table.fields[i];
    }
    return NULL;
}

static int add_number(const struct command *c, json_t *out, const struct config_field *f,
                      const char *text)
{
    uint64_t number;

    if (span_u64(span_str(text), INT64_MAX, &number) < 0 || (int64_t)number < f->min ||
        (int64_t)number > f->max)
        return usage_error(c, "%s must be a whole number from %lld to %lld", f->name,
                           (long long)f->min, (long long)f->max);
    json_object_set_new(out, f->name, json_integer((json_int_t)number));
    return -1;
}

static int add_hours(const struct command *c, json_t *out, const struct config_field *f,
                     const char *text)
{
    const char *wrong = f->check(text);

    if (wrong)
        return usage_error(c, "%s %s", f->name, wrong);
    if (!json_object_get(out, "hours"))
        json_object_set_new(out, "hours", json_object());
    json_object_set_new(json_object_get(out, "hours"), strchr(f->name, '.') + 1, json_string(text));
    return -1;
}

static int add_all_hours(const struct command *c, json_t *out, const char *text)
{
    static const char *const days[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
    char name[16];
    int code = -1;

    for (size_t i = 0; code < 0 && i < COUNT(days); i++) {
        snprintf(name, sizeof(name), "hours.%s", days[i]);
        code = add_hours(c, out, find_field(span_str(name)), text);
    }
    return code;
}

static int add_setting(const struct command *c, json_t *out, const char *operand)
{
    struct span rest = span_str(operand);
    const char *equals = strchr(operand, '=');
    const struct span name = span_split(&rest, '=');

    if (!equals)
        return usage_error(c, "write NAME=VALUE, not \"%s\"", operand);
    if (span_is(name, "hours"))
        return add_all_hours(c, out, equals + 1);
    const struct config_field *f = find_field(name);
    if (!f)
        return usage_error(c,
                           "\"%.*s\" cannot be set; max_requests, ask, max_watts, hours and "
                           "hours.mon to hours.sun can",
                           SPAN_FMT(name));
    return f->type == CONFIG_INT ? add_number(c, out, f, equals + 1)
                                 : add_hours(c, out, f, equals + 1);
}

static int worker_set(const struct command *c, int argc, char **argv)
{
    const char *socket = default_socket();
    bool json = false;
    const struct option options[] = {{"socket", OPTION_TEXT, &socket, SOCKET_HELP},
                                     {"json", OPTION_FLAG, &json, "print JSON"}};
    struct operands operands;
    int code = options_parse(c, options, COUNT(options), argc, argv, 1, 64, &operands);
    AUTO_JSON json_t *settings = json_object();
    AUTO_JSON json_t *doc = NULL;

    for (size_t i = 0; code < 0 && i < operands.count; i++)
        code = add_setting(c, settings, operands.items[i]);
    if (code >= 0)
        return code;
    char *body = json_dumps(settings, JSON_COMPACT);
    code = admin_ask(c, socket, "--socket", "POST", "/settings", body, &doc);
    free(body);
    return code >= 0 ? code
                     : print_answer(doc, json,
                                    "Set until the worker reads its file again (start, SIGHUP); "
                                    "the file is unchanged.");
}

const struct command worker_commands[] = {
    {"worker", "status", "", "What the worker beside us does.", worker_status},
    {"worker", "drain", "", "Take nothing new.", worker_drain},
    {"worker", "resume", "", "Take requests again.", worker_resume},
    {"worker", "set", "NAME=VALUE...", "Change max_requests, ask, max_watts, hours or hours.DAY.",
     worker_set},
    {NULL, NULL, NULL, NULL, NULL},
};
