/* cocoon-client: OpenAI's API on this machine, encrypted end to end to workers that it has verified
 * itself. Options, start-up and the way down. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/process.h"
#include "base/wiped.h"
#include "client/proxy.h"
#include "config/check.h"
#include "config/program.h"

enum { KEYS_MAX = 16 };

static const struct program program = {
    .usage = "usage: cocoon-client --gateway URL --policy FILE --release-key HEX ... [options]\n"
             "\n"
             "  --gateway URL      https://host, http://host:port or unix:/path\n"
             "  --policy FILE      which workers are accepted; its signature stands in FILE.sig. "
             "SIGHUP\n"
             "                     reads it again: all or nothing\n"
             "  --release-key HEX  a key that signs policies; may be given several times\n"
             "  --listen ADDRESS   where applications reach it (127.0.0.1:10000)\n"
             "  --key-file FILE    this client's own secret, made when it is not there\n"
             "  --save-receipts DIR\n"
             "                     keep requests, answers and what proves them: in clear\n"
             "  --insecure-dev     accept a policy for development: nothing is confidential then\n"
             "  --config FILE      settings (YAML), see below; options come first\n"
             "  --check            read settings and policy, say what is wrong, and leave\n"
             "  --help             this text\n"
             "  --version          version and commit\n"
             "\n"
             "Then: OPENAI_BASE_URL=http://127.0.0.1:10000/v1 with the API key of the gateway.\n",
    .example = "config/client.example.yaml",
    .settings = &client_config_table,
};

struct options {
    const char *config;
    struct client_config given; /* NULL members: not given */
    const char *keys[KEYS_MAX];
    size_t key_count;
    bool check;
};

/* The value of one option. False: it is none that has a value. */
static bool take_value(struct options *o, int c, const char *value)
{
    if (c == 'c')
        o->config = value;
    else if (c == 'g')
        o->given.gateway = value;
    else if (c == 'p')
        o->given.policy = value;
    else if (c == 'l')
        o->given.listen = value;
    else if (c == 's')
        o->given.save_receipts = value;
    else if (c == 'f')
        o->given.key_file = value;
    else if (c == 'r' && o->key_count < KEYS_MAX)
        o->keys[o->key_count++] = value;
    else
        return false;
    return true;
}

/* Returns the exit status, or -1 to go on. */
static int read_options(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"gateway", required_argument, NULL, 'g'},
        {"policy", required_argument, NULL, 'p'},
        {"release-key", required_argument, NULL, 'r'},
        {"listen", required_argument, NULL, 'l'},
        {"key-file", required_argument, NULL, 'f'},
        {"save-receipts", required_argument, NULL, 's'},
        {"insecure-dev", no_argument, NULL, 'd'},
        {"config", required_argument, NULL, 'c'},
        {"check", no_argument, NULL, 'k'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},
        {NULL, 0, NULL, 0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "c:hv", longs, NULL)) != -1) {
        if (c == 'k') {
            o->check = true;
        } else if (c == 'd') {
            o->given.insecure_dev = true;
        } else if (c == 'h') {
            program_help(&program);
            return EXIT_SUCCESS;
        } else if (c == 'v') {
            program_version(&program);
            return EXIT_SUCCESS;
        } else if (!take_value(o, c, optarg)) {
            return program_misused(&program, "that option does not exist, or lacks its value");
        }
    }
    if (optind == argc)
        return -1;
    return program_misused(&program, "it takes options only");
}

static bool is_fine(const char *option, const char *value, const char *(*check)(const char *))
{
    const char *wrong = value ? check(value) : NULL;

    if (wrong)
        fprintf(stderr, "cocoon-client: %s: %s\n", option, wrong);
    return !wrong;
}

static const char *something(const char *text)
{
    return text[0] ? NULL : "is missing; try: cocoon-client --help";
}

/* The options' values in place of the file's; then what must be there. */
static bool merge(struct client_config *s, struct options *o)
{
    bool fine = is_fine("--listen", o->given.listen, setting_listen_local) &&
                is_fine("--gateway", o->given.gateway, setting_gateway_url);

    s->listen = o->given.listen ? o->given.listen : s->listen;
    s->gateway = o->given.gateway ? o->given.gateway : s->gateway;
    s->policy = o->given.policy ? o->given.policy : s->policy;
    s->key_file = o->given.key_file ? o->given.key_file : s->key_file;
    s->save_receipts = o->given.save_receipts ? o->given.save_receipts : s->save_receipts;
    s->insecure_dev = s->insecure_dev || o->given.insecure_dev;
    if (o->key_count > 0)
        s->release_keys = (struct config_strings){o->keys, o->key_count};
    for (size_t i = 0; i < o->key_count; i++)
        fine = fine && is_fine("--release-key", o->keys[i], setting_pin);
    return fine && is_fine("--gateway", s->gateway, something) &&
           is_fine("--policy", s->policy, something) &&
           is_fine("--release-key", s->release_keys.count > 0 ? "one" : "", something);
}

static void on_signal(void *arg, int signo)
{
    if (signo == SIGHUP)
        proxy_reload(arg);
    else
        proxy_drain(arg);
}

static int start(struct proxy *p, bool check, char why[static 300])
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};

    list_init(&p->calls);
    idempotency_init(&p->idempotency);
    if (loop_new(&p->loop) < 0 ||
        loop_signals(p->loop, signals, sizeof(signals) / sizeof(signals[0]), on_signal, p) < 0) {
        snprintf(why, 300, "The event loop could not be started.");
        return E_IO;
    }
    TRY(proxy_start(p, why));
    return check ? 0 : proxy_listen(p, why);
}

static int run(const struct client_config *s, bool check)
{
    struct proxy p = {.config = s};
    char why[300] = "";
    const int error = start(&p, check, why);

    if (error < 0)
        fprintf(stderr, "cocoon-client: %s\n", why);
    else if (check)
        puts("ok");
    else
        loop_run(p.loop);
    if (p.loop) {
        proxy_stop(&p);
        loop_free(p.loop);
    }
    return error < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    AUTO(buf_fini) struct buf why = {0};
    struct config_snapshot *config = NULL;
    struct options options = {0};

    int status = read_options(argc, argv, &options);
    if (status >= 0)
        return status;
    if (config_load(&config, &client_config_table, options.config ? options.config : "/dev/null",
                    &why) < 0) {
        fprintf(stderr, "cocoon-client: the settings are wrong:\n%s\n", buf_cstr(&why));
        return PROGRAM_USAGE;
    }
    struct client_config settings = *(const struct client_config *)config->values;
    if (merge(&settings, &options)) {
        log_init("client", log_level_of(settings.log_level));
        process_guard();
        wiped_json();
        status = run(&settings, options.check);
    } else {
        status = PROGRAM_USAGE;
    }
    config_unref(config);
    return status;
}
