/* What the API has, and what it says of the rest (api.md §1.5): for the programs that applications
 * speak to. Pure. */
#ifndef OPENAI_PATHS_H
#define OPENAI_PATHS_H

#include "openai/error.h"

struct path_refusal {
    const char *path; /* that is refused, alone or with all below it */
    const struct api_error *error;
};

/* The refusal of a path without its /v1 that is planned or will never be; NULL: not in the list. */
const struct path_refusal *path_refusal(struct span path);

#endif
