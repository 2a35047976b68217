/* What an engine says about itself, read from its own bytes with bounds: models, context, version,
 * load. Pure. */
#ifndef BACKENDS_ENGINE_FACTS_H
#define BACKENDS_ENGINE_FACTS_H

#include "openai/request.h"

enum {
    FACTS_MAX_MODELS = 64,
    FACTS_NAME_MAX = 256,        /* with the NUL */
    FACTS_MAX_TOKENS = 1 << 30,  /* a context length beyond it is not believed */
    FACTS_MAX_BYTES = 256 * 1024 /* of one answer about itself */
};

struct facts_model {
    char name[FACTS_NAME_MAX];
    int64_t context; /* tokens of one request; 0: not told */
};

/* Embedded; {0} knows nothing. */
struct facts {
    enum engine_kind kind;
    char version[64]; /* visible ASCII; empty: not told */
    struct facts_model models[FACTS_MAX_MODELS];
    size_t model_count;
    int64_t slot_context; /* llama.cpp: tokens of one slot; 0: not told */
};

/* /v1/models: names, vLLM's max_model_len, and the kind by `owned_by`. Names that are no visible
 * ASCII or too long are left out. E_INVALID, E_TOO_COMPLEX; then *f is as it was. */
MUST_CHECK int facts_read_models(struct facts *f, struct span body);
/* llama.cpp's /props: one slot's context and the build. */
MUST_CHECK int facts_read_props(struct facts *f, struct span body);
/* vLLM's /version. */
MUST_CHECK int facts_read_version(struct facts *f, struct span body);
/* What POST /tokenize says: llama.cpp's list of tokens, vLLM's count. E_INVALID: anything else. */
MUST_CHECK int facts_read_count(enum engine_kind kind, struct span body, int64_t *tokens);
/* The prompt that llama.cpp's POST /apply-template made: its JSON string with the quotes, not
 * decoded. */
MUST_CHECK int facts_read_prompt(struct span body, struct span *json);
/* Tokens of context for the engine's name of a model; 0 when it does not tell. */
int64_t facts_context(const struct facts *f, struct span model);
/* "vllm", "llamacpp", "sglang", "generic". */
const char *engine_kind_name(enum engine_kind kind);

/* What /metrics tells of load; absent figures are 0. */
struct engine_load {
    bool known;       /* at least one of the names below was there */
    bool has_running; /* `running` was told */
    int64_t running, waiting;
    double kv; /* share of the KV cache in use, 0 … 1 */
};

/* Prometheus text (names: api.md §4). Series of several models or ranks are added up, the KV share
 * is the largest. */
void facts_read_metrics(struct engine_load *out, struct span text);

#endif
