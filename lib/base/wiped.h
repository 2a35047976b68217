/* An allocator for libraries that plaintext and keys pass through: what they give back is zero. */
#ifndef BASE_WIPED_H
#define BASE_WIPED_H

#include <stddef.h>

/* As free and realloc of libc, for memory of malloc; NULL on failure, then *p is as it was. */
void wiped_free(void *p);
void *wiped_realloc(void *p, size_t len);

/* What JSON is read and written with is allocated so from now on; before any of it is. */
void wiped_json(void);

#endif
