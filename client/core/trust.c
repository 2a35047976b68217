/* The files that trust rests on: the policy, what is remembered of policies and collateral, and
 * this client's own key. */
#include <errno.h>
#include <stdio.h>

#include "attest/policy_files.h"
#include "base/encode.h"
#include "base/file.h"
#include "base/random.h"
#include "client/core/client.h"

enum { WHY_LEN = 300, KEY_LINE_LEN = 2 * CLIENT_KEY_LEN + 1 };

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

static int state_take(struct trust_state *state, const char *file, const struct attest_policy *p,
                      char why[static WHY_LEN])
{
    char reason[TRUST_STATE_WHY_LEN];
    int error = trust_state_open(state, file, reason);

    if (error == 0)
        error = trust_state_take(state, p, reason);
    if (error < 0)
        snprintf(why, WHY_LEN, "%.290s", reason);
    return error;
}

static int dev_check(const struct attest_policy *p, bool insecure_dev, char why[static WHY_LEN])
{
    if (attest_policy_production(p) || insecure_dev)
        return 0;
    snprintf(why, WHY_LEN,
             "The policy is one for development: workers that it accepts are not "
             "confidential. Use --insecure-dev to go on all the same.");
    return E_DENIED;
}

int trust_load(struct attest_policy **out, struct trust_state *state,
               const struct client_options *o, const char *state_file, char why[static WHY_LEN])
{
    AUTO(attest_policy_unref) struct attest_policy *p = NULL;
    char reason[POLICY_WHY_LEN];

    const int error =
        policy_files_load(&p, o->policy_file, o->release_keys, o->release_key_count, reason);
    if (error < 0) {
        snprintf(why, WHY_LEN, "The policy is refused: %.250s", reason);
        return error;
    }
    TRY(dev_check(p, o->insecure_dev, why));
    TRY(state_take(state, state_file, p, why));
    *out = p;
    p = NULL;
    return 0;
}
