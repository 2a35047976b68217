/* What engine.c, engine_probe.c and engine_run.c share. */
#ifndef BACKENDS_ENGINE_ENGINE_IMPL_H
#define BACKENDS_ENGINE_ENGINE_IMPL_H

#include "backends/engine/engine.h"

enum { ENGINE_URL_MAX = 300 };

struct engine {
    struct loop *loop;
    struct http_client *http;
    struct offload *offload;
    engine_change_fn *changed;
    void *arg;

    char base[ENGINE_URL_MAX]; /* http://host:port, no slash behind */
    char *unix_socket;         /* NULL: TCP */
    bool kind_fixed;
    enum engine_kind kind;
    uint64_t silent_ms;

    bool up, ever_up;
    struct facts facts;
    struct engine_load load;

    /* Probing: one step after the other, then a rest. */
    int step;
    struct http_transfer *probe;
    struct buf probe_body;
    unsigned probe_status;
    struct loop_timer probe_timer;
    uint64_t probe_started_ms;
    unsigned probe_failures; /* rounds in a row */
    bool has_metrics;
    uint64_t models_ms; /* when the list was read last */

    /* Runs. */
    unsigned live;         /* transfers of runs */
    unsigned lingering;    /* cancelled, and not yet seen to be gone */
    uint64_t cancelled_ms; /* the latest cancel */
};

/* ---- engine_probe.c ---- */

void engine_probe_start(struct engine *e);
void engine_probe_stop(struct engine *e);
/* Looks again at once: a run could not connect. */
void engine_probe_soon(struct engine *e);
/* The first run began to linger: the next look comes after a shorter rest. */
void engine_probe_lingering(struct engine *e);

/* ---- engine.c ---- */

/* One more transfer of a run; one less, cancelled by us or ended by itself. */
void engine_transfer_began(struct engine *e);
void engine_transfer_ended(struct engine *e, bool cancelled);

#endif
