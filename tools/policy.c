/* cocoonctl policy: release keys, and the signatures of policies, which are written for nothing
 * that a program would not load. */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/encode.h"
#include "base/file.h"
#include "crypto/detached.h"
#include "tools/inputs.h"
#include "tools/key_file.h"
#include "tools/output.h"

/* Keys that sign, and their public halves. */
struct signers {
    struct ed25519 *keys[POLICY_KEYS_MAX];
    uint8_t public[POLICY_KEYS_MAX][ED25519_KEY_LEN];
    size_t count;
};

static void signers_fini(struct signers *s)
{
    for (size_t i = 0; i < s->count; i++)
        ed25519_free(s->keys[i]);
}
AUTO_FINI(struct signers, signers_fini)

/* -1 or an exit code. */
static int signers_read(const struct command *c, const struct option_texts *files,
                        struct signers *out)
{
    if (files->count == 0 || files->count > POLICY_KEYS_MAX)
        return usage_error(c,
                           "--key FILE is needed, %d at the most: `cocoonctl policy key` makes one",
                           POLICY_KEYS_MAX);
    for (size_t i = 0; i < files->count; i++) {
        const int code = key_file_read(c, files->items[i], &out->keys[i]);

        if (code >= 0)
            return code;
        ed25519_public(out->keys[i], out->public[i]);
        out->count++;
    }
    return -1;
}

static int lines_make(const struct signers *s, struct span policy, struct buf *out)
{
    for (size_t i = 0; i < s->count; i++)
        TRY(detached_sign(POLICY_LABEL, policy, s->keys[i], out));
    return 0;
}

/* As a program would read it. -1 or an exit code. */
static int policy_check(const struct command *c, const char *file, struct span policy,
                        struct span lines, const struct signers *s, struct attest_policy **out)
{
    const struct span key = SPAN_OF(s->public[0]);
    char why[200], ends[TIME_TEXT_LEN];

    if (attest_policy_read(out, policy, lines, &key, 1, why) < 0)
        return failure(c, "%s: %s", file, why);
    date_text(ends, attest_policy_expires(*out));
    if (attest_policy_expires(*out) <= (uint64_t)time(NULL))
        return failure(c, "%s has ended (%s): no program would accept a worker by it", file, ends);
    return -1;
}

static void signed_print(const char *file, const struct attest_policy *policy,
                         const struct signers *s)
{
    char ends[TIME_TEXT_LEN], hex[2 * ED25519_KEY_LEN + 1];

    date_text(ends, attest_policy_expires(policy));
    printf("%s.sig: %s, sequence %" PRIu64 ", until %s; signed by\n", file,
           attest_policy_production(policy) ? "production" : "dev", attest_policy_sequence(policy),
           ends);
    for (size_t i = 0; i < s->count; i++) {
        hex_encode(hex, SPAN_OF(s->public[i]));
        printf("%s\n", hex);
    }
}

static int signatures_write(const struct command *c, const char *file, const struct signers *s)
{
    AUTO(attest_policy_unref) struct attest_policy *policy = NULL;
    AUTO(buf_fini) struct buf bytes = {0}, lines = {0}, name = {0};
    int code = input_file(c, file, POLICY_MAX_BYTES, &bytes);

    if (code < 0 && lines_make(s, buf_span(&bytes), &lines) < 0)
        code = failure(c, "a key signs nothing");
    if (code < 0)
        code = policy_check(c, file, buf_span(&bytes), buf_span(&lines), s, &policy);
    if (code >= 0)
        return code;
    buf_printf(&name, "%s.sig", file);
    if (file_replace(buf_cstr(&name), buf_span(&lines), 0644) < 0)
        return failure(c, "%s cannot be written: %m", buf_cstr(&name));
    signed_print(file, policy, s);
    return EXIT_DONE;
}

static int policy_sign(const struct command *c, int argc, char **argv)
{
    AUTO(signers_fini) struct signers signers = {.count = 0};
    struct option_texts files = {.count = 0};
    const struct option options[] = {
        {"key", OPTION_TEXTS, &files, "a release key's file; given several times, each signs"}};
    struct operands operands;
    int code = options_parse(c, options, COUNT(options), argc, argv, 1, 1, &operands);

    if (code < 0)
        code = signers_read(c, &files, &signers);
    return code < 0 ? signatures_write(c, operands.items[0], &signers) : code;
}

const struct command policy_commands[] = {
    {"policy", "key", "FILE",
     "Make a release key, which signs policies (keep it offline); prints its public half.",
     key_file_make},
    {"policy", "sign", "FILE",
     "Write FILE.sig, when FILE is a policy that programs would load (docs/image.md).",
     policy_sign},
    {NULL, NULL, NULL, NULL, NULL},
};
