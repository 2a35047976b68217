/* Names of what a verdict holds, and how those who verify fill one. */
#include "attest/verdict.h"

#include <stdarg.h>
#include <stdio.h>

static const struct {
    const char *name, *sentence;
} REASONS[ATTEST_REASONS] = {
#define X(reason, text) [ATTEST_##reason] = {#reason, text},
#include "attest/reasons.def"
#undef X
};

const char *attest_reason_name(enum attest_reason reason)
{
    return REASONS[reason].name;
}

const char *attest_reason_sentence(enum attest_reason reason)
{
    return REASONS[reason].sentence;
}

const char *attest_env_name(enum attest_env env)
{
    switch (env) {
    case ATTEST_PRODUCTION:
        return "production";
    case ATTEST_INSECURE_DEV:
        return "insecure-dev";
    case ATTEST_UNATTESTED:
        break;
    }
    return "unattested";
}

static const char *const STATUSES[TCB_STATUSES] = {
    [TCB_NONE] = "-",
    [TCB_UP_TO_DATE] = "UpToDate",
    [TCB_SW_HARDENING_NEEDED] = "SWHardeningNeeded",
    [TCB_CONFIGURATION_NEEDED] = "ConfigurationNeeded",
    [TCB_CONFIGURATION_AND_SW_HARDENING_NEEDED] = "ConfigurationAndSWHardeningNeeded",
    [TCB_TD_RELAUNCH_ADVISED] = "TDRelaunchAdvised",
    [TCB_TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED] = "TDRelaunchAdvisedConfigurationNeeded",
    [TCB_OUT_OF_DATE] = "OutOfDate",
    [TCB_OUT_OF_DATE_CONFIGURATION_NEEDED] = "OutOfDateConfigurationNeeded",
    [TCB_REVOKED] = "Revoked",
    [TCB_NOT_SUPPORTED] = "NotSupported",
};

const char *tcb_status_name(enum tcb_status status)
{
    return STATUSES[status];
}

/* Those that are our own words, and never in collateral. */
static bool status_is_derived(enum tcb_status status)
{
    return status == TCB_NONE || status == TCB_TD_RELAUNCH_ADVISED ||
           status == TCB_TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED || status == TCB_NOT_SUPPORTED;
}

int tcb_status_read(struct span name, enum tcb_status *out)
{
    for (int i = 0; i < TCB_STATUSES; i++)
        if (!status_is_derived((enum tcb_status)i) && span_is(name, STATUSES[i])) {
            *out = (enum tcb_status)i;
            return 0;
        }
    return E_INVALID;
}

const char *attest_step_title(enum attest_step step)
{
    static const char *const TITLES[ATTEST_STEPS] = {
#define X(name, title) [ATTEST_STEP_##name] = title,
        ATTEST_STEPS_TABLE(X)
#undef X
    };
    return TITLES[step];
}

int attest_refuse(struct attest_verdict *v, enum attest_step step, enum attest_reason reason,
                  const char *detail, ...)
{
    va_list args;

    v->env = ATTEST_UNATTESTED;
    v->reason = reason;
    v->steps[step] = ATTEST_FAILED;
    va_start(args, detail);
    vsnprintf(v->detail, sizeof(v->detail), detail, args);
    va_end(args);
    return E_DENIED;
}

void attest_advisory_add(struct attest_verdict *v, struct span name)
{
    char text[ATTEST_ADVISORY_LEN] = "";
    size_t len = name.len < sizeof(text) - 1 ? name.len : sizeof(text) - 1;

    memcpy(text, name.data, len);
    for (size_t i = 0; i < v->advisory_count; i++)
        if (strcmp(v->advisories[i], text) == 0)
            return;
    if (v->advisory_count < ATTEST_MAX_ADVISORIES)
        memcpy(v->advisories[v->advisory_count++], text, sizeof(text));
}

void attest_until(struct attest_verdict *v, uint64_t at)
{
    if (v->valid_until == 0 || at < v->valid_until)
        v->valid_until = at;
}
