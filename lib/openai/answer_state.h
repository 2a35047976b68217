/* What an answer remembers between events, and the pieces that write it. Internal to lib/openai. */
#ifndef OPENAI_ANSWER_STATE_H
#define OPENAI_ANSWER_STATE_H

#include "base/json.h"
#include "openai/answer.h"

enum { MOST_TOOLS = 128 };     /* calls of one choice */
enum { MOST_EVENT = 8 << 20 }; /* bytes of one event of a generation */
enum {
    MOST_COLLECTED = 64 << 20
}; /* bytes of all events of a body made at the end, and of an embedding's */

/* A tool call in the making; its place in the list is the index that the client sees. Texts are
 * JSON string insides. */
struct tool {
    int64_t engine_index;
    bool pending;   /* the next event of a stream must speak of it */
    bool announced; /* id and type were sent */
    bool named;     /* its name came */
    struct buf id, name, arguments;
};

/* A call that comes as the engine's text, decoded. */
struct call_text {
    enum {
        CALL_TEXT_NONE,      /* texts are texts */
        CALL_TEXT_LEAD,      /* what stands before the arguments is held until it is all there */
        CALL_TEXT_ARGUMENTS, /* they pass as they come */
        CALL_TEXT_ENDED      /* what is behind them says nothing */
    } state;
    struct buf held;
    size_t tool;    /* which of the choice's it is, once it began */
    unsigned depth; /* of the arguments' brackets */
    bool in_string, escaped;
};

/* chat: content and refusal; completions: the four arrays of the legacy shape. */
enum { LP_CONTENT, LP_REFUSAL };
enum { LP_TOKENS, LP_VALUES, LP_TOP, LP_OFFSETS, LP_LISTS };

/* One choice. What an event brings is collected here; a stream writes it out and clears it after
 * each event, a body keeps it to the end. Texts are JSON string insides, logprobs elements of
 * arrays. */
struct choice {
    bool opened;        /* its role was sent */
    const char *finish; /* NULL: it goes on */
    size_t text_chars;  /* completions: where the next token begins, for text_offset */
    struct tool *tools;
    size_t tool_count;
    struct call_text call_text;
    struct buf text, refusal, reasoning, reasoning_content, call_name, call_arguments;
    bool has_logprobs;
    size_t most_tops; /* told of beside each token */
    struct buf logprobs[LP_LISTS];
};

/* One request to the engine, named by the first of its choices. */
struct stream {
    bool reported; /* its usage came */
    struct usage usage;
    int64_t tokens;  /* events with content */
    int64_t choices; /* choices that began in it */
};

struct answer {
    struct answer_options o;
    struct buf public_model, service_tier, echo;
    struct choice *choices;
    struct stream *streams;
    int64_t count;    /* of both */
    int64_t finished; /* choices with a finish_reason */
    bool started;
    bool any_length;
    struct buf head; /* what each event, or the body, begins with: up to and with `"choices":[` */
    struct buf scratch; /* a repaired event */
    struct buf data;    /* embeddings: the elements */
    bool has_data;
    size_t collected; /* bytes of the events so far */
};

/* Finds members by name; null counts as absent, and what is absent keeps its value. E_PROTOCOL: no
 * object. */
struct pick {
    const char *name;
    struct span *value;
};
MUST_CHECK int pick_members(struct span object, const struct pick *picks, size_t count);
#define PICK(object, picks) pick_members(object, picks, sizeof(picks) / sizeof((picks)[0]))

/* Each endpoint's part. feed takes one element of the event's `choices` and writes a stream's
 * event; body writes the collected choice as an element of the body's `choices`. */
MUST_CHECK int chat_feed(struct answer *a, int64_t index, struct stream *s, struct span element,
                         struct buf *out);
MUST_CHECK int completions_feed(struct answer *a, int64_t index, struct stream *s,
                                struct span element, struct buf *out);
void chat_body(const struct answer *a, int64_t index, struct buf *out);
void completions_body(const struct answer *a, int64_t index, struct buf *out);
/* The whole `data` of an embeddings answer into a->data. E_INVALID: vectors of other dimensions
 * than were asked for; E_PROTOCOL. */
MUST_CHECK int embeddings_feed(struct answer *a, struct span data);

/* A tool_calls array into the choice's tools; a stream's pending ones written as a delta's member
 * value, and those of a body. */
MUST_CHECK int tools_take(struct choice *c, struct span calls);
/* Adds a call of that name (a string's inside) without arguments so far, pending. E_TOO_LARGE. */
MUST_CHECK int tools_begin(struct choice *c, struct span name);
bool tools_pending(const struct choice *c);
void tools_settle(struct choice *c); /* nothing is pending any more */
/* What is pending of the first call becomes the choice's function_call; there is but one. */
void tools_as_function(struct choice *c);
void tools_write_delta(struct choice *c, struct buf *out);
void tools_write_body(const struct choice *c, struct buf *out);
void tools_free(struct choice *c);

/* A text of the engine into the choice's call, while call_text says that one is awaited; then the
 * end, once the choice has its finish: a text that was no call becomes the choice's text, and a
 * call that is whole, not cut by one of the request's `stop`, is why it ended. */
MUST_CHECK int call_text_take(struct choice *c, struct span content);
void call_text_end(struct choice *c);

/* One client event around an element of `choices`. begin returns what end needs. */
MUST_CHECK size_t event_begin(const struct answer *a, struct buf *out);
void event_end(const struct answer *a, size_t start, struct buf *out);

/* Appends the inside of a string value to `to`; E_PROTOCOL when value is there and no string. */
MUST_CHECK int take_text(struct buf *to, struct span value);
/* Marks the choice finished; E_UNAVAILABLE when the engine says that it gave up. */
MUST_CHECK int take_finish(struct answer *a, struct choice *c, struct span reason);
/* `"finish_reason":…` */
void write_finish(const char *finish, struct buf *out);

/* An engine's logprobs into the lists of the shape that the endpoint prints; then the object of
 * each shape. E_PROTOCOL. */
MUST_CHECK int logprobs_take_chat(struct choice *c, struct span logprobs);
MUST_CHECK int logprobs_take_legacy(struct choice *c, struct span logprobs);
void logprobs_write_chat(const struct choice *c, struct buf *out);
void logprobs_write_legacy(const struct choice *c, struct buf *out);

/* Characters of a string's inside, an escape being one. */
size_t inside_chars(struct span inside);
/* A non-negative integer value, or `otherwise`. */
int64_t integer_of(struct span value, int64_t otherwise);
/* Usage of one stream, as the engine reports it. E_PROTOCOL. */
MUST_CHECK int usage_take(struct stream *s, struct span usage);
/* Appends the usage object. */
void usage_write(const struct answer *a, const struct usage *u, struct buf *out);

/* Appends a string whose inside is as it stands in JSON. */
static inline void append_string(struct buf *out, struct span inside)
{
    buf_byte(out, '"');
    buf_append(out, inside);
    buf_byte(out, '"');
}

/* Appends what separates an element from the one before it in a list. */
static inline void append_comma(struct buf *list)
{
    if (list->len > 0)
        buf_byte(list, ',');
}

#endif
