/* Reads TCB Info and matches platforms with its levels as Intel's quote verification library does:
 * components 0 and 1 of TDX are the module's version, and from module major 1 on its identity
 * judges them instead. */
#include "attest/tcb_info.h"

#include <stdio.h>
#include <stdlib.h>

enum { VERSION = 3, MODULE_ID_LEN = 7 /* "TDX_01" and NUL */ };

/* ---- Reading ---- */

static uint64_t u64le(const uint8_t p[static 8])
{
    uint64_t value = 0;

    for (int i = 7; i >= 0; i--)
        value = value << 8 | p[i];
    return value;
}

static int module_signer_read(struct tdx_module *out, const json_t *module)
{
    uint8_t attributes[8], mask[8];

    TRY(intel_hex_read(module, "mrsigner", out->mrsigner, sizeof(out->mrsigner)));
    TRY(intel_hex_read(module, "attributes", attributes, sizeof(attributes)));
    TRY(intel_hex_read(module, "attributesMask", mask, sizeof(mask)));
    out->attributes = u64le(attributes);
    out->attributes_mask = u64le(mask);
    return 0;
}

/* "TDX_" and two hex digits; 00 would be the base module, which stands elsewhere. */
static int module_id_read(struct span id, uint8_t *major)
{
    char name[MODULE_ID_LEN];

    for (unsigned i = 1; i <= UINT8_MAX; i++) {
        snprintf(name, sizeof(name), "TDX_%02X", i);
        if (span_ieq(id, span_str(name))) {
            *major = (uint8_t)i;
            return 0;
        }
    }
    return E_INVALID;
}

static int module_read(struct tcb_info *info, const json_t *json)
{
    struct tdx_module *out = &info->modules[info->module_count];
    struct span id;

    if (json_obj_string(json, "id", &id) < 0)
        return E_INVALID;
    TRY(module_id_read(id, &out->major));
    if (tcb_info_module(info, out->major))
        return E_INVALID; /* twice */
    TRY(module_signer_read(out, json));
    TRY(isv_levels_read(&out->levels, json));
    info->module_count++;
    return 0;
}

/* Platforms that only ever had module major 0 have no identities. */
static int modules_read(struct tcb_info *info)
{
    const json_t *list = json_object_get(info->json, "tdxModuleIdentities");

    TRY(module_signer_read(&info->base, json_object_get(info->json, "tdxModule")));
    if (!list)
        return 0;
    if (!json_is_array(list) || json_array_size(list) > TDX_MODULES_MAX)
        return E_INVALID;
    for (size_t i = 0; i < json_array_size(list); i++)
        TRY(module_read(info, json_array_get(list, i)));
    return 0;
}

/* Exactly 16: a shorter list would compare as equal, a longer one would hide something. */
static int components_read(uint8_t out[static TCB_COMPONENTS], const json_t *list)
{
    int64_t svn;

    if (json_array_size(list) != TCB_COMPONENTS)
        return E_INVALID;
    for (size_t i = 0; i < TCB_COMPONENTS; i++) {
        if (json_obj_int(json_array_get(list, i), "svn", 0, UINT8_MAX, &svn) < 0)
            return E_INVALID;
        out[i] = (uint8_t)svn;
    }
    return 0;
}

static int level_read(struct tcb_level *out, const json_t *level)
{
    const json_t *tcb = json_object_get(level, "tcb");
    int64_t pce_svn;

    out->json = level;
    TRY(components_read(out->sgx, json_object_get(tcb, "sgxtcbcomponents")));
    TRY(components_read(out->tdx, json_object_get(tcb, "tdxtcbcomponents")));
    if (json_obj_int(tcb, "pcesvn", 0, UINT16_MAX, &pce_svn) < 0)
        return E_INVALID;
    out->pce_svn = (uint16_t)pce_svn;
    return intel_level_read(level, &out->status, &out->date);
}

/* By SGX's components, then PCESVN, then TDX's: the order in which Intel's library tries them. */
static int newest_first(const void *a, const void *b)
{
    const struct tcb_level *x = a, *y = b;
    int order = memcmp(y->sgx, x->sgx, sizeof(x->sgx));

    if (order == 0)
        order = y->pce_svn - x->pce_svn;
    return order ? order : memcmp(y->tdx, x->tdx, sizeof(x->tdx));
}

static int levels_read(struct tcb_info *info)
{
    const json_t *list = json_object_get(info->json, "tcbLevels");
    const size_t count = json_array_size(list);

    if (count == 0 || count > TCB_LEVELS_MAX)
        return E_INVALID;
    for (size_t i = 0; i < count; i++)
        TRY(level_read(&info->levels[i], json_array_get(list, i)));
    info->level_count = count;
    qsort(info->levels, count, sizeof(info->levels[0]), newest_first);
    for (size_t i = 1; i < count; i++)
        if (newest_first(&info->levels[i - 1], &info->levels[i]) == 0)
            return E_INVALID; /* twice, of whatever status */
    return 0;
}

static int head_read(struct tcb_info *info)
{
    struct span id;
    int64_t version, type, evaluation;

    if (json_obj_string(info->json, "id", &id) < 0 || !span_is(id, "TDX") ||
        json_obj_int(info->json, "version", VERSION, VERSION, &version) < 0 ||
        json_obj_int(info->json, "tcbType", 0, 0, &type) < 0 ||
        json_obj_int(info->json, "tcbEvaluationDataNumber", 0, UINT32_MAX, &evaluation) < 0)
        return E_INVALID;
    info->evaluation = (uint32_t)evaluation;
    TRY(intel_date_read(info->json, "issueDate", &info->issued));
    TRY(intel_date_read(info->json, "nextUpdate", &info->until));
    TRY(intel_hex_read(info->json, "fmspc", info->fmspc, sizeof(info->fmspc)));
    return intel_hex_read(info->json, "pceId", info->pce_id, sizeof(info->pce_id));
}

int tcb_info_read(struct tcb_info **out, struct span text)
{
    AUTO(tcb_info_free) struct tcb_info *info = mem_zero(sizeof(*info));

    if (json_read(text, &info->json) < 0)
        return E_INVALID;
    TRY(head_read(info));
    TRY(modules_read(info));
    TRY(levels_read(info));
    *out = info;
    info = NULL;
    return 0;
}

void tcb_info_free(struct tcb_info *info)
{
    if (!info)
        return;
    json_decref(info->json);
    free(info);
}

const struct tdx_module *tcb_info_module(const struct tcb_info *info, uint8_t major)
{
    if (major == 0)
        return &info->base;
    for (size_t i = 0; i < info->module_count; i++)
        if (info->modules[i].major == major)
            return &info->modules[i];
    return NULL;
}

/* ---- Matching ---- */

/* Index of the first component that is below the wanted one, or TCB_COMPONENTS. */
static size_t first_below(const uint8_t *have, const uint8_t *want, size_t from)
{
    size_t i = from;

    while (i < TCB_COMPONENTS && have[i] >= want[i])
        i++;
    return i;
}

static size_t tdx_first_below(const struct tcb_platform *platform, const struct tcb_level *level)
{
    const uint8_t *svn = platform->tee_tcb_svn;

    return svn ? first_below(svn, level->tdx, svn[1] > 0 ? 2 : 0) : TCB_COMPONENTS;
}

static bool level_reached(const struct tcb_platform *platform, const struct tcb_level *level)
{
    return first_below(platform->pck->components, level->sgx, 0) == TCB_COMPONENTS &&
           platform->pck->pce_svn >= level->pce_svn &&
           tdx_first_below(platform, level) == TCB_COMPONENTS;
}

const struct tcb_level *tcb_info_match(const struct tcb_info *info,
                                       const struct tcb_platform *platform)
{
    for (size_t i = 0; i < info->level_count; i++)
        if (level_reached(platform, &info->levels[i]))
            return &info->levels[i];
    return NULL;
}

/* Intel's words for a component, where it has any: "OS/VMM, SEAMLDR ACM". */
static void component_words(const struct tcb_level *level, const char *list, size_t index,
                            char out[static 80])
{
    const json_t *component =
        json_array_get(json_object_get(json_object_get(level->json, "tcb"), list), index);
    struct span category = {0}, type = {0};

    out[0] = '\0';
    if (json_obj_string(component, "category", &category) < 0)
        return;
    if (json_obj_string(component, "type", &type) == 0)
        snprintf(out, 80, " (%.*s, %.*s)", SPAN_FMT(category), SPAN_FMT(type));
    else
        snprintf(out, 80, " (%.*s)", SPAN_FMT(category));
}

void tcb_info_explain(const struct tcb_info *info, const struct tcb_platform *platform,
                      char out[static 160])
{
    const struct tcb_level *level = &info->levels[info->level_count - 1];
    const size_t sgx = first_below(platform->pck->components, level->sgx, 0);
    const size_t tdx = tdx_first_below(platform, level);
    char words[80];

    out[0] = '\0';
    if (sgx < TCB_COMPONENTS) {
        component_words(level, "sgxtcbcomponents", sgx, words);
        snprintf(out, 160, "SGX component %zu%s is %u, the lowest level needs %u", sgx + 1, words,
                 platform->pck->components[sgx], level->sgx[sgx]);
    } else if (platform->pck->pce_svn < level->pce_svn) {
        snprintf(out, 160, "PCESVN is %u, the lowest level needs %u", platform->pck->pce_svn,
                 level->pce_svn);
    } else if (tdx < TCB_COMPONENTS) {
        component_words(level, "tdxtcbcomponents", tdx, words);
        snprintf(out, 160, "TDX component %zu%s is %u, the lowest level needs %u", tdx + 1, words,
                 platform->tee_tcb_svn[tdx], level->tdx[tdx]);
    }
}
