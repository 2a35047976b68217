/* One way to fail: every function that can fail returns int, 0 or a negative E_… of this list. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stddef.h>

enum {
    E_OK = 0,
    E_INVALID = -1,      /* bytes or arguments that the format forbids */
    E_TOO_LARGE = -2,    /* above a configured or fixed bound */
    E_TOO_COMPLEX = -3,  /* JSON deeper or with more values than allowed */
    E_AGAIN = -4,        /* nothing now; more input or time is needed */
    E_NOT_FOUND = -5,    /* no such thing */
    E_EXISTS = -6,       /* already there (a replay, a duplicate) */
    E_AUTH = -7,         /* a tag, signature or pin did not match */
    E_CRYPTO = -8,       /* the cryptographic library refused */
    E_IO = -9,           /* a system call failed; errno says which */
    E_CLOSED = -10,      /* the peer is gone */
    E_TIMEOUT = -11,     /* a deadline passed */
    E_BUSY = -12,        /* at a limit; try elsewhere or later */
    E_PROTOCOL = -13,    /* the peer broke its protocol */
    E_UNAVAILABLE = -14, /* a service we need (Redis, engine) is away */
    E_EXPIRED = -15,     /* outside its time of validity */
    E_DENIED = -16,      /* known, and not allowed */
    E_UNSUPPORTED = -17  /* well-formed, but not something we do */
};

#define MUST_CHECK __attribute__((warn_unused_result))

/* Runs fn(&variable) when the variable leaves its scope; fn is a x_freep-style function made by
 * AUTO_FREE. */
#define AUTO(fn) __attribute__((cleanup(auto_##fn)))
/* Defines the cleanup helper that AUTO(fn) names, for `void fn(type *)`. */
#define AUTO_FREE(type, fn)                                                                        \
    static inline __attribute__((unused)) void auto_##fn(type **p)                                 \
    {                                                                                              \
        fn(*p);                                                                                    \
    }
/* The same for things that live in place: `void fn(type *)` on the object itself. */
#define AUTO_FINI(type, fn)                                                                        \
    static inline __attribute__((unused)) void auto_##fn(type *p)                                  \
    {                                                                                              \
        fn(p);                                                                                     \
    }

/* Returns x's error from the enclosing function; for functions whose resources clean themselves
 * up. */
#define TRY(x)                                                                                     \
    do {                                                                                           \
        int try_error_ = (x);                                                                      \
        if (try_error_ < 0)                                                                        \
            return try_error_;                                                                     \
    } while (0)

/* What must not happen. Stays on in release: says where, aborts. A peer's input never reaches a
 * CHECK. */
#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0))                                                          \
            check_failed(#cond, __FILE__, __LINE__);                                               \
    } while (0)

_Noreturn void check_failed(const char *what, const char *file, int line);

/* "E_INVALID" for -1 and so on; "E_UNKNOWN" for anything else. For logs, never for a client. */
const char *error_name(int error);
/* For people: of E_IO what the system says of this thread's errno, of others the name. Valid until
 * the thread asks again. */
const char *error_why(int error);

/* malloc and friends that abort when memory for small fixed things runs out. Sizes set by a peer
 * are bounded first. */
void *mem_alloc(size_t len) __attribute__((malloc, returns_nonnull));
void *mem_zero(size_t len) __attribute__((malloc, returns_nonnull)); /* zeroed */
void *mem_grow(void *p, size_t len) __attribute__((returns_nonnull));
char *mem_strdup(const char *s) __attribute__((malloc, returns_nonnull));

#endif
