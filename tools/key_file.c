/* Makes and reads them. */
#include "tools/key_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/file.h"
#include "base/random.h"
#include "crypto/hash.h"

enum { TEXT_MAX = 128 };

int key_file_write(const char *path, const uint8_t secret[static KEY_FILE_SECRET_LEN])
{
    char text[2 * KEY_FILE_SECRET_LEN + 1]; // a line feed in the place of the terminator
    const size_t len = sizeof(text);
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0)
        return errno == EEXIST ? E_EXISTS : E_IO;
    hex_encode(text, span_of(secret, KEY_FILE_SECRET_LEN));
    text[len - 1] = '\n';
    const bool good = write(fd, text, len) == (ssize_t)len && fsync(fd) == 0;
    crypto_wipe(text, sizeof(text));
    return close(fd) == 0 && good ? 0 : E_IO;
}

/* The seed into the file, and what is to be told of it. */
static int key_make(const char *path, uint8_t public[static ED25519_KEY_LEN])
{
    AUTO(ed25519_free) struct ed25519 *key = NULL;
    uint8_t seed[KEY_FILE_SECRET_LEN];

    random_bytes(seed, sizeof(seed));
    int error = ed25519_from_seed(&key, SPAN_OF(seed));
    if (error == 0)
        error = key_file_write(path, seed);
    crypto_wipe(seed, sizeof(seed));
    TRY(error);
    ed25519_public(key, public);
    return 0;
}

int key_file_make(const struct command *c, int argc, char **argv)
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

static int seed_read(const char *path, struct ed25519 **out)
{
    AUTO(buf_wipe) struct buf text = {0};
    uint8_t seed[KEY_FILE_SECRET_LEN];

    TRY(file_read_secret_line(path, TEXT_MAX, &text));
    int error = hex_decode(seed, sizeof(seed), buf_span(&text));
    if (error == 0)
        error = ed25519_from_seed(out, SPAN_OF(seed));
    crypto_wipe(seed, sizeof(seed));
    return error;
}

int key_file_read(const struct command *c, const char *path, struct ed25519 **out)
{
    const int error = seed_read(path, out);

    switch (error) {
    case 0:
        return -1;
    case E_IO:
        return failure(c, "%s cannot be read: %s", path, strerror(errno));
    case E_DENIED:
        return failure(c, "%s may be read by others than its owner: that key is not safe", path);
    default:
        return failure(c, "%s is no key: 64 hexadecimal digits", path);
    }
}
