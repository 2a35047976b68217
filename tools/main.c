/* cocoonctl: accounts, keys, money, operator's files, workers, gateways, evidence and receipts from
 * the command line. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "tools/command.h"

static const struct command *const tables[] = {
    key_commands,    operator_commands, worker_commands,  gateway_commands, attest_commands,
    policy_commands, receipt_commands,  pool_commands,    decide_commands,  standing_commands,
    canary_commands, demand_commands,   account_commands, money_commands,   ledger_commands};
enum { TABLES = sizeof(tables) / sizeof(tables[0]) };

static void print_commands(const char *group, FILE *out)
{
    char left[64];

    for (size_t i = 0; i < TABLES; i++) {
        for (const struct command *c = tables[i]; c->run; c++) {
            if (group && strcmp(group, c->group) != 0)
                continue;
            snprintf(left, sizeof(left), "%s%s%s%s%s", c->group, *c->name ? " " : "", c->name,
                     *c->operands ? " " : "", c->operands);
            fprintf(out, "  cocoonctl %-34s  %s\n", left, c->help);
        }
    }
}

static int print_help(const char *group, FILE *out)
{
    fprintf(out, "Usage: cocoonctl COMMAND [options]\n\n");
    print_commands(group, out);
    fprintf(out, "\nEach command explains its options with --help. cocoonctl --version\n");
    return out == stderr ? EXIT_USAGE : EXIT_DONE;
}

// The command that the words name; *used tells how many they are.
static const struct command *find_command(int argc, char **argv, int *used, bool *group)
{
    *group = false;
    for (size_t i = 0; i < TABLES; i++) {
        for (const struct command *c = tables[i]; c->run; c++) {
            if (strcmp(c->group, argv[1]) != 0)
                continue;
            *group = true;
            *used = *c->name ? 3 : 2;
            if (!*c->name || (argc > 2 && strcmp(c->name, argv[2]) == 0))
                return c;
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    bool group;
    int used;

    log_init("cocoonctl", LOG_ERROR);
    if (argc < 2)
        return print_help(NULL, stderr);
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-v") == 0)
        return print_version();
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0)
        return print_help(NULL, stdout);
    const struct command *c = find_command(argc, argv, &used, &group);
    if (c)
        return c->run(c, argc - used, argv + used);
    if (group && argc > 2 && strcmp(argv[2], "--help") == 0)
        return print_help(argv[1], stdout);
    if (argc > 2 && strcmp(argv[2], "--version") == 0)
        return print_version();
    fprintf(stderr, "cocoonctl: no such command: %s%s%s\n", argv[1], group && argc > 2 ? " " : "",
            group && argc > 2 ? argv[2] : "");
    return print_help(group ? argv[1] : NULL, stderr);
}
