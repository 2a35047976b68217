/* Commands of cocoonctl, and the options each takes. */
#ifndef TOOLS_COMMAND_H
#define TOOLS_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct command {
    const char *group, *name; /* name "" where the group is the command */
    const char *operands;     /* "DIR", "KEY", "" */
    const char *help;         /* one line */
    int (*run)(const struct command *c, int argc,
               char **argv); /* arguments behind the name; an EXIT_… */
};

/* Each file's commands; the last entry has run NULL. */
extern const struct command key_commands[], operator_commands[], worker_commands[],
    gateway_commands[], attest_commands[], policy_commands[], receipt_commands[], pool_commands[],
    decide_commands[], standing_commands[], canary_commands[], demand_commands[],
    account_commands[], money_commands[], ledger_commands[];

enum option_type {
    OPTION_FLAG,    /* bool */
    OPTION_TEXT,    /* const char * */
    OPTION_TEXTS,   /* struct option_texts: may be given several times */
    OPTION_NUMBER,  /* int64_t ≥ 0 */
    OPTION_COINS,   /* int64_t, nano: "1.5" coins, exactly */
    OPTION_TIME,    /* uint64_t, Unix seconds: "90d", "12h", "2027-01-31", "2027-01-31T12:00:00Z" */
    OPTION_SINCE,   /* as OPTION_TIME, but a duration is so long ago */
    OPTION_DURATION /* uint64_t, seconds: "90d", "12h", "30m", "45s" */
};

enum { OPTION_TEXTS_MAX = 256 };
struct option_texts {
    const char *items[OPTION_TEXTS_MAX + 1]; /* NULL-terminated */
    size_t count;
};

struct option {
    const char *name; /* without "--" */
    enum option_type type;
    void *target;
    const char *help;
};

struct operands {
    char **items;
    size_t count;
};

/* "cocoonctl 0.1.0 (commit …)"; EXIT_DONE. */
int print_version(void);
/* Reads "--name value", "--name=value" and flags; what is left are operands, min to max of them.
 * -1: go on; else the command's exit code, after the help or what is wrong was printed. --help and
 * --version are known everywhere. */
int options_parse(const struct command *c, const struct option *options, size_t count, int argc,
                  char **argv, size_t min, size_t max, struct operands *out);
/* "cocoonctl keys create: <text>" on stderr and where to look on; EXIT_USAGE. */
int usage_error(const struct command *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* "cocoonctl keys create: <text>" on stderr; EXIT_FAILED. */
int failure(const struct command *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
