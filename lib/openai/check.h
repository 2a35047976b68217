/* How a request's members are judged: a rule each, the faults they make, and the path that names
 * the culprit. Internal to lib/openai. */
#ifndef OPENAI_CHECK_H
#define OPENAI_CHECK_H

#include "base/json.h"
#include "openai/request.h"

/* The place of a value, innermost first; rendered only when something is wrong. */
struct at {
    const struct at *up; /* NULL: a member of the body itself */
    const char *name;    /* NULL: an element, by index */
    size_t index;
};

struct check {
    struct request *rq;
    const struct request_rules *rules;
    struct api_fault *fault;
    json_t *doc; /* the body; owned by request_parse */
};

enum rule_kind { K_ANY, K_STRING, K_INTEGER, K_NUMBER, K_BOOL, K_ARRAY, K_OBJECT, K_DENIED };

/* What becomes of a member of the body. */
enum rule_use {
    PASS,    /* goes to the worker and to the engine as it is */
    REWRITE, /* goes to the worker; the engine gets ours instead */
    PRIVATE, /* ours: never forwarded */
    NAMED    /* accepted without effect: not forwarded, named in `ignored` */
};

struct rule;
typedef int check_fn(struct check *c, const struct at *at, json_t *value);

/* One member. Tables of rules end with a {0}. */
struct rule {
    const char *name;
    enum rule_kind kind;
    bool required;
    int64_t min,
        max; /* of numbers; of a string's characters or an array's length; both 0: unbounded */
    const char *const *words; /* a string's legal values, NULL-terminated; NULL: any */
    check_fn *check;          /* what the columns cannot say; runs last, never on null */
    enum rule_use use;
};

/* json_read for a request's body, with the same verdict, but that integers may be beyond 64 bits:
 * they are read as the largest one. Texts of prompts and messages that are longer than
 * BODY_TEXT_LONG bytes as written are cut in *doc, behind at least BODY_TEXT_KEPT: a rule for such
 * a member looks at no more (request_read.c has the list). */
enum { BODY_TEXT_LONG = 256, BODY_TEXT_KEPT = 64 };
MUST_CHECK int body_read(struct span body, json_t **doc);

/* Applies each rule to the member of its name. Null means absent for whatever need not be there:
 * the published contract says so of most members, and clients send it for the others (tools,
 * tool_choice, user …). at NULL: the object is the body. */
MUST_CHECK int check_object(struct check *c, const struct at *at, json_t *object,
                            const struct rule *rules);
/* One value against one rule. */
MUST_CHECK int check_value(struct check *c, const struct at *at, const struct rule *rule,
                           json_t *value);

/* The table of an endpoint (request_fields.c), and its entry of that name or NULL. */
const struct rule *rules_of(enum endpoint e);
const struct rule *rule_find(const struct rule *table, struct span name);
/* True when any endpoint has a member of that name. */
bool rule_known(struct span name);
/* True when name stands in the list; an entry that ends in '*' stands for every name that begins
 * so. */
bool list_has(const char *const *list, struct span name);
extern const char *const extras_allowed[], *const extras_denied[];

/* A tool_choice that is an object or "required", as a word in JSON with its quotes; appends the
 * tools that it means to *tools. NULL: it is another, or names none that is there (*tools may hold
 * bytes then). */
const char *tools_in_words(struct span all, struct span choice, struct buf *tools);
/* Appends a response_format that lets an answer be nothing but a call of one of the tools. False:
 * no schema says what theirs say, or they are too many (*out may hold bytes then). */
bool tools_as_format(struct span tools, struct buf *out);

/* Wipes; it may be made anew. */
void request_told_forget(struct request_told *t);

/* The older form of tools as the newer one (request_functions.c): appends `functions` as `tools`,
 * `function_call` as `tool_choice`, and messages without that member and its role; whether there
 * are any. */
void functions_as_tools(struct span functions, struct buf *out);
void function_as_choice(struct span call, struct buf *out);
MUST_CHECK int functions_out_of_messages(struct span messages, struct buf *out);
bool functions_in_messages(json_t *messages);

/* Messages and tools for an engine (request_bare.c): whether any of their members says nothing, and
 * the value without those, all else byte for byte. */
bool bare_needed(json_t *value);
void bare_append(struct buf *out, struct span value);

/* Faults; each returns E_INVALID. */
enum { AT_TEXT_LEN = 160 };
void at_render(const struct at *at, char out[static AT_TEXT_LEN]);
int fault_at(struct check *c, const struct api_error *e, const struct at *at);
int fault_type(struct check *c, const struct at *at, const char *expected, json_t *got);
int fault_words(struct check *c, const struct at *at, const char *const *words);
int fault_says(struct check *c, const struct api_error *e, const struct at *at, const char *text);

/* A member that is there and not null. */
json_t *present(json_t *object, const char *name);
/* The string value as bytes; empty for anything else. */
struct span string_of(json_t *value);
/* Characters of well-formed UTF-8. */
size_t utf8_count(struct span s);
/* Adds a name to `ignored` (api.md §3.2). */
void ignore_name(struct request *rq, struct span name);

/* Checks that do not fit a column (request_common.c, request_chat.c, request_completions.c,
 * request_embeddings.c). */
check_fn check_model, check_stop, check_logit_bias, check_metadata, check_stream_options,
    check_store, check_timeout, check_n, check_seed;
check_fn check_messages, check_tools, check_tool_choice, check_functions, check_function_call,
    check_response_format, check_prediction, check_modalities, check_template_kwargs;
check_fn check_prompt, check_input;
/* What several members must agree on, after each was checked alone. */
MUST_CHECK int check_chat_combination(struct check *c);
MUST_CHECK int check_completions_combination(struct check *c);

/* What `prompt` and `input` may be: a string, strings, tokens, or arrays of tokens. */
struct text_rules {
    struct rule text;   /* each string */
    struct rule tokens; /* each array of tokens */
    struct rule list;   /* the array of strings or of arrays of tokens */
};
/* Checks all forms; *count is the number of texts. */
MUST_CHECK int check_texts(struct check *c, const struct at *at, const struct text_rules *t,
                           json_t *value, int64_t *count);

/* One member that is passed on: an element of request.kept. */
struct kept {
    struct json_member member;
    const struct rule *rule; /* NULL: an engine extra */
};

#endif
