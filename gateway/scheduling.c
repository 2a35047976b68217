/* Settings into the chooser's options; lanes, breakers and choices as Prometheus text. */
#include "gateway/scheduling.h"

void scheduling_set(struct gateway *g, const struct gateway_config *s)
{
    struct chooser_options o = chooser_defaults;

    o.slow_start_ms = (uint64_t)s->slow_start_ms;
    o.failed_ms = (uint64_t)s->head_ms;
    o.affinity_percent = (unsigned)s->affinity_percent;
    o.price_percent = (unsigned)s->price_percent;
    o.prefill = (unsigned)s->prefill;
    o.reserve_percent[CLASS_INTERNAL] = (unsigned)s->reserve_internal_percent;
    o.reserve_percent[CLASS_INTERACTIVE] = (unsigned)s->reserve_interactive_percent;
    pool_set_scheduling(g->pool, &o);
}

/* ---- By model ---- */

struct table {
    struct gateway *gateway;
    struct buf *out;
    void (*row)(struct table *t, struct span model);
};

static void sample(struct table *t, const char *name, struct span model, const char *label,
                   const char *value, long long n)
{
    buf_printf(t->out, "%s{model=\"", name);
    buf_json_escape(t->out, model);
    buf_printf(t->out, "\",%s=\"%s\"} %lld\n", label, value, n);
}

static void waiting(struct table *t, struct span model)
{
    const struct queue *q = lane_of(&t->gateway->lanes, model)->queue;

    for (unsigned i = 0; i < CLASSES; i++)
        sample(t, "cocoon_queue_waiting", model, "class", service_class_name(i),
               (long long)queue_waiting(q, i));
}

static void slots(struct table *t, struct span model)
{
    struct chooser_model_view v;

    (void)pool_model_load(t->gateway->pool, model, &v);
    sample(t, "cocoon_slots", model, "state", "all", v.slots);
    sample(t, "cocoon_slots", model, "state", "busy", v.busy);
}

static void running(struct table *t, struct span model)
{
    struct chooser_model_view v;

    (void)pool_model_load(t->gateway->pool, model, &v);
    for (unsigned i = 0; i < CLASSES; i++)
        sample(t, "cocoon_running", model, "class", service_class_name(i), v.running[i]);
}

static void breakers(struct table *t, struct span model)
{
    size_t counts[BREAKER_STATES];

    pool_breakers(t->gateway->pool, model, counts);
    for (unsigned i = 0; i < BREAKER_STATES; i++)
        sample(t, "cocoon_breakers", model, "state", breaker_state_name(i), (long long)counts[i]);
}

static void one_model(void *arg, const struct pool_model_view *v)
{
    struct table *t = arg;

    t->row(t, span_str(v->model.name));
}

static void write_table(struct gateway *g, struct buf *out, const char *name, const char *help,
                        void (*row)(struct table *t, struct span model))
{
    struct table t = {g, out, row};

    buf_printf(out, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
    pool_models_each(g->pool, one_model, &t);
}

/* ---- Choices ---- */

static void write_choices(struct gateway *g, struct buf *out)
{
    const struct chooser_counts *n = pool_choices(g->pool);
    const struct {
        const char *how;
        uint64_t count;
    } rows[] = {{"scored", n->scored}, {"drawn", n->drawn}, {"searched", n->searched},
                {"warm", n->warm},     {"moved", n->moved}, {"panic", n->panic},
                {"none", n->none}};

    buf_append_str(out, "# HELP cocoon_choices_total Choices of a worker by how they were made.\n"
                        "# TYPE cocoon_choices_total counter\n");
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        buf_printf(out, "cocoon_choices_total{how=\"%s\"} %llu\n", rows[i].how,
                   (unsigned long long)rows[i].count);
    counter_write("cocoon_breakers_opened_total", "Times that a breaker opened.", n->opened, out);
}

void scheduling_metrics(struct gateway *g, struct buf *out)
{
    write_table(g, out, "cocoon_queue_waiting", "Calls that wait for a worker.", waiting);
    write_table(g, out, "cocoon_running", "Calls at workers, of this instance.", running);
    write_table(g, out, "cocoon_slots", "Requests that workers take at a time.", slots);
    write_table(g, out, "cocoon_breakers", "Workers by the state of their breaker.", breakers);
    write_choices(g, out);
}
