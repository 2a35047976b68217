/* Switches of the fake NVML, which its test finds by name in the library. */
#ifndef TESTS_UNIT_WORKER_FAKE_NVML_H
#define TESTS_UNIT_WORKER_FAKE_NVML_H

/* `struct fake_nvml fake_nvml` in the library. */
struct fake_nvml {
    unsigned gpus;
    unsigned cc_feature, devtools_mode, multi_gpu_mode;
    int settings_error;
    unsigned report_size, chain_size; /* 0: what was written */
    int report_error;
    int inits, shutdowns;
    unsigned ready; /* calls that let the GPUs take work */
    int ready_error;
    /* In place of the texts: bytes written at out, at most max. */
    unsigned (*make_report)(int gpu, const unsigned char *nonce, unsigned char *out, unsigned max);
    unsigned (*make_chain)(int gpu, unsigned char *out, unsigned max);
};

#endif
