/* Commands that write files or print: init, quote, collateral. */
#include "devtee/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "attest/collateral.h"
#include "attest/policy.h"
#include "base/encode.h"
#include "base/random.h"
#include "crypto/detached.h"

enum { SEED_TEXT_LEN = 2 * DEVTEE_SEED_LEN };

int devtee_failure(const char *what, const char *of)
{
    const int error = errno;

    fprintf(stderr, "cocoon-devtee: %s: %s%s%s\n", what, of, error ? ": " : "",
            error ? strerror(error) : "");
    return EXIT_FAILURE;
}

/* ---- Files ---- */

static int write_file(const char *path, struct span bytes, mode_t mode, int flags)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, mode);

    if (fd < 0)
        return E_IO;
    const ssize_t n = write(fd, bytes.data, bytes.len);
    return close(fd) == 0 && n == (ssize_t)bytes.len ? 0 : E_IO;
}

static int read_seed(const char *path, uint8_t seed[static DEVTEE_SEED_LEN])
{
    uint8_t text[SEED_TEXT_LEN + 2];
    const int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return E_IO;
    const ssize_t n = read(fd, text, sizeof(text));
    close(fd);
    errno = 0;
    if (n == SEED_TEXT_LEN + 1 && text[SEED_TEXT_LEN] != '\n')
        return E_INVALID;
    return n == SEED_TEXT_LEN || n == SEED_TEXT_LEN + 1
               ? hex_decode(seed, DEVTEE_SEED_LEN, span_of(text, SEED_TEXT_LEN))
               : E_INVALID;
}

static int make_seed(const char *path, uint8_t seed[static DEVTEE_SEED_LEN])
{
    char text[SEED_TEXT_LEN + 1];

    random_bytes(seed, DEVTEE_SEED_LEN);
    hex_encode(text, span_of(seed, DEVTEE_SEED_LEN));
    text[SEED_TEXT_LEN] = '\n';
    return write_file(path, SPAN_OF(text), 0600, O_EXCL);
}

struct devtee_issuer *devtee_open(const struct devtee_options *o, bool make)
{
    uint8_t seed[DEVTEE_SEED_LEN];
    int error = read_seed(o->seed_file, seed);

    if (error == E_IO && errno == ENOENT && make)
        error = make_seed(o->seed_file, seed);
    if (error < 0) {
        devtee_failure(error == E_INVALID ? "the seed is not 64 hex digits" : "cannot use the seed",
                       o->seed_file);
        return NULL;
    }
    return devtee_issuer_new(seed, o->build_id);
}

/* ---- Printing ---- */

int devtee_print_quote(const struct devtee_options *o)
{
    AUTO(devtee_issuer_free) struct devtee_issuer *issuer = devtee_open(o, false);
    AUTO(buf_fini) struct buf quote = {0};
    uint8_t report_data[DEVTEE_REPORT_DATA_LEN];

    if (!issuer)
        return EXIT_FAILURE;
    if (hex_decode(report_data, sizeof(report_data), span_str(o->report_data)) < 0)
        return devtee_failure("64 bytes in hex are needed", "--report-data");
    devtee_quote(issuer, &o->faults, report_data, &quote);
    for (size_t i = 0; i < quote.len; i++)
        printf("%02x", quote.data[i]);
    putchar('\n');
    return EXIT_SUCCESS;
}

int devtee_print_collateral(const struct devtee_options *o)
{
    AUTO(devtee_issuer_free) struct devtee_issuer *issuer = devtee_open(o, false);
    AUTO(collateral_fini) struct collateral c = {0};
    AUTO(buf_fini) struct buf text = {0};

    if (!issuer)
        return EXIT_FAILURE;
    devtee_collateral(issuer, &o->faults, &c);
    collateral_write(&c, &text);
    puts(buf_cstr(&text));
    return EXIT_SUCCESS;
}

/* ---- init ---- */

struct folder {
    const char *path;
    const char *failed; /* the first file that could not be written; in file */
    char file[PATH_MAX];
};

static void put(struct folder *d, const char *name, struct span bytes)
{
    if (d->failed)
        return;
    snprintf(d->file, sizeof(d->file), "%s/%s", d->path, name);
    if (write_file(d->file, bytes, 0644, O_TRUNC) < 0)
        d->failed = d->file;
}

static void put_collateral(struct folder *d, const struct devtee_issuer *issuer,
                           const struct devtee_faults *faults)
{
    AUTO(collateral_fini) struct collateral c = {0};
    AUTO(buf_fini) struct buf text = {0};

    devtee_collateral(issuer, faults, &c);
    collateral_write(&c, &text);
    put(d, "collateral.json", buf_span(&text));
}

static void put_policy(struct folder *d, const struct devtee_issuer *issuer, const char *root,
                       const struct devtee_options *o)
{
    AUTO(buf_fini) struct buf text = {0}, sig = {0};
    const struct devtee_policy policy = {.root = root,
                                         .sequence = (uint64_t)time(NULL),
                                         .expires = DEVTEE_NOT_AFTER,
                                         .config_sha256 = o->config_sha256,
                                         .model_digest = o->model_digest};

    devtee_policy_write(issuer, &policy, &text);
    CHECK(detached_sign(POLICY_LABEL, buf_span(&text), devtee_release_key(issuer), &sig) == 0);
    put(d, "policy.json", buf_span(&text));
    put(d, "policy.json.sig", buf_span(&sig));
}

static void put_release_key(struct folder *d, const struct devtee_issuer *issuer)
{
    uint8_t key[ED25519_KEY_LEN];
    char hex[2 * ED25519_KEY_LEN + 1];

    ed25519_public(devtee_release_key(issuer), key);
    hex_encode(hex, SPAN_OF(key));
    hex[sizeof(hex) - 1] = '\n';
    put(d, "release.pub", SPAN_OF(hex));
}

int devtee_init(const struct devtee_options *o)
{
    AUTO(devtee_issuer_free) struct devtee_issuer *issuer = devtee_open(o, true);
    AUTO(buf_fini) struct buf root = {0};
    struct folder d = {.path = o->out};
    char path[PATH_MAX], file[PATH_MAX + 16];

    if (!issuer)
        return EXIT_FAILURE;
    if (!realpath(o->out, path))
        return devtee_failure("no such folder", o->out);
    snprintf(file, sizeof(file), "%s/root.pem", path);
    devtee_root(issuer, &root);
    put(&d, "root.pem", buf_span(&root));
    put_collateral(&d, issuer, &o->faults);
    put_policy(&d, issuer, file, o);
    put_release_key(&d, issuer);
    put(&d, "event_log.bin", devtee_event_log(issuer));
    return d.failed ? devtee_failure("cannot write", d.failed) : EXIT_SUCCESS;
}
