/* Switches of the fake NVML, which its test finds by name in the library. */
#ifndef TESTS_UNIT_WORKER_FAKE_NVML_H
#define TESTS_UNIT_WORKER_FAKE_NVML_H

/* `struct fake_nvml fake_nvml` in the library. */
struct fake_nvml {
    unsigned gpus;
    unsigned cc_feature, devtools_mode;
    unsigned report_size, chain_size; /* 0: what was written */
    int report_error;
    int inits, shutdowns;
};

#endif
