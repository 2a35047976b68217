/* The inference engine beside the worker: where it is, what it is, whether it lives and how busy it
 * is. Loop's thread only. */
#ifndef BACKENDS_ENGINE_ENGINE_H
#define BACKENDS_ENGINE_ENGINE_H

#include "backends/engine/facts.h"
#include "net/http_client.h"
#include "net/offload.h"

struct engine;

struct engine_options {
    const char *url;      /* http://127.0.0.1:port or unix:/path; copied */
    const char *kind;     /* auto llamacpp vllm sglang generic */
    uint64_t silent_ms;   /* a call's engine silent for so long is given up */
    unsigned connections; /* kept alive at most */
    struct offload *offload;
};

/* The engine came up or went down, or says that it is something else. */
typedef void engine_change_fn(void *arg);

/* Starts probing at once, and goes on for ever: every second while down, every two while up. */
MUST_CHECK int engine_new(struct engine **out, struct loop *l, const struct engine_options *o,
                          engine_change_fn *changed, void *arg);
/* Every run must have been cancelled or have ended. */
void engine_free(struct engine *e);

/* It answers /health and lists models. */
bool engine_up(const struct engine *e);
enum engine_kind engine_kind(const struct engine *e);
const struct facts *engine_facts(const struct engine *e);
/* At most two seconds old; known is false where the engine has no metrics. */
const struct engine_load *engine_load(const struct engine *e);
/* Requests that we have cancelled and that the engine's own figures still show as running (api.md
 * §0 rule 7). Always 0 where the engine tells no figures. */
unsigned engine_lingering(const struct engine *e);

#endif
