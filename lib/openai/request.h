/* A request as the API defines it (api.md §1.2, §1.3): validated, bounded, and spliced for the next
 * hop; no I/O. */
#ifndef OPENAI_REQUEST_H
#define OPENAI_REQUEST_H

#include "base/buf.h"
#include "openai/error.h"

enum endpoint { EP_CHAT, EP_COMPLETIONS, EP_EMBEDDINGS };
/* "/v1/chat/completions" and so on. */
const char *endpoint_path(enum endpoint e);
/* The endpoint of a path (exact, with /v1); E_NOT_FOUND. */
MUST_CHECK int endpoint_of(struct span path, enum endpoint *out);

/* Which engine extras pass: the shipped lists (api.md §1.2), and the operator's or worker's own on
 * top of them, whose word counts; what both of its lists name is denied, members of the API too. */
struct request_rules {
    bool strict; /* unknown members are 400 unknown_parameter, not dropped */
    const char *const *allowed, *const *denied; /* NULL-terminated names, NAME* for a beginning;
                                                   borrowed; NULL: none */
    unsigned max_n;                             /* 128 */
};

enum engine_kind { ENGINE_GENERIC, ENGINE_LLAMACPP, ENGINE_VLLM, ENGINE_SGLANG };

/* What an engine of one kind is told instead of what the caller wrote; empty: that. */
struct request_told {
    bool made;
    enum engine_kind kind;
    struct buf messages, tools, choice;
    struct buf format; /* a schema that makes it call one of the tools */
    const char *tops;  /* the member that is 1 instead; NULL: none */
};

struct request {
    enum endpoint endpoint;
    struct span body; /* borrowed: the JSON as received; must outlive the request */
    struct buf model; /* decoded; NUL-terminated behind */
    bool strict;      /* as of the rules: whoever reads it next shall drop nothing either */
    bool stream;
    bool include_usage;       /* stream_options.include_usage */
    bool include_obfuscation; /* stream_options.include_obfuscation: true */
    int64_t choices;    /* n; for completions max(n, best_of) counts towards tokens, `choices` are
                           those answered */
    int64_t sequences;  /* prompts × max(n, best_of): what multiplies the cap */
    int64_t prompts;    /* completions: number of prompts; embeddings: of inputs; chat: 1 */
    int64_t cap;        /* completion tokens per choice that the body asks for; -1: none given
                           (completions: 16) */
    bool base64;        /* embeddings: encoding_format */
    int64_t dimensions; /* embeddings; 0: the model's own */
    bool logprobs;
    int64_t top_logprobs; /* the likeliest that are told of beside each token */
    bool shows_other; /* what is answered is not all that is made, or not that alone: reasoning or
                         ends are hidden, the prompt is repeated */
    bool has_tools;
    bool has_functions;      /* `functions`: the answer tells a call in that form, too */
    bool has_function_calls; /* … and so do messages */
    bool has_empty; /* members of messages or tools say nothing: the engine gets none of them */
    uint64_t timeout_ms;     /* `timeout` (ours); 0: none */
    int64_t max_coefficient; /* ours; -1: none */
    struct buf conversation; /* wire.md §10: user ‖ 00 ‖ prompt_cache_key ‖ 00 ‖ first messages, ≤ 1
                                KiB after the two names */
    struct buf ignored;     /* Cocoon-Ignored value (api.md §3.2); empty: nothing was dropped */
    unsigned ignored_count; /* names in it, at most 32 */
    struct buf kept; /* the members to pass on: internal to request_forward and request_engine */
    struct request_told told; /* internal to request_prepare and request_engine */
};

/* Reads and checks a body. Long bodies (request_reading.h) belong into the offload pool: pure, any
 * thread. E_INVALID with *fault set. On success *out is owned: request_fini. */
MUST_CHECK int request_parse(struct request *out, enum endpoint endpoint, struct span body,
                             const struct request_rules *rules, struct api_fault *fault);
/* Lets go of the body and of what was copied from its texts: no body can be made of it any more,
 * all that was read of it stays. */
void request_forget_body(struct request *rq);
void request_fini(struct request *rq); /* wipes */
AUTO_FINI(struct request, request_fini)

/* Appends the value of Cocoon-Ignored (api.md §3.2): the names in `ignored`, and what `more`, such
 * a value from whoever read the body next (foreign; empty: none), has beside them; at most 32 in
 * all. */
void request_ignored(const struct request *rq, struct span more, struct buf *out);

/* Appends the body for the worker: `model` replaced by the served name, what is ours, dropped or
 * never forwarded (metadata, user, safety_identifier, prompt_cache_key, store, timeout,
 * max_coefficient …) left out, all else byte for byte. */
MUST_CHECK int request_forward(const struct request *rq, struct span served_model, struct buf *out);

/* The value of a top-level member of the API that is passed on, as the caller wrote it; data NULL:
 * absent or null. */
struct span request_member(const struct request *rq, const char *name);

/* What the worker adds for its engine. */
struct engine_ask {
    enum engine_kind kind;
    struct span model;      /* the engine's own name for it; data NULL: leave */
    int64_t cap;            /* completion tokens per choice, ≥ 0: always written */
    struct span cache_salt; /* vLLM: written as cache_salt; data NULL: none */
    int64_t choice; /* ≥ 0: ask for this one choice alone (n = 1; seed + choice when a seed was
                       given); -1: as the body says */
    int64_t prompt; /* ≥ 0: for completions of several prompts, this prompt alone; -1: as the body
                       says */
};
/* Makes, once, what an engine of that kind is told of messages and tools; request_engine makes for
 * itself what was not prepared. */
void request_prepare(struct request *rq, enum engine_kind kind);
/* True when the engine that it was prepared for is told by a schema to answer with a call, as the
 * text
 * {"name":…,"arguments":{…}}: one that must be made, and that the engine's own grammar for calls
 * would let it leave out (llama.cpp, whose grammar lets any prose come first). */
bool request_calls_in_text(const struct request *rq);
/* Appends the engine's body: stream and include_usage on (not for embeddings), cap, model, salt;
 * the engine's names for things. */
MUST_CHECK int request_engine(const struct request *rq, const struct engine_ask *ask,
                              struct buf *out);

#endif
