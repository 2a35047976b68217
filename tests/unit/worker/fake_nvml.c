/* A library with NVML's names: GPUs that answer with texts naming themselves and the nonce.
 * Declared as in NVIDIA's nvml.h, apart from worker/gpu.c. */
#include "tests/unit/worker/fake_nvml.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    unsigned int environment;
    unsigned int ccFeature;
    unsigned int devToolsMode;
} nvmlConfComputeSystemState_t;

typedef struct {
    unsigned int version;
    unsigned int environment;
    unsigned int ccFeature;
    unsigned int devToolsMode;
    unsigned int multiGpuMode;
} nvmlSystemConfComputeSettings_t;

typedef struct {
    unsigned int certChainSize;
    unsigned int attestationCertChainSize;
    unsigned char certChain[0x1000];
    unsigned char attestationCertChain[0x1400];
} nvmlConfComputeGpuCertificate_t;

typedef struct {
    unsigned int isCecAttestationReportPresent;
    unsigned int attestationReportSize;
    unsigned int cecAttestationReportSize;
    unsigned char nonce[0x20];
    unsigned char attestationReport[0x2000];
    unsigned char cecAttestationReport[0x1000];
} nvmlConfComputeGpuAttestationReport_t;

typedef struct {
    char busIdLegacy[16];
    unsigned int domain;
    unsigned int bus;
    unsigned int device;
    unsigned int pciDeviceId;
    unsigned int pciSubSystemId;
    char busId[32];
} nvmlPciInfo_t;

typedef void *nvmlDevice_t;

struct fake_nvml fake_nvml = {.gpus = 3, .cc_feature = 1};

int nvmlInit_v2(void);
int nvmlShutdown(void);
const char *nvmlErrorString(int code);
int nvmlSystemGetConfComputeState(nvmlConfComputeSystemState_t *state);
int nvmlSystemGetConfComputeSettings(nvmlSystemConfComputeSettings_t *settings);
int nvmlSystemSetConfComputeGpusReadyState(unsigned int accepting);
int nvmlDeviceGetCount_v2(unsigned int *count);
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device);
int nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *pci);
int nvmlDeviceGetConfComputeGpuCertificate(nvmlDevice_t device,
                                           nvmlConfComputeGpuCertificate_t *certificate);
int nvmlDeviceGetConfComputeGpuAttestationReport(nvmlDevice_t device,
                                                 nvmlConfComputeGpuAttestationReport_t *report);

int nvmlInit_v2(void)
{
    fake_nvml.inits++;
    return 0;
}

int nvmlShutdown(void)
{
    fake_nvml.shutdowns++;
    return 0;
}

const char *nvmlErrorString(int code)
{
    return code == 999 ? "Unknown Error" : "Some Error";
}

int nvmlSystemGetConfComputeState(nvmlConfComputeSystemState_t *state)
{
    state->ccFeature = fake_nvml.cc_feature;
    state->devToolsMode = fake_nvml.devtools_mode;
    return 0;
}

int nvmlSystemGetConfComputeSettings(nvmlSystemConfComputeSettings_t *settings)
{
    if (settings->version != (sizeof(*settings) | 1U << 24))
        return 25; /* NVML_ERROR_ARGUMENT_VERSION_MISMATCH */
    settings->ccFeature = fake_nvml.cc_feature;
    settings->devToolsMode = fake_nvml.devtools_mode;
    settings->multiGpuMode = fake_nvml.multi_gpu_mode;
    return fake_nvml.settings_error;
}

int nvmlSystemSetConfComputeGpusReadyState(unsigned int accepting)
{
    if (!fake_nvml.ready_error && accepting == 1)
        fake_nvml.ready++;
    return fake_nvml.ready_error;
}

int nvmlDeviceGetCount_v2(unsigned int *count)
{
    *count = fake_nvml.gpus;
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device)
{
    *device = (void *)(uintptr_t)(100 + index);
    return 0;
}

/* Enumerated backwards. */
int nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *pci)
{
    memset(pci, 0, sizeof(*pci));
    pci->bus = 200 - (unsigned int)(uintptr_t)device;
    return 0;
}

int nvmlDeviceGetConfComputeGpuCertificate(nvmlDevice_t device,
                                           nvmlConfComputeGpuCertificate_t *certificate)
{
    if (fake_nvml.make_chain) {
        certificate->attestationCertChainSize =
            fake_nvml.make_chain((int)(uintptr_t)device, certificate->attestationCertChain, 0x1400);
        return 0;
    }
    const int n = snprintf((char *)certificate->attestationCertChain, 0x1400, "chain %d",
                           (int)(uintptr_t)device);

    certificate->attestationCertChainSize =
        fake_nvml.chain_size ? fake_nvml.chain_size : (unsigned int)n;
    return 0;
}

int nvmlDeviceGetConfComputeGpuAttestationReport(nvmlDevice_t device,
                                                 nvmlConfComputeGpuAttestationReport_t *report)
{
    if (fake_nvml.make_report) {
        report->attestationReportSize = fake_nvml.make_report((int)(uintptr_t)device, report->nonce,
                                                              report->attestationReport, 0x2000);
        return 0;
    }
    const int n = snprintf((char *)report->attestationReport, 0x2000, "report %d nonce %02x%02x",
                           (int)(uintptr_t)device, report->nonce[0], report->nonce[31]);

    report->attestationReportSize = fake_nvml.report_size ? fake_nvml.report_size : (unsigned int)n;
    return fake_nvml.report_error;
}
