/* What relays tell apart in a worker's client bytes (api.md §0, §2.1; wire.md §5): a chunk of a
 * stream is one event or more, whole ones. Pure. */
#ifndef OPENAI_STREAM_H
#define OPENAI_STREAM_H

#include "base/span.h"

/* The usage event, which is a chunk of its own: no choices, `usage` last. */
bool stream_is_usage(struct span bytes);
/* The usage event or the end mark: they wait until the answer's end is authenticated. */
bool stream_is_closing(struct span bytes);
/* An error event is among them: the worker's engine failed after the head, and what follows is the
 * end, but not of a whole answer. No text of a model begins a line. */
bool stream_has_error(struct span bytes);
/* It begins with an error that is not the request's fault: before any other event another worker
 * may do better. */
bool stream_is_server_error(struct span bytes);

#endif
