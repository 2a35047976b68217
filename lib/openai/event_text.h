/* An engine's bytes made safe to quote: strict JSON, well-formed UTF-8, no lone surrogates.
 * Internal to lib/openai. */
#ifndef OPENAI_EVENT_TEXT_H
#define OPENAI_EVENT_TEXT_H

#include "base/buf.h"

/* Checks the grammar of RFC 8259 (at most 100 deep) and repairs the text inside strings: bytes that
 * are not UTF-8 and escaped halves of surrogate pairs become U+FFFD. *out is `in` itself when it
 * was sound, else `scratch`'s bytes; any value of it may then be copied into an answer as it
 * stands. E_PROTOCOL: not JSON. */
MUST_CHECK int event_text(struct span in, struct buf *scratch, struct span *out);

/* Appends in, with U+FFFD for each byte that is not part of UTF-8. */
void utf8_repair(struct buf *out, struct span in);

/* The text's one pass: E_PROTOCOL, or the number of escaped surrogate halves found. When fix is not
 * NULL it is the text itself, and they are overwritten. */
MUST_CHECK int json_strict(struct span text, uint8_t *fix);

/* True for a number that any reader can hold: no overflow, no endless digits. */
bool number_sound(struct span number);
/* True for a JSON string value (of a text that event_text has passed). */
bool is_string(struct span value);
/* What stands between a string's quotes; escapes stay. */
struct span string_inside(struct span value);

#endif
