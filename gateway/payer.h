/* Who pays for callers that bring no API key of their own: an API key in a file. */
#ifndef GATEWAY_PAYER_H
#define GATEWAY_PAYER_H

#include "base/buf.h"

/* Reads the key's text; E_IO, E_DENIED (others may read it), E_INVALID. Wipe it after use. */
MUST_CHECK int payer_read(const char *file, struct buf *key);

#endif
