/* What a process through which secrets pass does to itself. */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include <stdbool.h>

/* No core file, whoever would write it, and no debugger of others: prompts and keys pass through.
 * What cannot be written, to a peer that has gone or a file that may not grow, is write(2)'s error
 * and no signal. False, and a warning in the log: one of the switches could not be set. */
bool process_guard(void);

#endif
