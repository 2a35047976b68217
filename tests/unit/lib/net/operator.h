/* Test helper: an operator's keys in a temporary folder, and turning a loop until something has
 * happened. */
#ifndef TESTS_NET_OPERATOR_H
#define TESTS_NET_OPERATOR_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/clock.h"
#include "net/loop.h"
#include "net/tls.h"

struct operator_dir {
    char path[64];
    char chain[96], key[96];
    uint8_t op[TLS_SPKI_LEN];
};

static inline void operator_new(struct operator_dir *d)
{
    strcpy(d->path, "/tmp/cocoon-test-XXXXXX");
    assert_non_null(mkdtemp(d->path));
    assert_int_equal(tls_operator_make(d->path, 30, d->op), 0);
    snprintf(d->chain, sizeof(d->chain), "%s/tunnel.pem", d->path);
    snprintf(d->key, sizeof(d->key), "%s/tunnel.key", d->path);
}

static inline void operator_free(struct operator_dir *d)
{
    static const char *const names[] = {"ca.key", "ca.pem", "tunnel.key", "tunnel.pem"};
    char path[128];

    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof(path), "%s/%s", d->path, names[i]);
        unlink(path);
    }
    rmdir(d->path);
}

/* Turns the loop until cond holds; the test fails after `ms`. */
#define TURN_UNTIL(loop, cond, ms)                                                                 \
    do {                                                                                           \
        uint64_t end_ = clock_mono_ms() + (ms);                                                    \
        while (!(cond) && clock_mono_ms() < end_)                                                  \
            loop_turn(loop, 5);                                                                    \
        assert_true(cond);                                                                         \
    } while (0)

static inline void turn_for(struct loop *l, uint64_t ms)
{
    uint64_t end = clock_mono_ms() + ms;

    while (clock_mono_ms() < end)
        loop_turn(l, 2);
}

#endif
