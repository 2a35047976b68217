/* cocoonctl operator: the files that an operator's gateways share, the key that signs what it
 * publishes, and the pin that workers need. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/random.h"
#include "crypto/ed25519.h"
#include "crypto/hash.h"
#include "net/tls.h"
#include "tools/command.h"

enum { SECRET_LEN = 32 };

/* As hex digits in a new file of its owner alone. */
static int write_hex(const char *path, const uint8_t secret[static SECRET_LEN])
{
    char text[2 * SECRET_LEN + 1]; // a line feed in the place of the terminator
    const size_t len = sizeof(text);
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0)
        return errno == EEXIST ? E_EXISTS : E_IO;
    hex_encode(text, span_of(secret, SECRET_LEN));
    text[len - 1] = '\n';
    const bool good = write(fd, text, len) == (ssize_t)len && fsync(fd) == 0;
    crypto_wipe(text, sizeof(text));
    return close(fd) == 0 && good ? 0 : E_IO;
}

static int write_secret(const char *dir)
{
    AUTO(buf_fini) struct buf path = {0};
    uint8_t secret[SECRET_LEN];

    buf_printf(&path, "%s/cluster.secret", dir);
    random_bytes(secret, sizeof(secret));
    const int error = write_hex(buf_cstr(&path), secret);
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

/* The seed into the file, and what is to be told of it. */
static int key_make(const char *path, uint8_t public[static ED25519_KEY_LEN])
{
    AUTO(ed25519_free) struct ed25519 *key = NULL;
    uint8_t seed[SECRET_LEN];

    random_bytes(seed, sizeof(seed));
    int error = ed25519_from_seed(&key, SPAN_OF(seed));
    if (error == 0)
        error = write_hex(path, seed);
    crypto_wipe(seed, sizeof(seed));
    TRY(error);
    ed25519_public(key, public);
    return 0;
}

static int operator_key(const struct command *c, int argc, char **argv)
{
    struct operands operands;
    uint8_t public[ED25519_KEY_LEN];
    char text[2 * ED25519_KEY_LEN + 1];
    const int code = options_parse(c, NULL, 0, argc, argv, 1, 1, &operands);

    if (code >= 0)
        return code;
    const int error = key_make(operands.items[0], public);
    if (error == E_EXISTS)
        return failure(c, "%s is there already; it is left as it is", operands.items[0]);
    if (error < 0)
        return failure(c, "%s cannot be written (%s)", operands.items[0], error_name(error));
    hex_encode(text, SPAN_OF(public));
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
     operator_key},
    {NULL, NULL, NULL, NULL, NULL},
};
