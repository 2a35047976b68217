/* Whom to ask, what, and when; the marks at the end. */
#include "tools/canary_round.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/random.h"

/* ---- Whose fault ---- */

/* Of what the gateway or this side says; a worker's own word could keep others from being asked. */
static bool stops_all(const struct api_fault *fault)
{
    const unsigned status = fault->error->status;

    return status == 401 || status == 429 || fault->error == &ERR_ACCOUNT_SUSPENDED ||
           fault->error == &ERR_GATEWAY_UNREACHABLE || fault->error == &ERR_SERVICE_UNAVAILABLE;
}

static bool is_ours(const struct api_fault *fault)
{
    const unsigned status = fault->error->status;

    return stops_all(fault) || (status >= 400 && status < 500) || fault->error == &ERR_INTERNAL ||
           fault->error == &ERR_NO_PRICE;
}

/* ---- Whom to ask ---- */

static bool lists(const json_t *worker, const char *model)
{
    const json_t *models = json_object_get(worker, "models");

    for (size_t i = 0; i < json_array_size(models); i++) {
        const char *name = json_string_value(json_array_get(models, i));
        if (name && strcmp(name, model) == 0)
            return true;
    }
    return false;
}

static bool may_be_asked(const json_t *worker)
{
    return strcmp(shown_text(worker, "state"), "ready") == 0 &&
           !json_is_true(json_object_get(worker, "drained")) &&
           !json_is_false(json_object_get(worker, "accepting"));
}

/* The first canary of each model stands for it. */
static bool is_first_of_model(const struct canaries_config *f, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (strcmp(canary_at(f, i)->model, canary_at(f, at)->model) == 0)
            return false;
    return true;
}

static size_t models_of(const struct canaries_config *f)
{
    size_t count = 0;

    for (size_t i = 0; i < f->canaries.count; i++)
        count += is_first_of_model(f, i);
    return count;
}

static void add_row(struct canary_round *r, const json_t *worker, const char *model)
{
    struct canary_row *row = &r->rows[r->count++];

    *row = (struct canary_row){.model = model};
    snprintf(row->label, sizeof(row->label), "%.64s", shown_text(worker, "label"));
    snprintf(row->iid, sizeof(row->iid), "%.32s", shown_text(worker, "iid"));
}

static void add_model(struct canary_round *r, const json_t *workers, const char *model)
{
    bool known = false;

    for (size_t i = 0; i < json_array_size(workers); i++) {
        const json_t *w = json_array_get(workers, i);
        if (!lists(w, model))
            continue;
        known = true;
        if (may_be_asked(w))
            add_row(r, w, model);
    }
    if (!known)
        buf_printf(&r->problems, "no worker here has a model of the name \"%s\"\n", model);
}

static void shuffle(struct canary_round *r)
{
    for (size_t i = r->count; i > 1; i--) {
        const size_t j = random_below(i);
        const struct canary_row row = r->rows[i - 1];
        r->rows[i - 1] = r->rows[j];
        r->rows[j] = row;
    }
}

static int find_rows(struct canary_round *r)
{
    AUTO_JSON json_t *registry = NULL;

    TRY(canary_pool_read(r->redis, &registry));
    const json_t *workers = json_object_get(registry, "workers");
    r->rows = mem_zero((json_array_size(workers) * models_of(r->file) + 1) * sizeof(*r->rows));
    for (size_t i = 0; i < r->file->canaries.count; i++)
        if (is_first_of_model(r->file, i))
            add_model(r, workers, canary_at(r->file, i)->model);
    shuffle(r);
    canary_deal(r->rows, r->count, r->file);
    return 0;
}

static void note_unknown(struct canary_round *r)
{
    for (size_t i = 0; i < r->file->canaries.count; i++)
        if (canary_at(r->file, i)->answers.count == 0)
            buf_printf(&r->problems,
                       "canaries[%zu] has no known answer, so it is never sent (cocoonctl "
                       "canaries record)\n",
                       i);
}

/* ---- Asking ---- */

static sigset_t ending_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    return set;
}

void canary_wait_prepare(void)
{
    const sigset_t set = ending_signals();

    CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
}

bool canary_wait(uint64_t ms)
{
    const uint64_t end = clock_mono_ms() + ms;
    const sigset_t set = ending_signals();
    int got;

    do {
        const uint64_t now = clock_mono_ms(), left = now < end ? end - now : 0;
        const struct timespec t = {.tv_sec = (time_t)(left / 1000),
                                   .tv_nsec = (long)(left % 1000) * 1000000};
        got = sigtimedwait(&set, NULL, &t);
    } while (got < 0 && errno == EINTR);
    return got > 0;
}

/* Twice the mean at the most: nobody can tell the next by the last. True: there is to be no next.
 */
static bool pause_before(const struct canary_round *r)
{
    const uint64_t mean_ms = r->spread_s * 1000 / r->count;

    return mean_ms > 0 && canary_wait(random_below(2 * mean_ms));
}

static void take_reply(const struct canary_round *r, struct canary_row *row,
                       const struct canary_reply *a)
{
    row->judged = true;
    row->used = a->used;
    row->finding = canary_judge(row->canary, buf_span(&a->text), &a->used);
    memcpy(row->wid, a->wid, sizeof(row->wid));
    memcpy(row->machine, a->machine, sizeof(row->machine));
    canary_tag(row->tag, canary_client_key(r->client), row->canary, span_str(a->digest));
}

/* False: those behind it need not be asked. */
static bool take_fault(struct canary_row *row, const struct canary_reply *a)
{
    row->mistaken = !a->sealed && is_ours(&a->fault);
    snprintf(row->why, sizeof(row->why), "%s", a->fault.message);
    return a->sealed || !stops_all(&a->fault);
}

static bool take_error(struct canary_round *r, struct canary_row *row, int error)
{
    snprintf(row->why, sizeof(row->why),
             "its key is not known: it has just left, or Redis was "
             "emptied lately");
    if (error == E_NOT_FOUND)
        return true;
    row->mistaken = true;
    snprintf(row->why, sizeof(row->why), "Redis could not be asked");
    pool_store_explain(error, &r->problems);
    buf_byte(&r->problems, '\n');
    return false;
}

/* False: those behind it need not be asked. */
static bool ask_row(struct canary_round *r, struct canary_row *row)
{
    AUTO(canary_reply_fini) struct canary_reply reply = {0};
    uint8_t kfp[KFP_LEN];

    if (!row->canary) {
        snprintf(row->why, sizeof(row->why), "no canary of this model has a known answer");
        row->mistaken = true;
        return true;
    }
    row->number = (size_t)(row->canary - canary_at(r->file, 0));
    const int error = canary_pool_key(r->redis, row->iid, kfp);
    if (error < 0)
        return take_error(r, row, error);
    canary_client_ask(r->client, row->canary, kfp, &reply);
    if (!reply.answered)
        return take_fault(row, &reply);
    take_reply(r, row, &reply);
    return true;
}

static void ask_rows(struct canary_round *r)
{
    size_t i = 0;

    r->whole = true;
    while (i < r->count && r->whole) {
        r->stopped = pause_before(r);
        r->whole = !r->stopped && ask_row(r, &r->rows[i++]);
    }
    if (i < r->count && !r->stopped)
        buf_printf(&r->problems, "the last %zu workers were not asked after that\n", r->count - i);
    r->count = i;
}

static void mark_rows(struct canary_round *r)
{
    const int error = canary_pool_mark(r->redis, r->rows, r->count, r->whole);

    if (error == 0)
        return;
    buf_append_str(&r->problems, "the marks could not be written: ");
    pool_store_explain(error, &r->problems);
    buf_byte(&r->problems, '\n');
    for (size_t i = 0; i < r->count; i++)
        r->rows[i].mark = MARK_NONE;
}

void canary_round_run(struct canary_round *r)
{
    const int error = find_rows(r);

    if (error < 0) {
        pool_store_explain(error, &r->problems);
        buf_byte(&r->problems, '\n');
        return;
    }
    note_unknown(r);
    ask_rows(r);
    mark_rows(r);
}

void canary_round_fini(struct canary_round *r)
{
    free(r->rows);
    buf_fini(&r->problems);
}
