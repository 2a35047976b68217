/* Files that hold an Ed25519 key or another secret of 32 bytes, as hex digits of their owner alone.
 */
#ifndef TOOLS_KEY_FILE_H
#define TOOLS_KEY_FILE_H

#include "crypto/ed25519.h"
#include "tools/command.h"

enum { KEY_FILE_SECRET_LEN = 32 };

/* A new file; E_EXISTS leaves what is there, else E_IO with errno. */
MUST_CHECK int key_file_write(const char *path, const uint8_t secret[static KEY_FILE_SECRET_LEN]);
/* A command of one operand: makes a key there and prints its public half. */
int key_file_make(const struct command *c, int argc, char **argv);
/* The key there, which no others may read. -1, or an exit code and why. */
int key_file_read(const struct command *c, const char *path, struct ed25519 **out);

#endif
