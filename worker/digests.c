/* Digests of files and of a model's folder. */
#include "worker/digests.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/encode.h"

enum { READ_LEN = 1 << 20, DEPTH_MAX = 32 };

struct paths {
    char **items;
    size_t count, cap;
};

static void paths_fini(struct paths *p)
{
    for (size_t i = 0; i < p->count; i++)
        free(p->items[i]);
    free(p->items);
}
AUTO_FINI(struct paths, paths_fini)

static void paths_add(struct paths *p, const char *path)
{
    if (p->count == p->cap) {
        p->cap = p->cap ? 2 * p->cap : 64;
        p->items = mem_grow(p->items, p->cap * sizeof(p->items[0]));
    }
    p->items[p->count++] = mem_strdup(path);
}

static int fail(char *why, const char *what, const char *path)
{
    const int error = errno;

    snprintf(why, DIGESTS_WHY_LEN, "%.300s: %s%s%s", path, what, error ? ": " : "",
             error ? strerror(error) : "");
    return error ? E_IO : E_INVALID;
}

static int refuse(char *why, const char *what, const char *path)
{
    errno = 0;
    return fail(why, what, path);
}

/* ---- One file ---- */

static int hash_fd(int fd, struct sha256_ctx *hash, const atomic_bool *stop)
{
    uint8_t *block = mem_alloc(READ_LEN);
    ssize_t n;

    do {
        n = read(fd, block, READ_LEN);
        if (n > 0)
            sha256_update(hash, span_of(block, (size_t)n));
    } while ((n > 0 || (n < 0 && errno == EINTR)) && !(stop && *stop));
    free(block);
    if (n < 0)
        return E_IO;
    return n > 0 ? E_CLOSED : 0;
}

static int hash_file(const char *path, const atomic_bool *stop, char *out, char *why)
{
    AUTO(sha256_free) struct sha256_ctx *hash = sha256_new();
    uint8_t digest[SHA256_LEN];
    const int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return fail(why, "cannot be opened", path);
    int error = hash_fd(fd, hash, stop);
    if (error == E_IO)
        error = fail(why, "cannot be read", path);
    close(fd);
    TRY(error);
    sha256_final(hash, digest);
    hex_encode(out, SPAN_OF(digest));
    return 0;
}

int digest_file(const char *path, char out[static DIGEST_TEXT_LEN],
                char why[static DIGESTS_WHY_LEN])
{
    return hash_file(path, NULL, out, why);
}

/* ---- A folder ---- */

/* The digest is over lines, and sha256sum writes other names otherwise. */
static bool is_plain(const char *name)
{
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F || *c == '\\')
            return false;
    return true;
}

static int add_entry(struct paths *out, const char *path, unsigned depth, char *why);

static int add_folder(struct paths *out, const char *path, unsigned depth, char *why)
{
    AUTO(buf_fini) struct buf child = {0};
    const struct dirent *entry;
    int error = 0;

    if (depth > DEPTH_MAX)
        return refuse(why, "is nested too deeply", path);
    DIR *folder = opendir(path);
    if (!folder)
        return fail(why, "cannot be opened", path);
    while (!error && (errno = 0, entry = readdir(folder)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (!is_plain(entry->d_name)) {
            error = refuse(why, "holds a name with a control character or a backslash", path);
            break;
        }
        buf_clear(&child);
        buf_printf(&child, "%s/%s", path, entry->d_name);
        error = add_entry(out, buf_cstr(&child), depth + 1, why);
    }
    if (!error && errno)
        error = fail(why, "cannot be read", path);
    closedir(folder);
    return error;
}

static int add_entry(struct paths *out, const char *path, unsigned depth, char *why)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return fail(why, "cannot be looked at", path);
    if (S_ISDIR(st.st_mode))
        return add_folder(out, path, depth, why);
    if (stat(path, &st) < 0)
        return fail(why, "leads nowhere", path);
    if (!S_ISREG(st.st_mode))
        return refuse(why, "is neither a file nor a folder of the model's own", path);
    if (out->count == MODEL_FILES_MAX)
        return refuse(why, "is one file too many", path);
    paths_add(out, path);
    return 0;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int digest_model(const char *folder, const atomic_bool *stop, char out[static MODEL_DIGEST_LEN],
                 char why[static DIGESTS_WHY_LEN])
{
    AUTO(paths_fini) struct paths files = {0};
    AUTO(sha256_free) struct sha256_ctx *list = sha256_new();
    uint8_t digest[SHA256_LEN];
    char hex[DIGEST_TEXT_LEN];

    TRY(add_folder(&files, folder, 0, why));
    if (files.count == 0)
        return refuse(why, "holds no file", folder);
    qsort(files.items, files.count, sizeof(files.items[0]), by_bytes);
    for (size_t i = 0; i < files.count; i++) {
        TRY(hash_file(files.items[i], stop, hex, why));
        sha256_update(list, span_str(hex));
        sha256_update(list, SPAN("  "));
        sha256_update(list, span_str(files.items[i] + strlen(folder) + 1));
        sha256_update(list, SPAN("\n"));
    }
    sha256_final(list, digest);
    memcpy(out, "sha256:", 8);
    hex_encode(out + 7, SPAN_OF(digest));
    return 0;
}

/* ---- Where links lead ---- */

static bool is_beneath(int folder, const char *relative)
{
    const struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
                                 .resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV};
    const long fd = syscall(SYS_openat2, folder, relative, &how, sizeof(how));

    if (fd >= 0)
        close((int)fd);
    return fd >= 0;
}

int digest_model_contained(const char *folder, char why[static DIGESTS_WHY_LEN])
{
    AUTO(paths_fini) struct paths files = {0};
    int error = 0;

    TRY(add_folder(&files, folder, 0, why));
    const int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(why, "cannot be opened", folder);
    for (size_t i = 0; i < files.count && !error; i++) {
        if (is_beneath(fd, files.items[i] + strlen(folder) + 1))
            continue;
        snprintf(why, DIGESTS_WHY_LEN, "%.300s leads out of the model's folder", files.items[i]);
        error = E_DENIED;
    }
    close(fd);
    return error;
}
