/* Keeps keys and plaintext inside the process: no core, no debugger, no swap (wire.md §8). */
#ifndef WORKER_SECRECY_H
#define WORKER_SECRECY_H

#include <stdbool.h>

/* At start, before keys and threads; logs what could be done. From then on memory of JSON is zero
 * when it is given back. */
void secrecy_begin(void);
/* Whether the machine could swap this process's memory out. */
bool secrecy_swap_on(void);

#endif
