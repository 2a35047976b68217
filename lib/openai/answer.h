/* Answers: an engine's events and errors turned into the final client bytes (api.md §1.3, §2;
 * wire.md §5). Pure, no I/O. */
#ifndef OPENAI_ANSWER_H
#define OPENAI_ANSWER_H

#include "openai/request.h"

/* Token counts of one call (wire.md §12): cached ≤ in, reasoning ≤ out. */
struct usage {
    int64_t in, cached, out, reasoning;
};

enum answer_padding { PADDING_NONE, PADDING_POW2, PADDING_64 };

struct answer_options {
    enum endpoint endpoint;
    enum engine_kind kind;
    struct span public_model; /* printed as `model` */
    bool stream;              /* client bytes are SSE; else one JSON body at the end */
    bool include_usage;       /* cocoon-include-usage */
    bool base64;              /* embeddings */
    int64_t dimensions;       /* of each vector; 0: as the engine gives them */
    enum answer_padding padding;
    int64_t choices;          /* choices expected in all (prompts × n); embeddings: vectors */
    int64_t prompts;          /* choices / prompts share one prompt's tokens; 0: 1 */
    const char *service_tier; /* NULL: none */
    bool mute; /* completions of no token, of which engines make one: it is not told nor counted */
    int64_t top_logprobs; /* the likeliest told of beside each token; engines list more */
    bool calls_in_text;   /* chat: request_calls_in_text */
    bool as_function;     /* chat: a call is told in the older form (request.has_functions) */
    struct span echo; /* completions: the request's prompts as JSON, each to stand before its texts,
                         where the engine does not do that; data NULL: no. Copied */
};

struct answer;

struct answer *answer_new(const struct answer_options *o); /* public_model is copied */
void answer_free(struct answer *a);                        /* wipes */
AUTO_FREE(struct answer, answer_free)

/* One SSE event's data of the engine (or, for embeddings, its whole JSON body). first_choice is
 * added to the choice index of the event (fan-out: one engine request a choice), and names the
 * engine's request. Stream: appends complete client events to out (maybe none). Non-stream:
 * collects.
 * "[DONE]" is taken as such. Texts and numbers are copied as the engine wrote them, but bytes that
 * are not UTF-8 and escaped halves of surrogate pairs become U+FFFD. After an error the answer is
 * over, and out is as it was. E_PROTOCOL: not what an engine may send; E_UNAVAILABLE: the event is
 * an error, a finish_reason that says the engine gave up, or vectors of other dimensions than
 * asked: *fault is set (map it to an HTTP answer while nothing was sent, else to an event);
 * E_TOO_LARGE: an event above 8 MiB, or more than 64 MiB collected. */
MUST_CHECK int answer_feed(struct answer *a, struct span event, int64_t first_choice,
                           struct buf *out, struct api_fault *fault);
/* One engine stream ended cleanly (its [DONE] was seen or its connection closed). Fan-out: call for
 * each, then finish. */
/* True once every expected choice has its finish_reason (embeddings: the body is there). */
bool answer_complete(const struct answer *a);
/* True once anything but pings was produced for the client (a stream), or collected. */
bool answer_started(const struct answer *a);
/* The end. E_PROTOCOL when not complete: the engine broke off. Stream: usage_event gets the usage
 * event (only with include_usage; choices [], usage last, one chunk, ends in "}}\n\n"), rest gets
 * "data: [DONE]\n\n". Non-stream: usage_event gets the whole JSON body with usage last, rest
 * nothing. usage: what to bill, completion counted over all choices. */
MUST_CHECK int answer_finish(struct answer *a, struct buf *usage_event, struct buf *rest,
                             struct usage *usage);
/* Counts so far, for a cancelled or failed call; tokens not yet reported by the engine are counted
 * as one an event with content. */
void answer_usage(const struct answer *a, struct usage *out);
/* "stop" or "length" for the usage record: length if any choice ended so. */
bool answer_any_length(const struct answer *a);

/* An engine's HTTP error (status ≥ 400, its body) as one of our table: api.md §0 rule 8, §4;
 * engine.md §6. Always sets *fault; texts are ours. 4xx that are the request's fault stay 4xx; the
 * rest becomes ERR_WORKER_ERROR (502) or ERR_OVERLOADED-like. */
void engine_fault(enum engine_kind kind, unsigned status, struct span body,
                  struct api_fault *fault);

/* The comment line that keeps an idle stream alive (api.md §0 rule 5). */
#define ANSWER_PING ": ping\n"

#endif
