/* The floor: the highest evaluation number known of each FMSPC and of the quoting enclave, below
 * which collateral is an old one played back (attestation.md §5). */
#include "attest/collateral.h"
#include "base/encode.h"

enum { FMSPC_LEN = 6, FLOOR_JSON_MAX = 16 * 1024 };

static ptrdiff_t floor_find(const struct attest_floor *floor, const uint8_t *fmspc)
{
    for (size_t i = 0; i < floor->count; i++)
        if (memcmp(floor->tcb[i].fmspc, fmspc, FMSPC_LEN) == 0)
            return (ptrdiff_t)i;
    return -1;
}

uint32_t attest_floor_tcb(const struct attest_floor *floor, const uint8_t fmspc[static 6])
{
    const ptrdiff_t at = floor_find(floor, fmspc);

    return at < 0 ? 0 : floor->tcb[at].evaluation;
}

static size_t floor_lowest(const struct attest_floor *floor)
{
    size_t lowest = 0;

    for (size_t i = 1; i < floor->count; i++)
        if (floor->tcb[i].evaluation < floor->tcb[lowest].evaluation)
            lowest = i;
    return lowest;
}

/* Where fmspc's entry is, made when there is none. */
static size_t floor_place(struct attest_floor *floor, const uint8_t *fmspc)
{
    const ptrdiff_t found = floor_find(floor, fmspc);
    size_t at;

    if (found >= 0)
        return (size_t)found;
    at = floor->count < FLOOR_MAX ? floor->count++ : floor_lowest(floor);
    memcpy(floor->tcb[at].fmspc, fmspc, FMSPC_LEN);
    floor->tcb[at].evaluation = 0;
    return at;
}

bool attest_floor_raise(struct attest_floor *floor, const struct attest_verdict *v)
{
    bool changed = false;

    if (v->tcb_evaluation > attest_floor_tcb(floor, v->fmspc)) {
        floor->tcb[floor_place(floor, v->fmspc)].evaluation = v->tcb_evaluation;
        changed = true;
    }
    if (v->qe_evaluation > floor->qe) {
        floor->qe = v->qe_evaluation;
        changed = true;
    }
    return changed;
}

static int tcb_read(struct attest_floor *out, json_t *tcb)
{
    const char *name;
    json_t *value;

    if (!json_is_object(tcb) || json_object_size(tcb) > FLOOR_MAX)
        return E_INVALID;
    json_object_foreach(tcb, name, value) {
        const json_int_t evaluation = json_integer_value(value);
        uint8_t fmspc[FMSPC_LEN];

        TRY(hex_decode(fmspc, sizeof(fmspc), span_str(name)));
        if (!json_is_integer(value) || evaluation < 0 || evaluation > UINT32_MAX ||
            floor_find(out, fmspc) >= 0)
            return E_INVALID;
        out->tcb[floor_place(out, fmspc)].evaluation = (uint32_t)evaluation;
    }
    return 0;
}

int attest_floor_read(struct attest_floor *out, struct span json)
{
    AUTO_JSON json_t *doc = NULL;
    struct attest_floor floor = {0};
    int64_t qe;

    if (json.len > FLOOR_JSON_MAX)
        return E_TOO_LARGE;
    if (json_read(json, &doc) < 0 || json_object_size(doc) != 2 ||
        json_obj_int(doc, "qe", 0, UINT32_MAX, &qe) < 0)
        return E_INVALID;
    TRY(tcb_read(&floor, json_object_get(doc, "tcb")));
    floor.qe = (uint32_t)qe;
    *out = floor;
    return 0;
}

void attest_floor_write(const struct attest_floor *floor, struct buf *out)
{
    char hex[2 * FMSPC_LEN + 1];

    buf_append_str(out, "{\"tcb\":{");
    for (size_t i = 0; i < floor->count; i++) {
        hex_encode(hex, SPAN_OF(floor->tcb[i].fmspc));
        buf_printf(out, "%s\"%s\":%u", i ? "," : "", hex, floor->tcb[i].evaluation);
    }
    buf_printf(out, "},\"qe\":%u}", floor->qe);
}
