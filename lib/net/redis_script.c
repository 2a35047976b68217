/* Scripts by their SHA-1; redis_request.c sends the source where a server does not know one. */
#include "net/redis_script.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/redis_impl.h"

void redis_script_init(struct redis_script *s, const char *name, const char *source,
                       unsigned numkeys)
{
    uint8_t sha[EVP_MAX_MD_SIZE];
    unsigned len = 0;

    CHECK(numkeys > 0);
    CHECK(EVP_Digest(source, strlen(source), sha, &len, EVP_sha1(), NULL) == 1);
    CHECK(2 * len == REDIS_SHA_LEN);
    *s = (struct redis_script){.name = name, .source = source, .numkeys = numkeys};
    for (unsigned i = 0; i < len; i++)
        snprintf(s->sha + 2 * i, 3, "%02x", sha[i]);
}

int redis_script_run(struct redis *r, const struct redis_script *s, const struct span *keys,
                     const struct span *args, size_t argc, redis_reply_fn *fn, void *arg)
{
    const size_t count = 1 + s->numkeys + argc;
    struct span *words = mem_alloc(count * sizeof(*words));
    char numkeys[12];

    CHECK(s->sha[0]);
    snprintf(numkeys, sizeof(numkeys), "%u", s->numkeys);
    words[0] = span_str(numkeys);
    memcpy(words + 1, keys, s->numkeys * sizeof(*words));
    if (argc > 0)
        memcpy(words + 1 + s->numkeys, args, argc * sizeof(*words));
    const struct redis_words w = {.script = s, .argv = words, .argc = count};
    const int error = redis_request_give(r, keys[0], w, fn, arg);
    free(words);
    return error;
}
