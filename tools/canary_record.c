/* Each canary is asked twice: what is drawn anew each time is no known answer. */
#include "tools/canary_record.h"

#include <stdio.h>
#include <stdlib.h>

/* What a canary becomes: its answers and one more. */
struct recorded {
    struct canary canary;
    struct canary_answer *answers;
    struct buf text;
};

static void recorded_fini(struct recorded *r)
{
    buf_wipe(&r->text);
    free(r->answers);
}
AUTO_FINI(struct recorded, recorded_fini)

/* An answer that is not among the known ones goes to their end. */
static void record_answer(struct recorded *out, const struct canary *c, struct canary_reply *a)
{
    const size_t count = c->answers.count;

    out->canary = *c;
    out->canary.prompt_tokens = a->used.in;
    out->answers = mem_zero((count + 1) * sizeof(*out->answers));
    for (size_t i = 0; i < count; i++)
        out->answers[i] = *canary_answer_at(c, i);
    out->canary.answers.items = out->answers;
    if (canary_judge(&out->canary, buf_span(&a->text), &a->used) == CANARY_RIGHT)
        return;
    buf_take(&out->text, &a->text);
    out->answers[count] = (struct canary_answer){buf_cstr(&out->text), a->used.out};
    out->canary.answers.count = count + 1;
}

static void print_canary(const struct canary *c)
{
    AUTO(buf_wipe) struct buf text = {0};

    canary_write(c, &text);
    fwrite(text.data, 1, text.len, stdout);
}

static const char *ask_twice(struct canary_client *client, const struct canary *c,
                             const uint8_t kfp[static KFP_LEN], struct canary_reply *out,
                             struct canary_reply *again)
{
    canary_client_ask(client, c, kfp, out);
    if (!out->answered)
        return out->fault.message;
    if (out->text.len == 0)
        return "the answer has no text";
    if (memchr(out->text.data, 0, out->text.len))
        return "the answer holds a NUL, which no file of canaries can";
    canary_client_ask(client, c, kfp, again);
    if (!again->answered)
        return again->fault.message;
    if (!span_eq(buf_span(&out->text), buf_span(&again->text)) ||
        out->used.out != again->used.out || out->used.in != again->used.in)
        return "asked again, the worker answers something else, so this is no canary";
    return NULL;
}

/* False: it stays as it was. */
static bool record_one(const struct canary_recording *at, size_t number,
                       const uint8_t kfp[static KFP_LEN])
{
    AUTO(canary_reply_fini) struct canary_reply reply = {0}, again = {0};
    AUTO(recorded_fini) struct recorded r = {.answers = NULL};
    const struct canary *old = canary_at(at->file, number);
    const char *why = ask_twice(at->client, old, kfp, &reply, &again);
    char tag[CANARY_TAG_LEN + 1];

    if (why) {
        (void)failure(at->command, "canaries[%zu]: %s", number, why);
        print_canary(old);
        return false;
    }
    record_answer(&r, old, &reply);
    print_canary(&r.canary);
    canary_tag(tag, canary_client_key(at->client), &r.canary, span_str(reply.digest));
    if (canary_pool_prove(at->redis, tag) == 0)
        return true;
    (void)failure(at->command,
                  "canaries[%zu]: Redis does not answer, so that it counts only once a worker "
                  "has given this answer",
                  number);
    return false;
}

/* False: the reason was said. */
static bool find_key(const struct canary_recording *at, const char *which,
                     uint8_t kfp[static KFP_LEN])
{
    AUTO_JSON json_t *registry = NULL;
    int error = canary_pool_read(at->redis, &registry);

    if (error == 0) {
        const json_t *worker = registry_find(at->command, registry, which);
        if (!worker)
            return false;
        error = canary_pool_key(at->redis, shown_text(worker, "iid"), kfp);
    }
    if (error == E_NOT_FOUND)
        (void)failure(at->command, "the worker's key is not known: it has just left, or Redis was "
                                   "emptied lately");
    else if (error < 0)
        (void)pool_store_failure(at->command, error);
    return error == 0;
}

bool canary_record(const struct canary_recording *at, const char *which)
{
    uint8_t kfp[KFP_LEN];
    bool fine = true;

    if (!find_key(at, which, kfp))
        return false;
    puts("canaries:");
    for (size_t i = 0; i < at->file->canaries.count; i++)
        fine = record_one(at, i, kfp) && fine;
    return fine;
}
