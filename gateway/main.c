/* cocoon-gateway: arguments, configuration, signals, the loop. */
#include <signal.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/process.h"
#include "config/program.h"
#include "gateway/gateway.h"

static void on_signal(void *arg, int signo)
{
    if (signo == SIGHUP)
        gateway_reload(arg);
    else if (signo == SIGUSR2)
        gateway_upgrade(arg);
    else
        gateway_drain(arg, false);
}

static int run(struct gateway *g)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR2};

    log_init("cocoon-gateway", log_level_of(gateway_settings(g)->log_level));
    process_guard();
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
    static const struct program program = {
        .usage = PROGRAM_OPTIONS(
            "cocoon-gateway",
            "SIGHUP reads the settings again, all or nothing; SIGTERM drains and ends; SIGUSR2\n"
            "starts the program that now stands in its place, which takes over without a refused\n"
            "connection."),
        .example = "config/gateway.example.yaml",
        .settings = &gateway_config_table,
    };
    struct gateway g = {.argv = argv};
    const int status = program_begin(&program, argc, argv, &g.config, &g.config_file);

    return status >= 0 ? status : run(&g);
}
