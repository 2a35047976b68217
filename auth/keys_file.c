/* Reading, locking and replacing the keys file. */
#include "auth/keys_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/keys_file_impl.h"
#include "base/encode.h"
#include "base/file.h"
#include "base/random.h"

enum { FILE_MAX = 64 << 20 };

static int say(struct buf *why, const char *path, int error, const char *what)
{
    buf_printf(why, "%s: %s", path, what);
    if (error == E_IO)
        buf_printf(why, ": %s", strerror(errno));
    return error;
}

static int lock_file(struct keys_file *f)
{
    char *name = NULL;

    CHECK(asprintf(&name, "%s.lock", f->path) > 0);
    f->lock = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    free(name);
    if (f->lock < 0)
        return E_IO;
    while (flock(f->lock, LOCK_EX) < 0) {
        if (errno != EINTR)
            return E_IO;
    }
    return 0;
}

static int read_fd(int fd, struct buf *out)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return E_IO;
    if (st.st_mode & (S_IRWXG | S_IRWXO))
        return E_DENIED;
    if (st.st_size > FILE_MAX)
        return E_TOO_LARGE;
    for (;;) {
        uint8_t *at = buf_reserve(out, 65536);
        const ssize_t n = read(fd, at, 65536);
        if (n == 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return E_IO;
        out->len += n > 0 ? (size_t)n : 0;
        if (out->len > FILE_MAX)
            return E_TOO_LARGE;
    }
}

static int read_file(const char *path, struct buf *out)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return errno == ENOENT ? E_NOT_FOUND : E_IO;
    const int error = read_fd(fd, out);
    const int saved = errno;
    close(fd);
    errno = saved;
    return error;
}

static void begin_empty(struct keys_file *f)
{
    uint8_t epoch[16];

    random_bytes(epoch, sizeof(epoch));
    hex_encode(f->epoch, SPAN_OF(epoch));
    f->doc = json_pack("{s:s, s:s, s:i, s:[]}", "format", "cgw/keys/v1", "epoch", f->epoch,
                       "serial", 0, "keys");
    CHECK(f->doc);
    f->keys = json_object_get(f->doc, "keys");
}

// Every secret's record must be one that gateways accept; `arg` counts those that are.
static void count_valid(void *arg, const char *lookup, struct span record)
{
    size_t *valid = arg;
    struct key_record *r;

    (void)lookup;
    if (key_record_parse(&r, record) == 0) {
        key_record_unref(r);
        ++*valid;
    }
}

static int check_key(json_t *key)
{
    size_t valid = 0;
    const json_t *secrets = json_object_get(key, "secrets");
    const size_t count = json_array_size(secrets);

    if (count == 0 || count > KEYS_NOTED_SECRETS)
        return E_INVALID;
    for (size_t i = 0; i < count; i++) {
        struct span hash;
        uint8_t bytes[SHA256_LEN];
        TRY(json_obj_string(json_array_get(secrets, i), "sha256", &hash));
        TRY(hex_decode(bytes, sizeof(bytes), hash));
    }
    keys_file_project(key, count_valid, &valid);
    return valid == count ? 0 : E_INVALID;
}

// json_read bounds the values of what strangers send; this file is the operator's own and larger.
static int parse(struct keys_file *f, struct span text)
{
    json_error_t error;
    struct span epoch, format;
    uint8_t bytes[16];

    f->doc = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, &error);
    TRY(json_obj_string(f->doc, "format", &format));
    if (!span_is(format, "cgw/keys/v1"))
        return E_UNSUPPORTED;
    TRY(json_obj_string(f->doc, "epoch", &epoch));
    TRY(hex_decode(bytes, sizeof(bytes), epoch));
    hex_encode(f->epoch, SPAN_OF(bytes));
    TRY(json_obj_int(f->doc, "serial", 0, INT64_MAX - 1, &f->serial));
    f->serial_read = f->serial;
    f->keys = json_object_get(f->doc, "keys");
    if (!json_is_array(f->keys))
        return E_INVALID;
    for (size_t i = 0; i < json_array_size(f->keys); i++)
        TRY(check_key(json_array_get(f->keys, i)));
    return 0;
}

static int load(struct keys_file *f, struct buf *why)
{
    AUTO(buf_fini) struct buf text = {0};
    const int error = read_file(f->path, &text);

    if (error == E_NOT_FOUND) {
        begin_empty(f);
        return 0;
    }
    if (error == E_DENIED)
        return say(why, f->path, error, "others than its owner may read it; chmod 600 it");
    if (error < 0)
        return say(why, f->path, error, "cannot be read");
    if (parse(f, buf_span(&text)) < 0)
        return say(why, f->path, E_INVALID, "is not a keys file (cgw/keys/v1)");
    return 0;
}

int keys_file_open(struct keys_file **out, const char *path, bool change, struct buf *why)
{
    AUTO(keys_file_free) struct keys_file *f = mem_zero(sizeof(*f));

    *out = NULL;
    f->path = mem_strdup(path);
    f->lock = -1;
    if (change && lock_file(f) < 0)
        return say(why, path, E_IO, "its lock cannot be had");
    TRY(load(f, why));
    *out = f;
    f = NULL;
    return 0;
}

void keys_file_free(struct keys_file *f)
{
    if (!f)
        return;
    if (f->lock >= 0)
        close(f->lock); /* and unlocks */
    json_decref(f->doc);
    free(f->path);
    free(f);
}

int keys_file_save(struct keys_file *f)
{
    CHECK(f->lock >= 0);
    f->serial++;
    json_object_set_new(f->doc, "serial", json_integer(f->serial));
    char *text = json_dumps(f->doc, JSON_INDENT(1));
    CHECK(text);
    const int error = file_replace(f->path, span_str(text), 0600);
    free(text);
    return error;
}

const json_t *keys_file_list(const struct keys_file *f)
{
    return f->keys;
}

void keys_file_marker(const struct keys_file *f, char out[static KEYS_MARKER_LEN])
{
    snprintf(out, KEYS_MARKER_LEN, "%s:%lld", f->epoch, (long long)f->serial);
}

void keys_file_marker_before(const struct keys_file *f, char out[static KEYS_MARKER_LEN])
{
    snprintf(out, KEYS_MARKER_LEN, "%s:%lld", f->epoch, (long long)f->serial_read);
}
