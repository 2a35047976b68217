/* Reads faults strictly: a script with a word that nobody knows would test nothing. */
#include "tests/sim/faults.h"

#include <stdlib.h>

#include "base/json.h"

void faults_clear(struct faults *f)
{
    *f = (struct faults){.speed = 1, .lie = 1, .die_after = 3};
}

static int read_status(struct faults *f, json_t *map)
{
    const char *name;
    json_t *share;
    uint64_t code;

    if (!json_is_object(map))
        return E_INVALID;
    f->status_count = 0;
    json_object_foreach(map, name, share) {
        TRY(span_u64(span_str(name), 599, &code));
        if (f->status_count == FAULTS_STATUS_MAX || !json_is_number(share))
            return E_INVALID;
        f->status[f->status_count].code = (unsigned)code;
        f->status[f->status_count++].share = json_number_value(share);
    }
    return 0;
}

static int read_double(const json_t *value, double *out)
{
    if (!json_is_number(value) || json_number_value(value) < 0)
        return E_INVALID;
    *out = json_number_value(value);
    return 0;
}

static int read_count(const json_t *value, int64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return E_INVALID;
    *out = json_integer_value(value);
    return 0;
}

static int read_member(struct faults *f, const char *name, json_t *value, int64_t *at_ms)
{
    const struct {
        const char *name;
        double *to;
    } doubles[] = {
        {"speed", &f->speed}, {"die", &f->die}, {"garbage", &f->garbage}, {"lie", &f->lie}};
    const struct {
        const char *name;
        int64_t *to;
    } counts[] = {{"at_ms", at_ms},
                  {"stall_ms", &f->stall_ms},
                  {"slow_start_ms", &f->slow_start_ms},
                  {"die_after", &f->die_after}};

    for (size_t i = 0; i < sizeof(doubles) / sizeof(doubles[0]); i++)
        if (strcmp(name, doubles[i].name) == 0)
            return read_double(value, doubles[i].to);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        if (strcmp(name, counts[i].name) == 0)
            return read_count(value, counts[i].to);
    if (strcmp(name, "status") == 0)
        return read_status(f, value);
    if (!json_is_boolean(value))
        return E_INVALID;
    if (strcmp(name, "refuse") == 0)
        f->refuse = json_is_true(value);
    else if (strcmp(name, "clear") != 0)
        return E_INVALID;
    return 0;
}

int faults_read(struct faults *f, struct span json, uint64_t *at_ms)
{
    AUTO_JSON json_t *doc = NULL;
    struct faults next = *f;
    const char *name;
    json_t *value;
    int64_t at = 0;

    TRY(json_read(json, &doc));
    if (json_is_true(json_object_get(doc, "clear")))
        faults_clear(&next);
    json_object_foreach(doc, name, value)
        TRY(read_member(&next, name, value, &at));
    if (next.speed <= 0)
        return E_INVALID;
    *f = next;
    *at_ms = (uint64_t)at;
    return 0;
}

unsigned faults_status(const struct faults *f, struct rng *rng)
{
    double draw = rng_unit(rng);

    for (size_t i = 0; i < f->status_count; i++) {
        if (draw < f->status[i].share)
            return f->status[i].code;
        draw -= f->status[i].share;
    }
    return 0;
}
