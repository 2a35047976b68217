/* cocoon-devtee: issues dev evidence from the command line. Options and commands. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "attest/keyset.h"
#include "base/log.h"
#include "base/version.h"
#include "devtee/commands.h"

enum { EXIT_USAGE = 2 };

static const char usage_text[] =
    "usage: cocoon-devtee init  --seed-file FILE --out DIR [--config-sha256 HEX] [--model-digest "
    "DIGEST]\n"
    "       cocoon-devtee serve --seed-file FILE --socket PATH [--fault NAME]...\n"
    "       cocoon-devtee quote --seed-file FILE --report-data HEX [--fault NAME]...\n"
    "       cocoon-devtee collateral --seed-file FILE [--fault NAME]...\n"
    "\n"
    "Insecure by design: evidence for development and tests, under a root of its own, that no\n"
    "production policy accepts.\n"
    "\n"
    "  init        writes root.pem, collateral.json, policy.json, policy.json.sig, release.pub "
    "and\n"
    "              event_log.bin; makes FILE when it is not there\n"
    "  serve       answers 64 bytes of report data with a length (4 bytes, big-endian) and a "
    "quote\n"
    "  quote       prints a quote in hex\n"
    "  collateral  prints collateral as JSON\n"
    "\n"
    "  --seed-file FILE     64 hex digits, from which all keys follow\n"
    "  --build-id TEXT      what the trust domain runs; it makes MRTD (default: the version)\n"
    "  --out DIR            an existing folder\n"
    "  --config-sha256 HEX  pinned by the policy (default: any)\n"
    "  --model-digest D     sha256:HEX or verity:HEX, pinned by the policy (default: any)\n"
    "  --socket PATH        UNIX socket\n"
    "  --report-data HEX    64 bytes\n"
    "  --fault NAME         what quote or collateral get wrong; may be repeated\n"
    "  --list-faults        their names, the reason of the refusal, and what they are\n"
    "  --help, --version\n";

static int list_faults(void)
{
    for (const struct devtee_fault *it = devtee_fault_table; it->name; it++)
        printf("%-40s %-30s %s\n", it->name, attest_reason_name(it->reason), it->help);
    return EXIT_SUCCESS;
}

static const struct command {
    const char *name;
    int (*run)(const struct devtee_options *o);
    const char *needs; /* beside the seed; NULL: nothing */
    size_t needed;
} commands[] = {
    {"init", devtee_init, "--out", offsetof(struct devtee_options, out)},
    {"serve", devtee_serve, "--socket", offsetof(struct devtee_options, socket)},
    {"quote", devtee_print_quote, "--report-data", offsetof(struct devtee_options, report_data)},
    {"collateral", devtee_print_collateral, NULL, 0},
};

static const struct option longs[] = {
    {"seed-file", required_argument, NULL, 's'},
    {"build-id", required_argument, NULL, 'b'},
    {"out", required_argument, NULL, 'o'},
    {"config-sha256", required_argument, NULL, 'c'},
    {"model-digest", required_argument, NULL, 'm'},
    {"socket", required_argument, NULL, 'u'},
    {"report-data", required_argument, NULL, 'r'},
    {"fault", required_argument, NULL, 'f'},
    {"list-faults", no_argument, NULL, 'l'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'v'},
    {NULL, 0, NULL, 0},
};

static int usage_error(const char *what, const char *of)
{
    fprintf(stderr, "cocoon-devtee: %s%s%s\ntry: cocoon-devtee --help\n", what, *of ? ": " : "",
            of);
    return EXIT_USAGE;
}

/* -1: go on; else the exit status. */
static int take_option(int c, struct devtee_options *o)
{
    const char **const texts[] = {
        ['s'] = &o->seed_file,     ['b'] = &o->build_id,     ['o'] = &o->out,
        ['c'] = &o->config_sha256, ['m'] = &o->model_digest, ['u'] = &o->socket,
        ['r'] = &o->report_data};

    switch (c) {
    case 'f':
        if (devtee_fault_add(&o->faults, optarg) < 0)
            return usage_error("no such fault (see --list-faults)", optarg);
        return -1;
    case 'l':
        return list_faults();
    case 'h':
        fputs(usage_text, stdout);
        return EXIT_SUCCESS;
    case 'v':
        printf("cocoon-devtee %s (commit %s)\n", cocoon_version, cocoon_commit);
        return EXIT_SUCCESS;
    case '?':
        return usage_error("these options are not understood", "");
    default:
        *texts[c] = optarg;
        return -1;
    }
}

static int run_command(const struct command *c, const struct devtee_options *o)
{
    const char *needed = *(const char *const *)((const char *)o + c->needed);

    if (!o->seed_file || (c->needs && !needed))
        return usage_error("an option is missing", o->seed_file ? c->needs : "--seed-file");
    if (o->config_sha256 && !keyset_config_good(span_str(o->config_sha256)))
        return usage_error("64 hex digits are needed, in lower case", "--config-sha256");
    if (o->model_digest && !keyset_model_digest_good(span_str(o->model_digest)))
        return usage_error("sha256: or verity: and 64 hex digits are needed", "--model-digest");
    return c->run(o);
}

int main(int argc, char **argv)
{
    struct devtee_options o = {.build_id = cocoon_version};
    int c;

    log_init("devtee", LOG_INFO);
    while ((c = getopt_long(argc, argv, "hv", longs, NULL)) != -1) {
        const int status = take_option(c, &o);
        if (status >= 0)
            return status;
    }
    if (argc - optind != 1)
        return usage_error("one command is needed: init, serve, quote or collateral", "");
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(argv[optind], commands[i].name) == 0)
            return run_command(&commands[i], &o);
    return usage_error("no such command", argv[optind]);
}
