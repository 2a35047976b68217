/* cocoonctl operator: the files that an operator's gateways share, the key that signs what it
 * publishes, and the pin that workers need. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/encode.h"
#include "base/random.h"
#include "crypto/hash.h"
#include "net/tls.h"
#include "tools/command.h"
#include "tools/key_file.h"

static int write_secret(const char *dir)
{
    AUTO(buf_fini) struct buf path = {0};
    uint8_t secret[KEY_FILE_SECRET_LEN];

    buf_printf(&path, "%s/cluster.secret", dir);
    random_bytes(secret, sizeof(secret));
    const int error = key_file_write(buf_cstr(&path), secret);
    crypto_wipe(secret, sizeof(secret));
    return error;
}

static int make_files(const struct command *c, const char *dir, unsigned days, uint8_t *pin)
{
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return failure(c, "%s cannot be made: %m", dir);
    int error = tls_operator_make(dir, days, pin);
    if (error == 0)
        error = write_secret(dir);
    if (error == E_EXISTS)
        return failure(c, "%s holds such files already; they are left as they are", dir);
    if (error < 0)
        return failure(c, "%s cannot be written (%s)", dir, error_name(error));
    return EXIT_DONE;
}

static void print_made(const char *dir, const char *pin, bool json)
{
    if (json) {
        printf("{\"pin\":\"%s\"}\n", pin);
        return;
    }
    printf("Made in %s: ca.pem and ca.key (keep the key offline), tunnel.pem and tunnel.key, "
           "cluster.secret.\n"
           "Gateways: tunnel.chain, tunnel.key and cluster_secret_file name the last three.\n"
           "Workers: the pin of this operator is\n%s\n",
           dir, pin);
}

static int operator_init(const struct command *c, int argc, char **argv)
{
    int64_t days = 3650;
    bool json = false;
    const struct option options[] = {
        {"days", OPTION_NUMBER, &days, "how long the certificates are valid (3650)"},
        {"json", OPTION_FLAG, &json, "print JSON"}};
    struct operands operands;
    uint8_t pin[TLS_SPKI_LEN];
    char text[2 * TLS_SPKI_LEN + 1];
    int code = options_parse(c, options, COUNT(options), argc, argv, 1, 1, &operands);

    if (code >= 0)
        return code;
    if (days < 1 || days > 36500)
        return usage_error(c, "--days must be from 1 to 36500");
    code = make_files(c, operands.items[0], (unsigned)days, pin);
    if (code != EXIT_DONE)
        return code;
    hex_encode(text, SPAN_OF(pin));
    print_made(operands.items[0], text, json);
    return EXIT_DONE;
}

static int operator_pin(const struct command *c, int argc, char **argv)
{
    struct operands operands;
    uint8_t pin[TLS_SPKI_LEN];
    char text[2 * TLS_SPKI_LEN + 1];
    const int code = options_parse(c, NULL, 0, argc, argv, 1, 1, &operands);

    if (code >= 0)
        return code;
    if (tls_pem_spki(operands.items[0], pin) < 0)
        return failure(c, "%s is no certificate in PEM; the operator's is ca.pem",
                       operands.items[0]);
    hex_encode(text, SPAN_OF(pin));
    printf("%s\n", text);
    return EXIT_DONE;
}

const struct command operator_commands[] = {
    {"operator", "init", "DIR", "Make an operator's CA, tunnel certificate and cluster secret.",
     operator_init},
    {"operator", "pin", "FILE.pem", "The pin of a CA certificate (ca.pem), for workers.",
     operator_pin},
    {"operator", "key", "FILE",
     "Make the key that signs /.well-known/cocoon.json and vouches for bill keys "
     "(operator_key_file); prints its public half.",
     key_file_make},
    {NULL, NULL, NULL, NULL, NULL},
};
