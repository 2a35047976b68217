/* A file of canaries (config/canaries.example.yaml), read and written. */
#ifndef TOOLS_CANARY_FILE_H
#define TOOLS_CANARY_FILE_H

#include "config/canaries_config.h"

/* As config_load, and what one setting alone does not show. E_DENIED: others may read the file. */
MUST_CHECK int canary_file_load(struct config_snapshot **out, const char *file, struct buf *why);

/* Appends a canary as an item of `canaries`, so that the file's reader gives the same again. */
void canary_write(const struct canary *c, struct buf *out);

static inline const struct canary *canary_at(const struct canaries_config *f, size_t i)
{
    return (const struct canary *)f->canaries.items + i;
}

static inline const struct canary_answer *canary_answer_at(const struct canary *c, size_t i)
{
    return (const struct canary_answer *)c->answers.items + i;
}

#endif
