/* The command line that all programs share. */
#include "config/program.h"

#include <getopt.h>
#include <stdlib.h>

#include "base/version.h"

void program_version(const struct program *p)
{
    printf("%s %s (commit %s)\n", p->settings->program, cocoon_version, cocoon_commit);
}

void program_help(const struct program *p)
{
    printf("%s\n", p->usage);
    config_help(p->settings, stdout);
}

int program_misused(const struct program *p, const char *why)
{
    const char *name = p->settings->program;

    fprintf(stderr, "%s: %s\nTry: %s --config %s, or --help.\n", name, why, name, p->example);
    return PROGRAM_USAGE;
}

struct given {
    const char *file;
    bool check;
};

static int read_options(const struct program *p, int argc, char **argv, struct given *g)
{
    static const struct option longs[] = {
        {"config", required_argument, NULL, 'c'},
        {"check", no_argument, NULL, 'k'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},
        {NULL, 0, NULL, 0},
    };

    for (int o; (o = getopt_long(argc, argv, "c:hv", longs, NULL)) != -1;) {
        if (o == 'h') {
            program_help(p);
            return EXIT_SUCCESS;
        }
        if (o == 'v') {
            program_version(p);
            return EXIT_SUCCESS;
        }
        if (o == '?')
            return program_misused(p, "that option does not exist, or lacks its value");
        g->check = g->check || o == 'k';
        g->file = o == 'c' ? optarg : g->file;
    }
    if (optind < argc)
        return program_misused(p, "it takes options only");
    return g->file ? -1 : program_misused(p, "--config FILE is missing");
}

int program_begin(const struct program *p, int argc, char **argv, struct config_snapshot **config,
                  const char **file)
{
    AUTO(buf_fini) struct buf why = {0};
    struct given g = {0};
    const int status = read_options(p, argc, argv, &g);

    if (status >= 0)
        return status;
    if (config_load(config, p->settings, g.file, &why) < 0) {
        fprintf(stderr, "%s: the settings are wrong:\n%s", p->settings->program, buf_cstr(&why));
        return PROGRAM_USAGE;
    }
    *file = g.file;
    if (!g.check)
        return -1;
    puts("settings are fine");
    config_unref(*config);
    return EXIT_SUCCESS;
}
