/* Reads QE Identity and compares a report with it. */
#include "attest/qe_identity.h"

#include <stdlib.h>

enum { VERSION = 2 };

/* The hex is of a number, its highest byte first; the report has it little-endian. */
static int number_read(const json_t *object, const char *name, uint32_t *out)
{
    uint8_t b[4];

    TRY(intel_hex_read(object, name, b, sizeof(b)));
    *out = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    return 0;
}

static int head_read(struct qe_identity *out)
{
    struct span id;
    int64_t version, evaluation, product;

    if (json_obj_string(out->json, "id", &id) < 0 || !span_is(id, "TD_QE") ||
        json_obj_int(out->json, "version", VERSION, VERSION, &version) < 0 ||
        json_obj_int(out->json, "tcbEvaluationDataNumber", 0, UINT32_MAX, &evaluation) < 0 ||
        json_obj_int(out->json, "isvprodid", 0, UINT16_MAX, &product) < 0)
        return E_INVALID;
    out->evaluation = (uint32_t)evaluation;
    out->isv_prod_id = (uint16_t)product;
    TRY(intel_date_read(out->json, "issueDate", &out->issued));
    return intel_date_read(out->json, "nextUpdate", &out->until);
}

static int identity_read(struct qe_identity *out)
{
    const json_t *json = out->json;

    TRY(head_read(out));
    TRY(number_read(json, "miscselect", &out->miscselect));
    TRY(number_read(json, "miscselectMask", &out->miscselect_mask));
    TRY(intel_hex_read(json, "attributes", out->attributes, sizeof(out->attributes)));
    TRY(intel_hex_read(json, "attributesMask", out->attributes_mask, sizeof(out->attributes_mask)));
    TRY(intel_hex_read(json, "mrsigner", out->mrsigner, sizeof(out->mrsigner)));
    return isv_levels_read(&out->levels, json);
}

int qe_identity_read(struct qe_identity **out, struct span text)
{
    AUTO(qe_identity_free) struct qe_identity *identity = mem_zero(sizeof(*identity));

    if (json_read(text, &identity->json) < 0)
        return E_INVALID;
    TRY(identity_read(identity));
    *out = identity;
    identity = NULL;
    return 0;
}

void qe_identity_free(struct qe_identity *identity)
{
    if (!identity)
        return;
    json_decref(identity->json);
    free(identity);
}

static bool attributes_fit(const struct qe_identity *identity, const uint8_t *attributes)
{
    for (size_t i = 0; i < sizeof(identity->attributes); i++)
        if ((attributes[i] & identity->attributes_mask[i]) != identity->attributes[i])
            return false;
    return true;
}

const char *qe_identity_mismatch(const struct qe_identity *identity, const struct qe_report *report)
{
    if ((report->miscselect & identity->miscselect_mask) != identity->miscselect)
        return "MISCSELECT";
    if (!attributes_fit(identity, report->attributes))
        return "ATTRIBUTES";
    if (memcmp(report->mrsigner, identity->mrsigner, sizeof(identity->mrsigner)) != 0)
        return "MRSIGNER";
    if (report->isv_prod_id != identity->isv_prod_id)
        return "ISVPRODID";
    return NULL;
}
