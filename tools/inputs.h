/* Files that commands about evidence read: bounded, each complaint a sentence. */
#ifndef TOOLS_INPUTS_H
#define TOOLS_INPUTS_H

#include "attest/collateral.h"
#include "attest/policy_files.h"
#include "tools/command.h"

/* Appends the file's bytes, `max` at the most. -1: go on; else the command's exit code. */
int input_file(const struct command *c, const char *name, size_t max, struct buf *out);
/* The signed policy, which a command like these cannot do without. -1 or an exit code. */
int input_policy(const struct command *c, const char *file, const struct option_texts *keys,
                 struct attest_policy **out);
int input_collateral(const struct command *c, const char *file, struct collateral *out);

#endif
