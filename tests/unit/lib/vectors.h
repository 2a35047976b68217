/* Reads published vectors (JSON, hex strings) from beside the project; tests skip what is not
 * there. */
#ifndef TESTS_UNIT_LIB_VECTORS_H
#define TESTS_UNIT_LIB_VECTORS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include <jansson.h>

#include "base/buf.h"
#include "base/encode.h"

#define VECTORS_FOLDER "../shared/vectors/"

/* The file's JSON, the caller's; NULL when it is not there (then the test has been marked as
 * skipped). */
static inline json_t *vectors_load(const char *name)
{
    char command[300];
    FILE *file;
    json_t *doc;

    snprintf(command, sizeof(command), VECTORS_FOLDER "%s", name);
    file = fopen(command, "r");
    if (!file) {
        print_message("no vectors: %s\n", command);
        skip();
        return NULL;
    }
    fclose(file);
    snprintf(command, sizeof(command), "gzip -cdf " VECTORS_FOLDER "%s", name);
    file = popen(command, "r");
    assert_non_null(file);
    doc = json_loadf(file, 0, NULL);
    pclose(file);
    assert_non_null(doc);
    return doc;
}

/* The file's bytes, the caller's; a missing one marks the test as skipped. */
static inline struct buf vectors_bytes(const char *name)
{
    struct buf out = {0};
    char path[300];
    FILE *file;
    int c;

    snprintf(path, sizeof(path), VECTORS_FOLDER "%s", name);
    file = fopen(path, "rb");
    if (!file) {
        print_message("no vectors: %s\n", path);
        skip();
        return out;
    }
    while ((c = fgetc(file)) != EOF)
        buf_byte(&out, (uint8_t)c);
    fclose(file);
    return out;
}

static inline const char *vector_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    if (!text)
        fail_msg("the vector lacks %s", name);
    return text;
}

/* Decoded bytes of a hex string, the caller's. */
static inline struct buf bytes_of_hex(const char *hex)
{
    struct buf out = {0};
    size_t len = strlen(hex) / 2;

    buf_reserve(&out, len);
    assert_int_equal(hex_decode(out.data, len, span_str(hex)), 0);
    out.len = len;
    return out;
}

static inline struct buf vector_hex(const json_t *object, const char *name)
{
    return bytes_of_hex(vector_text(object, name));
}

static inline void assert_span(struct span got, struct span want)
{
    assert_int_equal(got.len, want.len);
    if (want.len > 0)
        assert_memory_equal(got.data, want.data, want.len);
}

static inline void assert_hex(struct span got, const char *hex)
{
    AUTO(buf_fini) struct buf want = bytes_of_hex(hex);

    assert_span(got, buf_span(&want));
}

#endif
