/* The kernel's file of RTMR3 (Linux ≥ 6.16): reading gives the register, writing 48 bytes extends
 * it. */
#include "worker/rtmr.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/encode.h"

int rtmr3_value(const char *config_sha256, const char *model_digest, uint8_t out[static SHA384_LEN])
{
    AUTO(buf_fini) struct buf text = {0};
    uint8_t config[SHA256_LEN], model[SHA256_LEN];

    TRY(hex_decode(config, sizeof(config), span_str(config_sha256)));
    sha256(model, span_str(model_digest));
    buf_append(&text, SPAN("cgw/rtmr3/v1\0"));
    buf_append(&text, SPAN_OF(config));
    buf_append(&text, SPAN_OF(model));
    sha384(out, buf_span(&text));
    return 0;
}

static bool is_zero(const uint8_t *value)
{
    static const uint8_t zero[SHA384_LEN];

    return memcmp(value, zero, SHA384_LEN) == 0;
}

static bool is_extended(const uint8_t *now, const uint8_t *value)
{
    uint8_t both[2 * SHA384_LEN] = {0}, expected[SHA384_LEN];

    memcpy(both + SHA384_LEN, value, SHA384_LEN);
    sha384(expected, SPAN_OF(both));
    return memcmp(now, expected, SHA384_LEN) == 0;
}

static int extend(int fd, const char *file, const uint8_t *value, char *why)
{
    uint8_t now[SHA384_LEN];

    if (pread(fd, now, sizeof(now), 0) != (ssize_t)sizeof(now)) {
        snprintf(why, DIGESTS_WHY_LEN, "%.100s holds no register", file);
        return E_IO;
    }
    if (is_extended(now, value))
        return 0;
    if (!is_zero(now)) {
        snprintf(why, DIGESTS_WHY_LEN,
                 "RTMR3 was extended by something else, or for other settings or another model: "
                 "restart the trust domain");
        return E_DENIED;
    }
    if (pwrite(fd, value, SHA384_LEN, 0) == SHA384_LEN)
        return 0;
    snprintf(why, DIGESTS_WHY_LEN, "%.100s: %s", file, strerror(errno));
    return E_IO;
}

int rtmr3_extend(const char *file, const uint8_t value[static SHA384_LEN],
                 char why[static DIGESTS_WHY_LEN])
{
    const int fd = open(file, O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        snprintf(why, DIGESTS_WHY_LEN,
                 "%.100s: %s: RTMR3 is extended by Linux 6.16 and later in a TDX guest", file,
                 strerror(errno));
        return E_UNSUPPORTED;
    }
    const int error = extend(fd, file, value, why);
    close(fd);
    return error;
}
