/* The machine's present power draw, read by the owner's command while a ceiling is set. */
#ifndef WORKER_WATTS_H
#define WORKER_WATTS_H

#include "base/buf.h"
#include "net/offload.h"

struct watts;

/* command: for /bin/sh; copied. "" reads nothing. The command's child runs beside the loop, never
 * in it. */
struct watts *watts_new(struct loop *l, struct offload *o, const char *command);
/* Another command (reload). */
void watts_command(struct watts *w, const char *command);
/* The ceiling, 0 for none: the command runs only while there is one. */
void watts_ceiling(struct watts *w, int64_t watts);
/* Above the ceiling, or the draw is not known: nothing new should be taken. After a time above, the
 * draw must come down to nine tenths of it. */
bool watts_over(const struct watts *w);
/* -1: not known. */
int64_t watts_now(const struct watts *w);
/* Before the pool is freed. */
void watts_stop(struct watts *w);
/* After the pool is gone. */
void watts_free(struct watts *w);

/* The first number of a command's output, rounded up: "287.4 W" is 288. E_INVALID. */
MUST_CHECK int watts_parse(struct span text, int64_t *out);

#endif
