/* Reading them. */
#include "tools/inputs.h"

#include <errno.h>
#include <string.h>

#include "base/file.h"

int input_file(const struct command *c, const char *name, size_t max, struct buf *out)
{
    const int error = file_read(name, max, out);

    if (error == E_TOO_LARGE)
        return failure(c, "%s is longer than %zu bytes", name, max);
    return error < 0 ? failure(c, "%s cannot be read: %s", name, strerror(errno)) : -1;
}

int input_policy(const struct command *c, const char *file, const struct option_texts *keys,
                 struct attest_policy **out)
{
    char why[POLICY_WHY_LEN];

    if (!file)
        return usage_error(c, "--policy FILE is needed: what shall be accepted");
    if (policy_files_load(out, file, keys->items, keys->count, why) < 0)
        return failure(c, "%s", why);
    return -1;
}

int input_collateral(const struct command *c, const char *file, struct collateral *out)
{
    AUTO(buf_fini) struct buf text = {0};
    const int code = input_file(c, file, 4 * COLLATERAL_MAX, &text);

    if (code >= 0)
        return code;
    return collateral_read_bytes(out, buf_span(&text)) < 0 ? failure(c, "%s is no collateral", file)
                                                           : -1;
}
