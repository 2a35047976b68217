/* Price books as people write them (YAML), made into the canonical bytes that are hashed, stored
 * and published (money.md §2). */
#ifndef LEDGER_BOOKS_PRICE_FILE_H
#define LEDGER_BOOKS_PRICE_FILE_H

#include "base/buf.h"

enum { PRICE_FILE_MAX = 1 << 20, PRICE_FILE_MODELS_MAX = 1000 };

/* Reads the YAML of config/prices.example.yaml: version, commission_bps, valid_from (a date),
 * models: name -> prompt, cached, completion, reasoning (nano per million tokens), per_request,
 * minimum (nano); cached defaults to prompt, reasoning to completion. Or with base (nano per token)
 * and multipliers in 1/10000, as Cocoon has them: prompt_multiplier … Appends compact JSON with
 * sorted names, format cgw/prices/v1. E_INVALID: `why` says line, column and what, never a value.
 * Pure. */
MUST_CHECK int price_file_read(struct span yaml, struct buf *json, struct buf *why);

#endif
