/* Version and commit, given by the Makefile. */
#include "base/version.h"

const char cocoon_version[] = COCOON_VERSION;
const char cocoon_commit[] = COCOON_COMMIT;
