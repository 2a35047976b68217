/* cocoonctl keys where a ledger keeps them ($COCOON_LEDGER): the same commands, through its admin
 * API.
 */
#ifndef TOOLS_LEDGER_KEYS_H
#define TOOLS_LEDGER_KEYS_H

#include "tools/command.h"

int ledger_keys_create(const struct command *c, int argc, char **argv);
int ledger_keys_list(const struct command *c, int argc, char **argv);
int ledger_keys_show(const struct command *c, int argc, char **argv);
int ledger_keys_set(const struct command *c, int argc, char **argv);
int ledger_keys_revoke(const struct command *c, int argc, char **argv);
int ledger_keys_rotate(const struct command *c, int argc, char **argv);
int ledger_keys_restore(const struct command *c, int argc, char **argv);

#endif
