/* The files that trust rests on: the signed policy with its dev root, the highest policy sequence
 * seen, and this client's own key. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/random.h"
#include "client/core/client.h"

enum {
    WHY_LEN = 300,
    KEYS_MAX = 16,
    SIGNATURES_MAX = 64 * 1024,
    SEQUENCE_LEN = 24,
    ROOT_MAX = 65536
};

/* ---- Files ---- */

static int read_fd(int fd, size_t max, struct buf *out)
{
    uint8_t part[4096];
    ssize_t n;

    while ((n = read(fd, part, sizeof(part))) > 0) {
        if (out->len + (size_t)n > max)
            return E_TOO_LARGE;
        buf_append(out, span_of(part, (size_t)n));
    }
    crypto_wipe(part, sizeof(part));
    return n < 0 ? E_IO : 0;
}

static int read_file(const char *file, size_t max, struct buf *out, char why[static WHY_LEN])
{
    const int fd = open(file, O_RDONLY | O_CLOEXEC);
    int error = fd < 0 ? E_IO : read_fd(fd, max, out);

    if (error < 0)
        snprintf(why, WHY_LEN, "%.200s: %s", file,
                 error == E_TOO_LARGE ? "the file is too large" : strerror(errno));
    if (fd >= 0)
        close(fd);
    return error;
}

/* Whole or not at all: the name is given to what has been written. */
static int write_file(const char *file, struct span bytes, char why[static WHY_LEN])
{
    AUTO(buf_fini) struct buf name = {0};

    buf_printf(&name, "%s.%d.new", file, (int)getpid());
    const char *temporary = buf_cstr(&name);
    const int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool done = fd >= 0 && write(fd, bytes.data, bytes.len) == (ssize_t)bytes.len && fsync(fd) == 0;
    if (fd >= 0)
        done = close(fd) == 0 && done;
    if (done && rename(temporary, file) == 0)
        return 0;
    snprintf(why, WHY_LEN, "%.200s: %s", file, strerror(errno));
    (void)unlink(temporary);
    return E_IO;
}

/* ---- The client's own key ---- */

static int key_make(uint8_t out[static CLIENT_KEY_LEN], const char *file, char why[static WHY_LEN])
{
    char hex[2 * CLIENT_KEY_LEN + 2];

    random_bytes(out, CLIENT_KEY_LEN);
    hex_encode(hex, span_of(out, CLIENT_KEY_LEN));
    hex[sizeof(hex) - 2] = '\n';
    const int error = write_file(file, span_of(hex, sizeof(hex) - 1), why);
    crypto_wipe(hex, sizeof(hex));
    return error;
}

int local_key_load(uint8_t out[static CLIENT_KEY_LEN], const char *file, char why[static WHY_LEN])
{
    AUTO(buf_wipe) struct buf text = {0};
    struct stat st;

    if (stat(file, &st) < 0 && errno == ENOENT)
        return key_make(out, file, why);
    TRY(read_file(file, 2 * CLIENT_KEY_LEN + 2, &text, why));
    if (stat(file, &st) < 0 || (st.st_mode & 077) != 0) {
        snprintf(why, WHY_LEN, "%.200s: others than its owner may read it (chmod 600)", file);
        return E_DENIED;
    }
    struct span rest = buf_span(&text);
    if (hex_decode(out, CLIENT_KEY_LEN, span_split(&rest, '\n')) == 0 && rest.len == 0)
        return 0;
    snprintf(why, WHY_LEN, "%.200s: must hold one line of 64 hex digits", file);
    return E_INVALID;
}

/* ---- The policy ---- */

struct release_keys {
    uint8_t bytes[KEYS_MAX][ED25519_KEY_LEN];
    struct span spans[KEYS_MAX];
};

static int keys_read(struct release_keys *k, const struct client_options *o,
                     char why[static WHY_LEN])
{
    if (o->release_key_count == 0 || o->release_key_count > KEYS_MAX) {
        snprintf(why, WHY_LEN,
                 "Give one to %d release keys: a policy is accepted only with a "
                 "signature by one of them.",
                 (int)KEYS_MAX);
        return E_INVALID;
    }
    for (size_t i = 0; i < o->release_key_count; i++) {
        if (hex_decode(k->bytes[i], ED25519_KEY_LEN, span_str(o->release_keys[i])) < 0) {
            snprintf(why, WHY_LEN, "A release key must be 64 hex digits.");
            return E_INVALID;
        }
        k->spans[i] = SPAN_OF(k->bytes[i]);
    }
    return 0;
}

static int dev_root_read(struct attest_policy *p, const char *policy_file, char why[static WHY_LEN])
{
    AUTO(buf_fini) struct buf path = {0};
    AUTO(buf_fini) struct buf bytes = {0};
    const char *root = attest_policy_dev_root(p), *slash = strrchr(policy_file, '/');
    struct x509_cert *cert = NULL;

    if (!root)
        return 0;
    if (root[0] != '/' && slash) /* beside the policy */
        buf_append(&path, span_of(policy_file, (size_t)(slash - policy_file) + 1));
    buf_append_str(&path, root);
    TRY(read_file(buf_cstr(&path), ROOT_MAX, &bytes, why));
    if (x509_cert_read(&cert, buf_span(&bytes)) < 0) {
        snprintf(why, WHY_LEN, "%.200s: is no certificate", buf_cstr(&path));
        return E_INVALID;
    }
    attest_policy_set_dev_root(p, cert);
    return 0;
}

/* An older policy, though signed, may accept what a newer one has withdrawn. */
static int sequence_check(const struct attest_policy *p, const char *file, char why[static WHY_LEN])
{
    AUTO(buf_fini) struct buf text = {0};
    const uint64_t now = attest_policy_sequence(p);
    uint64_t seen = 0;
    char line[SEQUENCE_LEN];

    if (access(file, F_OK) == 0) {
        TRY(read_file(file, SEQUENCE_LEN, &text, why));
        struct span rest = buf_span(&text);
        if (span_u64(span_split(&rest, '\n'), INT64_MAX, &seen) < 0) {
            snprintf(why, WHY_LEN, "%.200s: must hold the highest sequence of a policy", file);
            return E_INVALID;
        }
    }
    if (now < seen) {
        snprintf(why, WHY_LEN,
                 "The policy's sequence is %llu, and %llu was used before: an older "
                 "policy is not accepted.",
                 (unsigned long long)now, (unsigned long long)seen);
        return E_EXPIRED;
    }
    if (now == seen)
        return 0;
    snprintf(line, sizeof(line), "%llu\n", (unsigned long long)now);
    return write_file(file, span_str(line), why);
}

int trust_load(struct attest_policy **out, const struct client_options *o, const char *state_file,
               char why[static WHY_LEN])
{
    AUTO(attest_policy_unref) struct attest_policy *p = NULL;
    AUTO(buf_fini) struct buf bytes = {0};
    AUTO(buf_fini) struct buf signature = {0};
    AUTO(buf_fini) struct buf name = {0};
    struct release_keys keys = {0};
    char reason[200] = "";

    TRY(keys_read(&keys, o, why));
    TRY(read_file(o->policy_file, POLICY_MAX_BYTES, &bytes, why));
    buf_printf(&name, "%s.sig", o->policy_file);
    TRY(read_file(buf_cstr(&name), SIGNATURES_MAX, &signature, why));
    const int error = attest_policy_read(&p, buf_span(&bytes), buf_span(&signature), keys.spans,
                                         o->release_key_count, reason);
    if (error < 0) {
        snprintf(why, WHY_LEN, "The policy is refused: %.200s",
                 error == E_AUTH ? "no signature by one of the release keys" : reason);
        return error;
    }
    TRY(dev_root_read(p, o->policy_file, why));
    TRY(sequence_check(p, state_file, why));
    *out = attest_policy_ref(p);
    return 0;
}
