/* Reads a policy, its signatures and its dev root. */
#include "attest/policy_files.h"

#include <errno.h>
#include <stdio.h>

#include "base/encode.h"
#include "base/file.h"

enum { SIGNATURES_MAX = 16 * 1024 };

struct release_keys {
    uint8_t bytes[POLICY_KEYS_MAX][ED25519_KEY_LEN];
    struct span spans[POLICY_KEYS_MAX];
};

static int keys_read(struct release_keys *k, const char *const *texts, size_t count,
                     char why[static POLICY_WHY_LEN])
{
    if (count == 0 || count > POLICY_KEYS_MAX) {
        snprintf(why, POLICY_WHY_LEN, "one to %d release keys are needed", POLICY_KEYS_MAX);
        return E_INVALID;
    }
    for (size_t i = 0; i < count; i++) {
        if (hex_decode(k->bytes[i], ED25519_KEY_LEN, span_str(texts[i])) < 0) {
            snprintf(why, POLICY_WHY_LEN, "a release key is 64 lower-case hexadecimal digits");
            return E_INVALID;
        }
        k->spans[i] = SPAN_OF(k->bytes[i]);
    }
    return 0;
}

static int part_read(const char *file, size_t max, struct buf *out, char why[static POLICY_WHY_LEN])
{
    const int error = file_read(file, max, out);

    if (error < 0)
        snprintf(why, POLICY_WHY_LEN, "%.200s: %s", file,
                 error == E_TOO_LARGE ? "too large" : strerror(errno));
    return error;
}

static int dev_root_read(struct attest_policy *p, const char *policy_file,
                         char why[static POLICY_WHY_LEN])
{
    AUTO(buf_fini) struct buf path = {0}, bytes = {0};
    const char *root = attest_policy_dev_root(p), *slash = strrchr(policy_file, '/');
    struct x509_cert *cert;

    if (!root)
        return 0;
    if (root[0] != '/' && slash)
        buf_append(&path, span_of(policy_file, (size_t)(slash - policy_file) + 1));
    buf_append_str(&path, root);
    TRY(part_read(buf_cstr(&path), X509_MAX_CERT, &bytes, why));
    if (x509_cert_read(&cert, buf_span(&bytes)) < 0) {
        snprintf(why, POLICY_WHY_LEN, "%.200s: no certificate", buf_cstr(&path));
        return E_INVALID;
    }
    attest_policy_set_dev_root(p, cert);
    return 0;
}

int policy_files_load(struct attest_policy **out, const char *file, const char *const *release_keys,
                      size_t count, char why[static POLICY_WHY_LEN])
{
    AUTO(attest_policy_unref) struct attest_policy *p = NULL;
    AUTO(buf_fini) struct buf bytes = {0}, signatures = {0}, name = {0};
    struct release_keys keys;
    char reason[200];

    TRY(keys_read(&keys, release_keys, count, why));
    TRY(part_read(file, POLICY_MAX_BYTES, &bytes, why));
    buf_printf(&name, "%s.sig", file);
    TRY(part_read(buf_cstr(&name), SIGNATURES_MAX, &signatures, why));
    const int error =
        attest_policy_read(&p, buf_span(&bytes), buf_span(&signatures), keys.spans, count, reason);
    if (error < 0) {
        snprintf(why, POLICY_WHY_LEN, "%.80s: %.200s", file, reason);
        return error;
    }
    TRY(dev_root_read(p, file, why));
    *out = p;
    p = NULL;
    return 0;
}
