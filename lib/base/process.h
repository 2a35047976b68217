/* What a process through which secrets pass does to itself. */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include "base/error.h"

/* No core file, whoever would write it, and no debugger of others: prompts and keys pass through.
 * E_IO: one of the switches could not be set. */
MUST_CHECK int process_guard(void);

#endif
