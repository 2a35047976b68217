/* What the keyset says of configuration and weights (attestation.md §9), read from the files
 * themselves before a port opens. */
#ifndef WORKER_DIGESTS_H
#define WORKER_DIGESTS_H

#include <stdatomic.h>

#include "base/buf.h"
#include "crypto/hash.h"

enum { DIGEST_TEXT_LEN = 2 * SHA256_LEN + 1, MODEL_DIGEST_LEN = DIGEST_TEXT_LEN + 7 };
enum { DIGESTS_WHY_LEN = 400, MODEL_FILES_MAX = 100000 };

/* Hex of the SHA-256 of the file's bytes, with NUL. E_IO with a sentence in why. Blocks. */
MUST_CHECK int digest_file(const char *path, char out[static DIGEST_TEXT_LEN],
                           char why[static DIGESTS_WHY_LEN]);
/* "sha256:" and the hex SHA-256 of the lines `<hex SHA-256 of the file>  <relative path>\n` of all
 * files of the folder, sorted by path bytewise. Links to files are followed; a link to a folder,
 * and what is neither file nor folder, is refused (E_INVALID), as are an empty folder and names
 * with a control character or a backslash. E_CLOSED when *stop became true. Reads every byte:
 * minutes for large models. Blocks. */
MUST_CHECK int digest_model(const char *folder, const atomic_bool *stop,
                            char out[static MODEL_DIGEST_LEN], char why[static DIGESTS_WHY_LEN]);
/* Whether every link stays in the folder, on its own file system, each step of the way: only then
 * is what was read as unchangeable as the folder is. E_DENIED with a sentence in why; E_IO. Blocks.
 */
MUST_CHECK int digest_model_contained(const char *folder, char why[static DIGESTS_WHY_LEN]);

#endif
