/* The commands of cocoon-devtee. */
#ifndef DEVTEE_COMMANDS_H
#define DEVTEE_COMMANDS_H

#include "devtee/issuer.h"

struct devtee_options { /* NULL: not given */
    const char *seed_file, *build_id, *out, *socket, *report_data;
    const char *config_sha256, *model_digest; /* as in struct devtee_policy */
    struct devtee_faults faults;
};

/* Each returns the exit status, and says on stderr what is wrong. */
int devtee_init(const struct devtee_options *o);
int devtee_serve(const struct devtee_options *o);
int devtee_print_quote(const struct devtee_options *o);
int devtee_print_collateral(const struct devtee_options *o);

/* Reads the seed file; with make a missing one is made. NULL: said on stderr why not. */
struct devtee_issuer *devtee_open(const struct devtee_options *o, bool make);
/* "cocoon-devtee: what: of: errno's text"; EXIT_FAILURE. */
int devtee_failure(const char *what, const char *of);

#endif
