/* The files that trust rests on: the policy, the highest sequence of one seen, and this client's
 * own key. */
#include <errno.h>
#include <stdio.h>

#include "attest/policy_files.h"
#include "base/encode.h"
#include "base/file.h"
#include "base/random.h"
#include "client/core/client.h"

enum { WHY_LEN = 300, SEQUENCE_LEN = 24, KEY_LINE_LEN = 2 * CLIENT_KEY_LEN + 1 };

_Static_assert((int)POLICY_WHY_LEN == (int)WHY_LEN, "handed on");

static int complain(const char *file, char why[static WHY_LEN])
{
    snprintf(why, WHY_LEN, "%.200s: %s", file, strerror(errno));
    return E_IO;
}

/* ---- The client's own key ---- */

static int key_make(uint8_t out[static CLIENT_KEY_LEN], const char *file, char why[static WHY_LEN])
{
    char line[KEY_LINE_LEN + 1];

    random_bytes(out, CLIENT_KEY_LEN);
    hex_encode(line, span_of(out, CLIENT_KEY_LEN));
    line[KEY_LINE_LEN - 1] = '\n';
    const int error = file_replace(file, span_of(line, KEY_LINE_LEN), 0600);
    crypto_wipe(line, sizeof(line));
    return error < 0 ? complain(file, why) : 0;
}

int local_key_load(uint8_t out[static CLIENT_KEY_LEN], const char *file, char why[static WHY_LEN])
{
    AUTO(buf_wipe) struct buf text = {0};
    const int error = file_read_secret(file, KEY_LINE_LEN, &text);

    if (error == E_IO)
        return errno == ENOENT ? key_make(out, file, why) : complain(file, why);
    if (error == E_DENIED) {
        snprintf(why, WHY_LEN, "%.200s: others than its owner may read it (chmod 600)", file);
        return E_DENIED;
    }
    struct span rest = buf_span(&text);
    if (error == 0 && hex_decode(out, CLIENT_KEY_LEN, span_split(&rest, '\n')) == 0 &&
        rest.len == 0)
        return 0;
    snprintf(why, WHY_LEN, "%.200s: must hold one line of 64 hex digits", file);
    return E_INVALID;
}

/* ---- The policy ---- */

/* A file that is not there is a first start. */
static int sequence_read(uint64_t *out, const char *file, char why[static WHY_LEN])
{
    AUTO(buf_fini) struct buf text = {0};
    const int error = file_read(file, SEQUENCE_LEN, &text);

    *out = 0;
    if (error == E_IO)
        return errno == ENOENT ? 0 : complain(file, why);
    struct span rest = buf_span(&text);
    if (error == 0 && span_u64(span_split(&rest, '\n'), INT64_MAX, out) == 0 && rest.len == 0)
        return 0;
    snprintf(why, WHY_LEN, "%.200s: must hold the highest sequence of a policy", file);
    return E_INVALID;
}

/* An older policy, though signed, may accept what a newer one has withdrawn. */
static int sequence_take(const struct attest_policy *p, const char *file, char why[static WHY_LEN])
{
    const uint64_t now = attest_policy_sequence(p);
    char line[SEQUENCE_LEN];
    uint64_t seen;

    TRY(sequence_read(&seen, file, why));
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
    return file_replace(file, span_str(line), 0600) < 0 ? complain(file, why) : 0;
}

int trust_load(struct attest_policy **out, const struct client_options *o, const char *state_file,
               char why[static WHY_LEN])
{
    AUTO(attest_policy_unref) struct attest_policy *p = NULL;
    char reason[POLICY_WHY_LEN];

    const int error =
        policy_files_load(&p, o->policy_file, o->release_keys, o->release_key_count, reason);
    if (error < 0) {
        snprintf(why, WHY_LEN, "The policy is refused: %.250s", reason);
        return error;
    }
    TRY(sequence_take(p, state_file, why));
    *out = p;
    p = NULL;
    return 0;
}
