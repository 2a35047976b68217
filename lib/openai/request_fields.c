/* The members of each endpoint's body, one line each (api.md §1.2, §1.3), and the engine extras
 * that pass or are refused. */
#include "openai/check.h"

/* Above any model's context; keeps every product of caps and choices far from overflow. */
enum { MOST_TOKENS = 2147483647, MOST_COEFFICIENT = 999999999 };

static const char *const efforts[] = {"none", "minimal", "low", "medium",
                                      "high", "xhigh",   "max", NULL};
static const char *const verbosities[] = {"low", "medium", "high", NULL};
static const char *const tiers[] = {"auto", "default", "flex", "scale", "priority", "fast", NULL};
static const char *const encodings[] = {"float", "base64", NULL};

/* Never forwarded, whatever the endpoint. */
#define OUR_RULES                                                                                  \
    {.name = "user", .kind = K_STRING, .use = PRIVATE},                                            \
        {.name = "max_coefficient", .kind = K_INTEGER, .max = MOST_COEFFICIENT, .use = PRIVATE},   \
    {                                                                                              \
        .name = "timeout", .kind = K_NUMBER, .check = check_timeout, .use = PRIVATE                \
    }

/* The samplers that chat and completions share. */
#define SAMPLER_RULES                                                                              \
    {.name = "stream", .kind = K_BOOL, .use = REWRITE},                                            \
        {.name = "stream_options",                                                                 \
         .kind = K_OBJECT,                                                                         \
         .check = check_stream_options,                                                            \
         .use = REWRITE},                                                                          \
        {.name = "temperature", .kind = K_NUMBER, .max = 2},                                       \
        {.name = "top_p", .kind = K_NUMBER, .max = 1},                                             \
        {.name = "frequency_penalty", .kind = K_NUMBER, .min = -2, .max = 2},                      \
        {.name = "presence_penalty", .kind = K_NUMBER, .min = -2, .max = 2},                       \
        {.name = "n", .kind = K_INTEGER, .check = check_n, .use = REWRITE},                        \
        {.name = "stop", .kind = K_ANY, .check = check_stop},                                      \
        {.name = "seed", .kind = K_INTEGER, .check = check_seed, .use = REWRITE},                  \
    {                                                                                              \
        .name = "logit_bias", .kind = K_OBJECT, .check = check_logit_bias                          \
    }

static const struct rule chat_rules[] = {
    {.name = "model", .kind = K_STRING, .required = true, .check = check_model, .use = REWRITE},
    {.name = "messages",
     .kind = K_ARRAY,
     .required = true,
     .min = 1,
     .max = INT64_MAX,
     .check = check_messages},
    SAMPLER_RULES,
    {.name = "max_completion_tokens",
     .kind = K_INTEGER,
     .min = 1,
     .max = MOST_TOKENS,
     .use = REWRITE},
    {.name = "max_tokens", .kind = K_INTEGER, .min = 1, .max = MOST_TOKENS, .use = REWRITE},
    {.name = "logprobs", .kind = K_BOOL},
    {.name = "top_logprobs", .kind = K_INTEGER, .max = 20},
    {.name = "response_format", .kind = K_OBJECT, .check = check_response_format},
    {.name = "tools", .kind = K_ARRAY, .min = 1, .max = INT64_MAX, .check = check_tools},
    {.name = "tool_choice", .kind = K_ANY, .check = check_tool_choice},
    {.name = "parallel_tool_calls", .kind = K_BOOL},
    {.name = "functions", .kind = K_ARRAY, .min = 1, .max = 128, .check = check_functions},
    {.name = "function_call", .kind = K_ANY, .check = check_function_call},
    {.name = "reasoning_effort", .kind = K_STRING, .words = efforts},
    {.name = "chat_template_kwargs", .kind = K_OBJECT, .check = check_template_kwargs},
    {.name = "modalities", .kind = K_ARRAY, .check = check_modalities},
    {.name = "service_tier", .kind = K_STRING, .words = tiers, .use = REWRITE},
    {.name = "store", .kind = K_BOOL, .check = check_store, .use = PRIVATE},
    {.name = "metadata", .kind = K_OBJECT, .check = check_metadata, .use = PRIVATE},
    {.name = "safety_identifier", .kind = K_STRING, .max = 64, .use = PRIVATE},
    {.name = "prompt_cache_key", .kind = K_STRING, .use = PRIVATE},
    {.name = "prompt_cache_options", .kind = K_ANY, .use = NAMED},
    {.name = "prompt_cache_retention", .kind = K_ANY, .use = NAMED},
    /* No engine that we know acts on these two. */
    {.name = "verbosity", .kind = K_STRING, .words = verbosities, .use = NAMED},
    {.name = "prediction", .kind = K_OBJECT, .check = check_prediction, .use = NAMED},
    {.name = "moderation", .kind = K_DENIED, .use = PRIVATE},
    {.name = "audio", .kind = K_DENIED, .use = PRIVATE},
    {.name = "web_search_options", .kind = K_DENIED, .use = PRIVATE},
    OUR_RULES,
    {0},
};

static const struct rule completions_rules[] = {
    {.name = "model", .kind = K_STRING, .required = true, .check = check_model, .use = REWRITE},
    {.name = "prompt", .kind = K_ANY, .check = check_prompt, .use = REWRITE},
    SAMPLER_RULES,
    {.name = "max_tokens", .kind = K_INTEGER, .max = MOST_TOKENS, .use = REWRITE},
    {.name = "best_of", .kind = K_INTEGER, .max = 20, .use = REWRITE},
    {.name = "echo", .kind = K_BOOL},
    {.name = "logprobs", .kind = K_INTEGER, .max = 5},
    {.name = "suffix", .kind = K_STRING},
    OUR_RULES,
    {0},
};

static const struct rule embeddings_rules[] = {
    {.name = "model", .kind = K_STRING, .required = true, .check = check_model, .use = REWRITE},
    {.name = "input", .kind = K_ANY, .required = true, .check = check_input},
    {.name = "encoding_format", .kind = K_STRING, .words = encodings},
    {.name = "dimensions", .kind = K_INTEGER, .min = 1, .max = MOST_TOKENS},
    OUR_RULES,
    {0},
};

/* Benign and wanted by users. */
const char *const extras_allowed[] = {
    "top_k",
    "min_p",
    "repetition_penalty",
    "min_tokens",
    "ignore_eos",
    "stop_token_ids",
    "include_reasoning",
    "structured_outputs",
    "thinking_token_budget",
    "include_stop_str_in_output",
    "skip_special_tokens",
    "typical_p",
    "repeat_penalty",
    "mirostat*",
    "dry_*",
    "xtc_*",
    NULL,
};

/* They load code or templates, reach the network, name other callers' state, leak, or burn the CPU.
 */
const char *const extras_denied[] = {
    "chat_template",
    "mm_processor_kwargs",
    "media_io_kwargs",
    "kv_transfer_params",
    "ec_transfer_params",
    "vllm_xargs",
    "request_id",
    "session_id",
    "priority",
    "cache_salt",
    "prompt_logprobs",
    "return_token_ids",
    "return_prompt_text",
    "echo",
    "documents",
    "allowed_token_ids",
    "id_slot",
    "cache_prompt",
    "lora",
    "grammar",
    NULL,
};

const struct rule *rules_of(enum endpoint e)
{
    static const struct rule *const tables[] = {
        [EP_CHAT] = chat_rules,
        [EP_COMPLETIONS] = completions_rules,
        [EP_EMBEDDINGS] = embeddings_rules,
    };
    return tables[e];
}

const struct rule *rule_find(const struct rule *table, struct span name)
{
    for (; table->name; table++)
        if (span_is(name, table->name))
            return table;
    return NULL;
}

bool rule_known(struct span name)
{
    return rule_find(chat_rules, name) || rule_find(completions_rules, name) ||
           rule_find(embeddings_rules, name);
}
