/* Options and operands of a command: reading, help, and what is wrong with them. */
#include "tools/command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/span.h"
#include "base/version.h"

static void print_name(const struct command *c, FILE *out)
{
    fprintf(out, "cocoonctl %s%s%s", c->group, *c->name ? " " : "", c->name);
}

__attribute__((format(printf, 2, 0))) static void complain(const struct command *c, const char *fmt,
                                                           va_list args)
{
    print_name(c, stderr);
    fputs(": ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
}

int usage_error(const struct command *c, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    complain(c, fmt, args);
    va_end(args);
    fputs("Try: ", stderr);
    print_name(c, stderr);
    fputs(" --help\n", stderr);
    return EXIT_USAGE;
}

int failure(const struct command *c, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    complain(c, fmt, args);
    va_end(args);
    return EXIT_FAILED;
}

static const char *value_word(enum option_type type)
{
    static const char *const words[] = {
        [OPTION_FLAG] = "",
        [OPTION_TEXT] = " TEXT",
        [OPTION_TEXTS] = " TEXT ...",
        [OPTION_NUMBER] = " NUMBER",
        [OPTION_COINS] = " TON",
        [OPTION_TIME] = " DATE|DURATION",
        [OPTION_SINCE] = " DATE|DURATION",
        [OPTION_DURATION] = " DURATION",
    };

    return words[type];
}

int print_version(void)
{
    printf("cocoonctl %s (commit %s)\n", cocoon_version, cocoon_commit);
    return EXIT_DONE;
}

static int print_help(const struct command *c, const struct option *options, size_t count)
{
    char left[64];

    fputs("Usage: ", stdout);
    print_name(c, stdout);
    printf("%s%s%s\n%s\n\n", count ? " [options]" : "", *c->operands ? " " : "", c->operands,
           c->help);
    for (size_t i = 0; i < count; i++) {
        snprintf(left, sizeof(left), "--%s%s", options[i].name, value_word(options[i].type));
        printf("  %-30s  %s\n", left, options[i].help);
    }
    printf("  %-30s  %s\n", "--help", "this text");
    printf(
        "\nDurations are 45s, 30m, 12h or 90d; dates 2027-01-31 or 2027-01-31T12:00:00Z (UTC).\n");
    return EXIT_DONE;
}

// At most nine decimals: no rounding, ever.
static bool read_coins(const char *text, int64_t *nano)
{
    struct span decimals = span_str(text);
    const struct span whole = span_split(&decimals, '.');
    char padded[10] = "000000000";
    uint64_t coins, part = 0;

    if (decimals.len > 9 || (strchr(text, '.') && decimals.len == 0) ||
        span_u64(whole, 9007199, &coins) < 0)
        return false;
    for (size_t i = 0; i < decimals.len; i++) {
        if (decimals.data[i] < '0' || decimals.data[i] > '9')
            return false;
        padded[i] = (char)decimals.data[i];
    }
    for (size_t i = 0; i < 9; i++)
        part = part * 10 + (uint64_t)(padded[i] - '0');
    *nano = (int64_t)(coins * 1000000000 + part);
    return true;
}

static bool read_duration(const char *text, uint64_t *out)
{
    const struct span s = span_str(text);
    uint64_t number;

    if (s.len < 2 || span_u64(span_cut(s, 0, s.len - 1), 100000000, &number) < 0)
        return false;
    switch (s.data[s.len - 1]) {
    case 's':
        *out = number;
        return true;
    case 'm':
        *out = number * 60;
        return true;
    case 'h':
        *out = number * 3600;
        return true;
    case 'd':
        *out = number * 86400;
        return true;
    default:
        return false;
    }
}

static bool read_time(const char *text, uint64_t *out)
{
    if (!read_duration(text, out))
        return clock_date_parse(span_str(text), out) == 0;
    *out += clock_wall_ms() / 1000;
    return true;
}

static bool read_since(const char *text, uint64_t *out)
{
    const uint64_t now_s = clock_wall_ms() / 1000;

    if (!read_duration(text, out))
        return clock_date_parse(span_str(text), out) == 0;
    *out = *out < now_s ? now_s - *out : 1;
    return true;
}

// Sets the option from its value; what the value should have been, or NULL.
static const char *set_option(const struct option *o, const char *value)
{
    struct option_texts *texts = o->target;
    uint64_t number;

    switch (o->type) {
    case OPTION_FLAG:
        *(bool *)o->target = true;
        return NULL;
    case OPTION_TEXT:
        *(const char **)o->target = value;
        return NULL;
    case OPTION_TEXTS:
        if (texts->count == OPTION_TEXTS_MAX)
            return "given at most 256 times";
        texts->items[texts->count++] = value;
        return NULL;
    case OPTION_NUMBER:
        if (span_u64(span_str(value), INT32_MAX, &number) < 0)
            return "a whole number";
        *(int64_t *)o->target = (int64_t)number;
        return NULL;
    case OPTION_COINS:
        return read_coins(value, o->target) ? NULL : "an amount such as 5 or 0.25";
    case OPTION_TIME:
        return read_time(value, o->target) ? NULL : "a date (2027-01-31) or a duration (90d)";
    case OPTION_SINCE:
        return read_since(value, o->target) ? NULL : "a date (2027-01-31) or a duration (90d)";
    case OPTION_DURATION:
        return read_duration(value, o->target) ? NULL : "a duration such as 45s, 30m, 12h or 90d";
    }
    return NULL;
}

static const struct option *find_option(const struct option *options, size_t count,
                                        struct span name)
{
    for (size_t i = 0; i < count; i++) {
        if (span_is(name, options[i].name))
            return &options[i];
    }
    return NULL;
}

// Reads the option at argv[*i], which begins with "--"; -1: go on.
static int take_option(const struct command *c, const struct option *options, size_t count,
                       int argc, char **argv, int *i)
{
    struct span value = span_str(argv[*i] + 2);
    const bool joined = strchr(argv[*i], '=') != NULL;
    const struct span name = span_split(&value, '=');
    const struct option *o = find_option(options, count, name);

    if (!o)
        return usage_error(c, "no such option: --%.*s", SPAN_FMT(name));
    if (o->type == OPTION_FLAG && joined)
        return usage_error(c, "--%s takes no value", o->name);
    const char *text = joined ? strchr(argv[*i], '=') + 1 : NULL;
    if (o->type != OPTION_FLAG && !joined) {
        if (*i + 1 >= argc)
            return usage_error(c, "--%s needs a value", o->name);
        text = argv[++*i];
    }
    const char *wrong = set_option(o, text);
    return wrong ? usage_error(c, "--%s must be %s", o->name, wrong) : -1;
}

int options_parse(const struct command *c, const struct option *options, size_t count, int argc,
                  char **argv, size_t min, size_t max, struct operands *out)
{
    bool only_operands = false;

    *out = (struct operands){.items = argv};
    for (int i = 0; i < argc; i++) {
        if (!only_operands && strcmp(argv[i], "--help") == 0)
            return print_help(c, options, count);
        if (!only_operands && strcmp(argv[i], "--version") == 0)
            return print_version();
        if (only_operands || strncmp(argv[i], "--", 2) != 0) {
            argv[out->count++] = argv[i];
        } else if (!argv[i][2]) {
            only_operands = true;
        } else {
            const int code = take_option(c, options, count, argc, argv, &i);
            if (code >= 0)
                return code;
        }
    }
    if (out->count < min)
        return usage_error(c, "%s is missing", c->operands);
    if (out->count > max)
        return usage_error(c, "what is \"%s\"?", out->items[max]);
    return -1;
}
