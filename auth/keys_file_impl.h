/* The inside of the keys file. */
#ifndef AUTH_KEYS_FILE_IMPL_H
#define AUTH_KEYS_FILE_IMPL_H

#include "auth/keys_file.h"

struct keys_file {
    char *path;
    int lock; /* -1: only read */
    json_t *doc;
    json_t *keys; /* borrowed from doc */
    char epoch[33];
    int64_t serial, serial_read;
};

#endif
