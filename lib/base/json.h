/* Foreign JSON read with bounds: a linear pre-scan, then jansson; and byte ranges of members for
 * splicing. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <jansson.h>

#include "base/buf.h"

enum { JSON_MAX_DEPTH = 100, JSON_MAX_VALUES = 100000 };

static inline void auto_json(json_t **p)
{
    json_decref(*p);
}
/* Releases a json_t at the end of its scope: `AUTO_JSON json_t *doc = NULL;` */
#define AUTO_JSON __attribute__((cleanup(auto_json)))

/* Pre-scan with JSON_MAX_DEPTH and JSON_MAX_VALUES, then jansson with JSON_REJECT_DUPLICATES |
 * JSON_ALLOW_NUL. The top level must be an object. E_INVALID: not JSON, not UTF-8, duplicate names,
 * trailing bytes, not an object. E_TOO_COMPLEX: too deep or too many values. Pure; any thread. The
 * caller owns *out (json_decref). */
MUST_CHECK int json_read(struct span text, json_t **out);

/* Members of an object that json_read made, read strictly. 0; E_NOT_FOUND when the member is absent
 * or null, or obj is NULL or null itself; E_INVALID when it has another type or is out of range, or
 * obj is no object. On failure *out stays as it was. The string points into obj's memory and may
 * hold NULs. */
MUST_CHECK int json_obj_string(const json_t *obj, const char *name, struct span *out);
/* Written as an integer (no 1.0, no 1e0) with min ≤ *out ≤ max. */
MUST_CHECK int json_obj_int(const json_t *obj, const char *name, int64_t min, int64_t max,
                            int64_t *out);
MUST_CHECK int json_obj_bool(const json_t *obj, const char *name, bool *out);

/* Only the pre-scan: walks the text once, without recursion, and counts. Does not prove that it is
 * JSON. Every scalar, array and object is one value; names of members are none. E_TOO_COMPLEX above
 * a bound; E_INVALID when a string or bracket is left open, or closed twice. */
MUST_CHECK int json_bound(struct span text, size_t max_depth, size_t max_values);

/* Offset behind the string whose opening quote is at `at`; 0 when it does not end. */
size_t json_string_end(struct span text, size_t at);
/* How many bytes at the beginning of s may stand in a string as they are: no quote, backslash or
 * control. */
size_t json_plain_run(struct span s);

/* One member of an object, as byte ranges of the text it stands in. */
struct json_member {
    struct span name;  /* between the quotes, escapes not decoded */
    struct span value; /* the value's bytes, without surrounding white space */
    struct span whole; /* from the name's opening quote to the value's end */
};

/* Walks the members of the object that `object` holds (which json_read has accepted, or a value of
 * one it has). *at starts at 0 and is moved on; E_NOT_FOUND at the end; E_INVALID when the bytes
 * are no object. */
MUST_CHECK int json_member_next(struct span object, size_t *at, struct json_member *out);
/* Walks the elements of an array in the same way. */
MUST_CHECK int json_element_next(struct span array, size_t *at, struct span *value);
/* The member of that (decoded) name; E_NOT_FOUND when there is none. */
MUST_CHECK int json_member_find(struct span object, const char *name, struct json_member *out);
/* Appends the decoded bytes of a JSON string value (with its quotes). E_INVALID when it is none;
 * out stays as it was. */
MUST_CHECK int json_string_decode(struct span value, struct buf *out);

/* Edits to an object's members; everything else stays byte for byte. */
struct json_edit {
    const char *name;  /* decoded name */
    struct span value; /* new JSON text; data NULL drops the member */
};
/* Copies object to out with the edits: present members are replaced or dropped in place, absent
 * ones are appended at the end in the order given. Names are distinct, values are not empty, count
 * ≤ 64. E_INVALID when object is none: out stays as it was. */
MUST_CHECK int json_splice(struct span object, const struct json_edit *edits, size_t count,
                           struct buf *out);

#endif
