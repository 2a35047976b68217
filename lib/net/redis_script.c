/* Scripts by their SHA-1. What a run needs a second time is kept until Redis has shown that it
 * knows the script. */
#include "net/redis_script.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

/* One run on its way. */
struct run {
    struct redis *redis;
    const struct redis_script *script;
    redis_reply_fn *fn;
    void *arg;
    size_t count;       /* words behind the script: numkeys, keys, arguments */
    struct span *words; /* into bytes */
    uint8_t *bytes;
};

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

static void run_free(struct run *run)
{
    free(run->words);
    free(run->bytes);
    free(run);
}

static struct span keep(uint8_t **at, struct span word)
{
    const struct span kept = span_of(*at, word.len);

    if (word.len > 0)
        memcpy(*at, word.data, word.len);
    *at += word.len;
    return kept;
}

static struct run *run_new(struct redis *r, const struct redis_script *s, const struct span *keys,
                           const struct span *args, size_t argc)
{
    struct run *run = mem_zero(sizeof(*run));
    char numkeys[12];
    size_t bytes = sizeof(numkeys);

    for (size_t i = 0; i < s->numkeys; i++)
        bytes += keys[i].len;
    for (size_t i = 0; i < argc; i++)
        bytes += args[i].len;
    run->redis = r;
    run->script = s;
    run->words = mem_zero((1 + s->numkeys + argc) * sizeof(*run->words));
    uint8_t *at = run->bytes = mem_alloc(bytes);
    snprintf(numkeys, sizeof(numkeys), "%u", s->numkeys);
    run->words[run->count++] = keep(&at, span_str(numkeys));
    for (size_t i = 0; i < s->numkeys; i++)
        run->words[run->count++] = keep(&at, keys[i]);
    for (size_t i = 0; i < argc; i++)
        run->words[run->count++] = keep(&at, args[i]);
    return run;
}

static int run_send(struct run *run, struct span verb, struct span script, redis_reply_fn *fn)
{
    const size_t argc = 2 + run->count;
    struct span *argv = mem_alloc(argc * sizeof(*argv));

    argv[0] = verb;
    argv[1] = script;
    memcpy(argv + 2, run->words, run->count * sizeof(*argv));
    const int error = redis_command(run->redis, run->words[1], argv, argc, fn, run);
    free(argv);
    return error;
}

static void run_end(struct run *run, int error, const struct redisReply *reply)
{
    redis_reply_fn *fn = run->fn;
    void *arg = run->arg;

    run_free(run);
    if (fn)
        fn(arg, error, reply);
}

static void got_second(void *arg, int error, const struct redisReply *reply)
{
    run_end(arg, error, reply);
}

static bool is_unknown(int error, const struct redisReply *reply)
{
    return error == 0 && redis_reply_type(reply) == REDIS_FAILURE &&
           span_starts(redis_reply_text(reply), SPAN("NOSCRIPT"));
}

static void got_first(void *arg, int error, const struct redisReply *reply)
{
    struct run *run = arg;

    if (!is_unknown(error, reply))
        run_end(run, error, reply);
    else if (run_send(run, SPAN("EVAL"), span_str(run->script->source), got_second) < 0)
        run_end(run, E_UNAVAILABLE, NULL);
}

int redis_script_run(struct redis *r, const struct redis_script *s, const struct span *keys,
                     const struct span *args, size_t argc, redis_reply_fn *fn, void *arg)
{
    CHECK(s->sha[0]);
    struct run *run = run_new(r, s, keys, args, argc);
    run->fn = fn;
    run->arg = arg;
    const int error = run_send(run, SPAN("EVALSHA"), span_str(s->sha), got_first);
    if (error < 0)
        run_free(run);
    return error;
}
