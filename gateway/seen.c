/* What this gateway saw of an answer, against which its worker's count is held, and from which it
 * learns what is usual (billing/usual.h). A cancelled answer is neither: its worker may have made
 * more than it could send. */
#include "gateway/charge.h"

/* A sealed stream has many pieces of an event each; another answer a few large ones. */
enum { STREAM_PIECES = 16, STREAM_PIECE_BYTES = 2048 };

void seen_begin(struct charge *ch)
{
    ch->said = (struct said){0};
    ch->streamed = false;
}

void seen_note(struct charge *ch, bool streamed, struct span bytes)
{
    ch->streamed = streamed;
    said_feed(&ch->said, bytes);
}

static struct usual_seen sealed(const struct dispatch_report *r)
{
    const bool stream =
        r->pieces >= STREAM_PIECES && r->answer_bytes / r->pieces <= STREAM_PIECE_BYTES;

    return (struct usual_seen){.kind = stream ? SAID_SEALED : SAID_SEALED_WHOLE,
                               .pieces = stream ? r->pieces : 0,
                               .bytes = r->answer_bytes,
                               .choices = 1};
}

static struct usual_seen opened(const struct charge *ch)
{
    return (struct usual_seen){.kind = said_kind(&ch->said),
                               .pieces = ch->streamed ? ch->said.pieces : 0,
                               .bytes = ch->said.bytes,
                               .thought = ch->said.reasoning > 0,
                               .choices = ch->choices,
                               .tools = ch->said.tools};
}

/* False: not all that was made was to be seen. */
static bool look(const struct charge *ch, const struct dispatch_report *r, struct usual_seen *out)
{
    if (!r->usage || r->abandoned || r->cancelled || (!ch->end_to_end && ch->choices == 0))
        return false;
    *out = ch->end_to_end ? sealed(r) : opened(ch);
    return true;
}

static struct price_tokens claim_of(const struct usage_record *u)
{
    return (struct price_tokens){u->in, u->cached, u->out, u->reasoning};
}

struct usual_bounds seen_bound(const struct charge *ch, const struct dispatch_report *r)
{
    struct usual_seen seen;

    if (!look(ch, r, &seen))
        return (struct usual_bounds){0};
    const struct price_tokens claim = claim_of(r->usage);
    return usual_bound(ch->gateway->usual, r->usage->model, pool_worker_machine(r->worker), &seen,
                       &claim, gateway_settings(ch->gateway)->usual_margin);
}

void seen_learn(const struct charge *ch, const struct dispatch_report *r)
{
    struct usual_seen seen;

    /* Nobody was told to stop: a record that says so is of a whole answer, and counts. */
    if (!look(ch, r, &seen) || r->usage->outcome == USAGE_ERROR)
        return;
    const struct price_tokens claim = claim_of(r->usage);
    usual_learn(ch->gateway->usual, r->usage->model, pool_worker_machine(r->worker), &seen, &claim);
}
