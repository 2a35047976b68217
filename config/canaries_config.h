/* The operator's file of canaries: whom to ask through, and prompts of which the answers are known.
 */
#ifndef CONFIG_CANARIES_CONFIG_H
#define CONFIG_CANARIES_CONFIG_H

#include "config/config.h"

struct canary_answer {
    const char *text;
    int64_t tokens; /* of it */
};

struct canary {
    const char *model, *system, *prompt; /* system "": none */
    int64_t max_tokens;
    int64_t prompt_tokens;      /* 0: not compared */
    int64_t prefix;             /* characters of an answer that are compared; 0: all */
    int64_t tolerance;          /* answer tokens that may be more or less */
    struct config_list answers; /* struct canary_answer: any of them is right */
};

struct canaries_config {
    const char *gateway, *ca_file, *policy; /* as of cocoon-client, like those below */
    struct config_strings release_keys;
    const char *collateral_url, *root_crl_url, *collateral_cache, *collateral_bundle;
    bool insecure_dev;
    const char *key_file;     /* made when it is not there */
    const char *api_key_file; /* 0600 */
    int64_t max_coefficient;  /* bid; 0: the key's own */
    int64_t timeout_s;        /* of one canary */
    struct config_list canaries;
};

extern const struct config_table canaries_config_table;

#endif
