/* NVML's calls for confidential computing. The library's ABI is declared here, as nvml.h is no part
 * of the system. */
#include "worker/gpu.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"

/* ---- ABI (NVML 12: nvml.h) ---- */

enum { NVML_SUCCESS = 0, CC_FEATURE_ENABLED = 1, DEVTOOLS_OFF = 0, CC_ACCEPTING = 1 };
enum { NVML_NOT_SUPPORTED = 3, MULTI_GPU_NONE = 0, MULTI_GPU_NVLE = 2 };
enum { CERT_CHAIN_MAX = 0x1000, ATTESTATION_CHAIN_MAX = 0x1400 };
enum { REPORT_MAX = 0x2000, CEC_REPORT_MAX = 0x1000 };

struct nvml_device; /* opaque */

struct nvml_cc_state {
    unsigned environment, cc_feature, devtools_mode;
};

struct nvml_cc_settings {
    unsigned version; /* size and 1 in the highest byte */
    unsigned environment, cc_feature, devtools_mode, multi_gpu_mode;
};

struct nvml_certificate {
    unsigned cert_chain_size, attestation_chain_size;
    uint8_t cert_chain[CERT_CHAIN_MAX], attestation_chain[ATTESTATION_CHAIN_MAX];
};

struct nvml_report {
    unsigned cec_present, report_size, cec_report_size;
    uint8_t nonce[GPU_NONCE_LEN], report[REPORT_MAX], cec_report[CEC_REPORT_MAX];
};

struct nvml_pci {
    char bus_id_legacy[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
};

struct nvml {
    int (*init)(void);
    int (*shutdown)(void);
    const char *(*error_string)(int);
    int (*cc_state)(struct nvml_cc_state *);
    int (*cc_settings)(struct nvml_cc_settings *); /* NULL: older than modes of several GPUs */
    int (*ready)(unsigned);
    int (*count)(unsigned *);
    int (*by_index)(unsigned, struct nvml_device **);
    int (*pci)(struct nvml_device *, struct nvml_pci *);
    int (*certificate)(struct nvml_device *, struct nvml_certificate *);
    int (*report)(struct nvml_device *, struct nvml_report *);
};

static const struct {
    const char *symbol;
    size_t at;
} symbols[] = {
    {"nvmlInit_v2", offsetof(struct nvml, init)},
    {"nvmlShutdown", offsetof(struct nvml, shutdown)},
    {"nvmlErrorString", offsetof(struct nvml, error_string)},
    {"nvmlSystemGetConfComputeState", offsetof(struct nvml, cc_state)},
    {"nvmlSystemSetConfComputeGpusReadyState", offsetof(struct nvml, ready)},
    {"nvmlDeviceGetCount_v2", offsetof(struct nvml, count)},
    {"nvmlDeviceGetHandleByIndex_v2", offsetof(struct nvml, by_index)},
    {"nvmlDeviceGetPciInfo_v3", offsetof(struct nvml, pci)},
    {"nvmlDeviceGetConfComputeGpuCertificate", offsetof(struct nvml, certificate)},
    {"nvmlDeviceGetConfComputeGpuAttestationReport", offsetof(struct nvml, report)},
};

struct gpu {
    struct nvml_device *device;
    struct nvml_pci pci;
};

struct gpu_reader {
    void *library;
    bool begun;
    struct nvml nvml;
    struct gpu gpus[GPU_MAX];
    unsigned count;
};

/* ---- Opening ---- */

static int fail(const struct gpu_reader *g, int code, const char *what, char *why)
{
    snprintf(why, GPU_WHY_LEN, "NVML: %s: %s", what, g->nvml.error_string(code));
    return E_UNSUPPORTED;
}

static int find_symbols(struct gpu_reader *g, char *why)
{
    for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
        void *found = dlsym(g->library, symbols[i].symbol);
        if (!found) {
            snprintf(why, GPU_WHY_LEN, "NVML has no %s: a newer driver is needed",
                     symbols[i].symbol);
            return E_UNSUPPORTED;
        }
        memcpy((char *)&g->nvml + symbols[i].at, &found, sizeof(found));
    }
    void *found = dlsym(g->library, "nvmlSystemGetConfComputeSettings");
    memcpy(&g->nvml.cc_settings, &found, sizeof(found));
    return 0;
}

/* Several GPUs are alone with each other, over PCIe or links that they encrypt (NVLE); or behind
 * NVSwitches that would have to show evidence too (Protected PCIe), which has no place here. */
static int check_switches(const struct gpu_reader *g, char *why)
{
    struct nvml_cc_settings settings = {.version = sizeof(settings) | 1U << 24};
    const int code = g->nvml.cc_settings ? g->nvml.cc_settings(&settings) : NVML_NOT_SUPPORTED;

    if (code == NVML_NOT_SUPPORTED)
        return 0;
    if (code != NVML_SUCCESS)
        return fail(g, code, "confidential computing's settings", why);
    if (settings.multi_gpu_mode == MULTI_GPU_NONE || settings.multi_gpu_mode == MULTI_GPU_NVLE)
        return 0;
    snprintf(why, GPU_WHY_LEN,
             "the GPUs are behind switches whose evidence is not supported (Protected PCIe mode)");
    return E_DENIED;
}

static int check_state(const struct gpu_reader *g, char *why)
{
    struct nvml_cc_state state = {0};

    TRY(check_switches(g, why));
    const int code = g->nvml.cc_state(&state);
    if (code != NVML_SUCCESS)
        return fail(g, code, "confidential computing's state", why);
    if (state.cc_feature == CC_FEATURE_ENABLED && state.devtools_mode == DEVTOOLS_OFF)
        return 0;
    snprintf(why, GPU_WHY_LEN,
             state.cc_feature == CC_FEATURE_ENABLED
                 ? "the GPUs are in development tools mode, which protects nothing"
                 : "the GPUs' confidential computing is off");
    return E_DENIED;
}

static int by_pci(const void *a, const void *b)
{
    const struct nvml_pci *x = &((const struct gpu *)a)->pci, *y = &((const struct gpu *)b)->pci;
    const unsigned left[] = {x->domain, x->bus, x->device};
    const unsigned right[] = {y->domain, y->bus, y->device};

    for (int i = 0; i < 3; i++)
        if (left[i] != right[i])
            return left[i] < right[i] ? -1 : 1;
    return 0;
}

static int find_gpus(struct gpu_reader *g, char *why)
{
    int code = g->nvml.count(&g->count);

    if (code != NVML_SUCCESS)
        return fail(g, code, "number of GPUs", why);
    if (g->count == 0 || g->count > GPU_MAX) {
        snprintf(why, GPU_WHY_LEN, "there are %u GPUs; 1 to %d are supported", g->count, GPU_MAX);
        return E_UNSUPPORTED;
    }
    for (unsigned i = 0; i < g->count; i++) {
        code = g->nvml.by_index(i, &g->gpus[i].device);
        if (code == NVML_SUCCESS)
            code = g->nvml.pci(g->gpus[i].device, &g->gpus[i].pci);
        if (code != NVML_SUCCESS)
            return fail(g, code, "a GPU's place", why);
    }
    qsort(g->gpus, g->count, sizeof(g->gpus[0]), by_pci);
    return 0;
}

static int begin(struct gpu_reader *g, const char *library, char *why)
{
    g->library = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!g->library) {
        snprintf(why, GPU_WHY_LEN, "no NVML: %s", dlerror());
        return E_UNSUPPORTED;
    }
    TRY(find_symbols(g, why));
    const int code = g->nvml.init();
    if (code != NVML_SUCCESS)
        return fail(g, code, "init", why);
    g->begun = true;
    TRY(check_state(g, why));
    return find_gpus(g, why);
}

int gpu_open(struct gpu_reader **out, const char *library, char why[static GPU_WHY_LEN])
{
    AUTO(gpu_close) struct gpu_reader *g = mem_zero(sizeof(*g));

    TRY(begin(g, library ? library : "libnvidia-ml.so.1", why));
    *out = g;
    g = NULL;
    return 0;
}

void gpu_close(struct gpu_reader *g)
{
    if (!g)
        return;
    if (g->begun)
        g->nvml.shutdown();
    if (g->library)
        dlclose(g->library);
    free(g);
}

uint32_t gpu_count(const struct gpu_reader *g)
{
    return g->count;
}

/* ---- Evidence ---- */

/* What the library says of its sizes is bounded by its arrays. */
static int check_size(unsigned size, unsigned max, const char *what, char *why)
{
    if (size > 0 && size <= max)
        return 0;
    snprintf(why, GPU_WHY_LEN, "NVML: a GPU's %s has %u bytes", what, size);
    return E_INVALID;
}

static int read_report(const struct gpu_reader *g, const struct gpu *gpu, const uint8_t *nonce,
                       struct buf *out, char *why)
{
    struct nvml_report *r = mem_zero(sizeof(*r));

    memcpy(r->nonce, nonce, GPU_NONCE_LEN);
    const int code = g->nvml.report(gpu->device, r);
    int error = code == NVML_SUCCESS ? check_size(r->report_size, REPORT_MAX, "report", why)
                                     : fail(g, code, "a GPU's report", why);
    if (!error)
        buf_append(out, span_of(r->report, r->report_size));
    free(r);
    return error;
}

static int read_chain(const struct gpu_reader *g, const struct gpu *gpu, struct buf *out, char *why)
{
    struct nvml_certificate *c = mem_zero(sizeof(*c));

    const int code = g->nvml.certificate(gpu->device, c);
    int error = code == NVML_SUCCESS ? check_size(c->attestation_chain_size, ATTESTATION_CHAIN_MAX,
                                                  "certificate chain", why)
                                     : fail(g, code, "a GPU's certificates", why);
    if (!error)
        buf_append(out, span_of(c->attestation_chain, c->attestation_chain_size));
    free(c);
    return error;
}

int gpu_evidence(struct gpu_reader *g, const uint8_t nonce[static GPU_NONCE_LEN], struct buf *out,
                 char why[static GPU_WHY_LEN])
{
    struct buf parts[2 * GPU_MAX] = {0};
    struct span reports[GPU_MAX], chains[GPU_MAX];
    int error = check_state(g, why);

    for (unsigned i = 0; i < g->count && !error; i++) {
        error = read_report(g, &g->gpus[i], nonce, &parts[2 * i], why);
        if (!error)
            error = read_chain(g, &g->gpus[i], &parts[2 * i + 1], why);
        reports[i] = buf_span(&parts[2 * i]);
        chains[i] = buf_span(&parts[2 * i + 1]);
    }
    if (!error)
        gpu_evidence_write(out, reports, chains, g->count);
    for (unsigned i = 0; i < 2 * GPU_MAX; i++)
        buf_fini(&parts[i]);
    return error;
}

int gpu_make_ready(struct gpu_reader *g, const struct x509_cert *root, uint64_t now_s,
                   char why[static GPU_WHY_LEN])
{
    AUTO(buf_fini) struct buf evidence = {0};
    uint8_t nonce[GPU_NONCE_LEN];
    struct attest_verdict v = {0};

    random_bytes(nonce, sizeof(nonce));
    TRY(gpu_evidence(g, nonce, &evidence, why));
    const struct gpu_input in = {.evidence = buf_span(&evidence),
                                 .nonce = nonce,
                                 .count = g->count,
                                 .root = root,
                                 .now_s = now_s};
    if (gpu_verify(&in, &v) < 0) {
        snprintf(why, GPU_WHY_LEN, "the GPUs' own evidence does not verify: %.80s %.100s",
                 attest_reason_sentence(v.reason), v.detail);
        return E_DENIED;
    }
    const int code = g->nvml.ready(CC_ACCEPTING);
    return code == NVML_SUCCESS ? 0 : fail(g, code, "letting the GPUs take work", why);
}
