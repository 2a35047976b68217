/* cocoon-gateway: arguments, configuration, signals, the loop. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "gateway/gateway.h"
#include "base/log.h"
#include "base/version.h"

enum { EXIT_USAGE = 2 };

static void help(FILE *out)
{
    fputs("cocoon-gateway: OpenAI API in front of a pool of attested workers\n\n"
          "usage: cocoon-gateway --config FILE [--check]\n\n"
          "  --config FILE  settings in YAML (config/gateway.example.yaml shows all of them)\n"
          "  --check        read the settings, say what is wrong, and exit\n"
          "  --help         this text\n"
          "  --version      version and commit\n\n"
          "SIGHUP reads the settings again, all or nothing; SIGTERM drains and ends.\n\n",
          out);
    config_help(&gateway_config_table, out);
}

static int usage(const char *why)
{
    fprintf(stderr,
            "cocoon-gateway: %s\nTry: cocoon-gateway --config config/gateway.example.yaml, or "
            "--help.\n",
            why);
    return EXIT_USAGE;
}

static enum log_level level_of(const char *name)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (strcmp(names[i], name) == 0)
            return (enum log_level)i;
    return LOG_INFO;
}

/* No core file, no ptrace by others: prompts pass through this process. */
static void guard_memory(void)
{
    const struct rlimit none = {0, 0};

    if (prctl(PR_SET_DUMPABLE, 0) < 0 || setrlimit(RLIMIT_CORE, &none) < 0)
        log_event(LOG_WARN, "memory_unguarded", "note=core-files-could-not-be-switched-off");
}

static void on_signal(void *arg, int signo)
{
    if (signo == SIGHUP)
        gateway_reload(arg);
    else
        gateway_drain(arg);
}

static int run(struct gateway *g)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};

    log_init("cocoon-gateway", level_of(gateway_settings(g)->log_level));
    guard_memory();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a journal that may not grow is refused by write(2) */
    int error = gateway_start(g);
    if (error == 0)
        error = loop_signals(g->loop, signals, sizeof(signals) / sizeof(*signals), on_signal, g);
    if (error == 0) {
        gateway_ready(g);
        loop_run(g->loop);
    }
    gateway_stop(g);
    return error == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"check", no_argument, NULL, 'k'},
                                            {"help", no_argument, NULL, 'h'},
                                            {"version", no_argument, NULL, 'v'},
                                            {0}};
    struct gateway g = {0};
    struct buf why = {0};
    bool check = false;

    for (int o; (o = getopt_long(argc, argv, "c:hv", options, NULL)) != -1;) {
        if (o == 'h') {
            help(stdout);
            return EXIT_SUCCESS;
        }
        if (o == 'v') {
            printf("cocoon-gateway %s (commit %s)\n", cocoon_version, cocoon_commit);
            return EXIT_SUCCESS;
        }
        if (o == '?')
            return usage("that option does not exist");
        check = check || o == 'k';
        g.config_file = o == 'c' ? optarg : g.config_file;
    }
    if (optind < argc)
        return usage("it takes options only");
    if (!g.config_file)
        return usage("--config FILE is missing");
    if (config_load(&g.config, &gateway_config_table, g.config_file, &why) < 0) {
        fprintf(stderr, "%s", buf_cstr(&why));
        buf_fini(&why);
        return EXIT_USAGE;
    }
    if (!check)
        return run(&g);
    puts("settings are fine");
    config_unref(g.config);
    return EXIT_SUCCESS;
}
