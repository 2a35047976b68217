/* Attempts: what they take, and what is learned from how they end. */
#include "backends/pool/chooser_impl.h"

/* Of a new observation, in the averages of a seat and of a model. */
static const double weight_seat = 0.05, weight_model = 0.02;

/* What runs on where the model is not offered any more is not counted in it. */
static void seat_run(struct chooser_seat *s, enum service_class class, int change)
{
    if (!s->model)
        return;
    s->running[class] += change;
    s->model->running[class] += change;
}

void chooser_start(struct chooser_job *j, struct chooser_seat *s, const struct chooser_query *q,
                   uint64_t now_ms)
{
    struct chooser_worker *w = s->worker;

    *j = (struct chooser_job){
        .seat = s,
        .work = chooser_work(s->model->chooser, q->input, q->output),
        .class = q->class,
        .tagged = q->affinity != 0,
        .started_ms = now_ms,
        .reports = w->reports,
        .holds = true,
        .probe = breaker_start(&s->breaker, now_ms),
    };
    s->refs++;
    seat_run(s, j->class, 1);
    w->in_flight++;
    w->work_in_flight += j->work;
    w->started_ms += (double)now_ms;
    w->unheard[0] += q->class == CLASS_BATCH ? 1 : 0;
    worker_refresh(w, now_ms);
}

/* Other gateways' have ended as this one has: who heard of none of them need not guess any more. */
static void note_ended(const struct chooser_job *j)
{
    struct chooser_worker *w = j->seat->worker;
    const uint64_t since = w->reports - j->reports;

    if (j->class == CLASS_BATCH && since < sizeof(w->unheard) / sizeof(*w->unheard))
        w->unheard[since]--;
}

void chooser_freed(struct chooser_job *j, uint64_t now_ms)
{
    struct chooser_seat *s = j->seat;

    if (!s || !j->holds)
        return;
    j->holds = false;
    s->worker->in_flight--;
    s->worker->work_in_flight -= j->work;
    s->worker->started_ms -= (double)j->started_ms;
    note_ended(j);
    seat_run(s, j->class, -1);
    worker_refresh(s->worker, now_ms);
}

/* ---- Marks ---- */

/* Of long and short requests alike: a short one says little of a worker's speed. */
static void note_speed(struct chooser_seat *s, double work, double took_s)
{
    s->done_work += work - weight_seat * s->done_work;
    s->done_s += took_s - weight_seat * s->done_s;
    s->tokens_per_s = s->done_work / s->done_s;
}

/* An error counts as if the request had taken as long as may be: who fails fast looks slow. */
static void look_slow(struct chooser_seat *s, const struct chooser_job *j)
{
    const double longest_ms = (double)s->model->chooser->options.failed_ms;

    s->first_token_ms = moving_average(s->first_token_ms, longest_ms, weight_seat);
    if (s->tokens_per_s > 0)
        note_speed(s, (double)j->work, longest_ms / 1000);
}

void chooser_failed(struct chooser_job *j, uint64_t now_ms)
{
    struct chooser_seat *s = j->seat;

    if (!s || j->marked)
        return;
    j->marked = true;
    s->worker->failures++;
    if (!s->model || !breaker_failed(&s->breaker, j->probe, now_ms, &s->model->chooser->dice))
        return;
    s->model->chooser->counts.opened++;
    look_slow(s, j);
    seat_refresh(s, now_ms);
}

static void learn(struct chooser_seat *s, const struct chooser_job *j,
                  const struct chooser_served *r)
{
    struct chooser_model *m = s->model;
    const int64_t read = r->input > r->cached ? r->input - r->cached : 0;

    if (r->first_token_ms > 0)
        s->first_token_ms = moving_average(s->first_token_ms, r->first_token_ms, weight_seat);
    if (r->took_ms > 0) /* work that was not spared, over the whole time */
        note_speed(s, (double)chooser_work(m->chooser, read, r->output), (double)r->took_ms / 1000);
    m->output = moving_average(m->output, (double)r->output, weight_model);
    m->work = moving_average(m->work, (double)chooser_work(m->chooser, r->input, r->output),
                             weight_model);
    if (j->tagged && r->input > 0)
        m->warm += weight_model * ((double)r->cached / (double)r->input - m->warm);
}

void chooser_served(struct chooser_job *j, const struct chooser_served *r, uint64_t now_ms)
{
    struct chooser_seat *s = j->seat;

    if (!s || j->marked)
        return;
    j->marked = true;
    s->worker->served++;
    breaker_served(&s->breaker, j->probe);
    if (!s->model)
        return;
    learn(s, j, r);
    seat_refresh(s, now_ms);
}

bool chooser_finish(struct chooser_job *j, uint64_t now_ms)
{
    struct chooser_seat *s = j->seat;

    if (!s)
        return false;
    chooser_freed(j, now_ms);
    if (!j->marked)
        breaker_dropped(&s->breaker, j->probe);
    j->seat = NULL;
    seat_refresh(s, now_ms);
    const bool opened = worker_opened(s->worker);
    seat_unref(s);
    return opened;
}
