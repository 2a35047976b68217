/* How many tokens usually go with what an answer shows, learned for each model from many machines
 * (money.md §4 (2)): a machine that counts more than the others do is cut to what is usual. Pure
 * integers. */
#ifndef BILLING_USUAL_H
#define BILLING_USUAL_H

#include "billing/price.h"
#include "billing/said.h"

/* One machine has one voice, however many owners or keys it has had: the figure is the lower median
 * of theirs, so that a liar moves nothing as long as most machines of the model count right. */
enum {
    USUAL_VOICES = 3,    /* machines that must be known, or there is no bound */
    USUAL_CALLS = 32,    /* of each of them */
    USUAL_LEAST = 32,    /* tokens of an answer that is learned from: of short ones too much is
                            template */
    USUAL_SLACK = 8,     /* tokens a choice besides: ends and marks that nobody sees */
    USUAL_TOOL = 32,     /* tokens a call of a tool besides: its frame */
    USUAL_MODELS = 256,  /* that are remembered; the one not heard of for longest makes room */
    USUAL_MACHINES = 64, /* of each, likewise */
    USUAL_MACHINE_LEN = 32
};

/* An answer as it was seen, from its first byte to its end. */
struct usual_seen {
    enum said_kind kind;
    uint64_t pieces; /* of a stream; 0: it came whole */
    uint64_t bytes;  /* of text; of what is sealed, sealed ones */
    bool thought;    /* reasoning was among it */
    int64_t choices; /* that ran side by side, ≥ 1 */
    uint64_t tools;
};

/* 0: no bound is known. */
struct usual_bounds {
    int64_t said; /* tokens besides the reasoning, where that may stay unsaid */
    int64_t out;  /* all */
    bool told;    /* its machine counts more an event, too, which no text can make it do */
};

struct usual;
struct usual *usual_new(void);
void usual_free(struct usual *u);
/* What this machine (hex; "": unknown) can claim for it, margin percent above: what is usual, where
 * its own figures are above that by more than the margin; four times it (of what is sealed, no
 * bound) where they are not, since some texts have few bytes a token. No bound: of a model that
 * too few have run, of a kind of text that is new, of an answer without text, and of sealed
 * reasoning that may stay unsaid. */
struct usual_bounds usual_bound(const struct usual *u, struct span model, const char *machine,
                                const struct usual_seen *seen, const struct price_tokens *claim,
                                int64_t margin);
/* What this machine claimed (uncut: it is its own voice) for an answer that ended by itself. */
void usual_learn(struct usual *u, struct span model, const char *machine,
                 const struct usual_seen *seen, const struct price_tokens *claim);
/* Models that are remembered. */
size_t usual_models(const struct usual *u);

#endif
