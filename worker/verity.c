/* One DM_TABLE_STATUS of the device below the folder. */
#include "worker/verity.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/encode.h"

#define CONTROL "/dev/mapper/control"

enum { ROOM = 4096, ROOT_AT = 8, ALGORITHM_AT = 7 };

static int fail(char *why, int error, const char *what)
{
    snprintf(why, VERITY_WHY_LEN, "%s%s%s", what, error == E_IO ? ": " : "",
             error == E_IO ? strerror(errno) : "");
    return error;
}

int verity_root(struct span params, char out[static VERITY_HEX_LEN + 1])
{
    struct span word = {0}, rest = params;
    uint8_t raw[VERITY_HEX_LEN / 2];

    for (int i = 0; i <= ROOT_AT; i++) {
        word = span_split(&rest, ' ');
        if ((i == 0 && !span_is(word, "1")) || (i == ALGORITHM_AT && !span_is(word, "sha256")))
            return E_INVALID;
    }
    TRY(hex_decode(raw, sizeof(raw), word));
    hex_encode(out, SPAN_OF(raw));
    return 0;
}

/* The kernel's encoding of a device's number (huge_encode_dev). */
static uint64_t kernel_dev(dev_t dev)
{
    const uint64_t major = major(dev), minor = minor(dev);

    return (minor & 0xFF) | major << 8 | (minor & ~UINT64_C(0xFF)) << 12;
}

/* A whole table of one target, which is verity. */
static int table_read(int fd, dev_t dev, char root[static VERITY_HEX_LEN + 1], char *why)
{
    struct {
        struct dm_ioctl head;
        char room[ROOM];
    } q = {.head = {.version = {4, 0, 0},
                    .data_size = sizeof(q),
                    .data_start = sizeof(q.head),
                    .flags = DM_STATUS_TABLE_FLAG,
                    .dev = kernel_dev(dev)}};
    const struct dm_target_spec *spec = (const void *)((const char *)&q + sizeof(q.head));

    if (ioctl(fd, DM_TABLE_STATUS, &q) < 0)
        return fail(why, E_IO, "the model's folder is on no device-mapper device that can be seen");
    q.room[ROOM - 1] = '\0';
    const char *params = (const char *)(spec + 1);
    if (q.head.target_count != 1 ||
        strncmp(spec->target_type, "verity", sizeof(spec->target_type)) != 0 ||
        verity_root(span_str(params), root) < 0)
        return fail(why, E_DENIED, "the model's folder is not on one dm-verity device of SHA-256");
    return 0;
}

int verity_check(const char *folder, const char root[static VERITY_HEX_LEN + 1],
                 char why[static VERITY_WHY_LEN])
{
    char found[VERITY_HEX_LEN + 1];
    struct stat st;

    if (stat(folder, &st) < 0)
        return fail(why, E_IO, "the model's folder cannot be looked at");
    const int fd = open(CONTROL, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return fail(why, E_IO, CONTROL);
    const int error = table_read(fd, st.st_dev, found, why);
    close(fd);
    TRY(error);
    return strcmp(found, root) == 0
               ? 0
               : fail(why, E_DENIED, "the model's image has another root hash than model_verity");
}
