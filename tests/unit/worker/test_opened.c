/* An opened request: what is said inside must be what was said outside, and is then held to the
 * API. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/clock.h"
#include "worker/opened.h"

enum { FIELDS = 12, NOW = 1795500000 };

static const char *const endpoints[] = {"chat"};
static struct worker_model models[] = {
    {.name = "small", .engine_name = "", .context = 2048, .max_output = 512},
    {.name = "talk",
     .engine_name = "",
     .context = 2048,
     .max_output = 512,
     .endpoints = {(const char **)(uintptr_t)endpoints, 1}},
};
static const struct worker_config config = {.models = {models, 2}, .body_bytes = 100000};

/* A request that passes; a test changes what it is about. */
struct message {
    const char *method, *path, *body;
    struct {
        const char *name, *value; /* NULL: left out */
    } fields[FIELDS];
    struct outer outer;
    char date[CLOCK_HTTP_LEN];
};

static void make(struct message *m)
{
    *m = (struct message){
        .method = "POST",
        .path = "/v1/chat/completions",
        .body = "{\"model\":\"small\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}",
        .fields = {{"content-type", "application/json"},
                   {"date", m->date},
                   {"cocoon-request-id", "rid-1"},
                   {"cocoon-model", "small"},
                   {"cocoon-max-tokens", "300"},
                   {"cocoon-max-input", "1000"}},
        .outer = {.max_tokens = 300, .max_input = 1000, .model = "small"},
    };
    clock_http_format(m->date, NOW);
    m->fields[1].value = m->date;
}

static void set(struct message *m, const char *name, const char *value)
{
    for (size_t i = 0; i < FIELDS; i++) {
        if (m->fields[i].name && strcmp(m->fields[i].name, name) != 0)
            continue;
        m->fields[i].name = name;
        m->fields[i].value = value;
        return;
    }
    fail();
}

static void open_message(struct opened *o, const struct message *m)
{
    AUTO(buf_fini) struct buf plain = {0};
    struct bhttp_field fields[FIELDS];
    size_t count = 0;

    for (size_t i = 0; i < FIELDS; i++)
        if (m->fields[i].value)
            fields[count++] =
                (struct bhttp_field){span_str(m->fields[i].name), span_str(m->fields[i].value)};
    bhttp_request(&plain, span_str(m->method), SPAN("https"), SPAN("worker"), span_str(m->path),
                  fields, count, span_str(m->body));
    opened_read(o, buf_span(&plain), &m->outer, &config, NOW);
}

static void passes(const struct message *m, int64_t cap)
{
    struct opened o;

    open_message(&o, m);
    if (o.fault.error)
        fail_msg("%s: %s", o.fault.error->name, o.fault.message);
    assert_int_equal(o.cap, cap);
    opened_fini(&o);
}

static void refused(const struct message *m, const struct api_error *e, enum usage_outcome outcome)
{
    struct opened o;

    open_message(&o, m);
    assert_non_null(o.fault.error);
    assert_string_equal(o.fault.error->name, e->name);
    assert_int_equal(o.outcome, outcome);
    opened_fini(&o);
}

static void a_plain_request_passes_with_the_cap_that_was_held_for(void **state)
{
    struct message m;

    (void)state;
    make(&m);
    passes(&m, 300);
}

static void the_lowest_of_body_hold_and_model_is_the_cap(void **state)
{
    struct message m;

    (void)state;
    make(&m);
    m.body = "{\"model\":\"small\",\"max_tokens\":7,\"messages\":[{\"role\":\"user\",\"content\":"
             "\"Hi\"}]}";
    passes(&m, 7);
    make(&m);
    m.outer.max_tokens = 9000;
    set(&m, "cocoon-max-tokens", "9000");
    passes(&m, 512);
}

static void choices_share_what_was_held_for(void **state)
{
    struct message m;

    (void)state;
    make(&m);
    m.body = "{\"model\":\"small\",\"n\":4,\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}";
    passes(&m, 75);
    m.outer.max_tokens = 3;
    set(&m, "cocoon-max-tokens", "3");
    refused(&m, &ERR_INVALID_HEADER, USAGE_BINDING_MISMATCH);
}

static void each_bound_value_must_equal_the_one_outside(void **state)
{
    static const struct {
        const char *name, *value;
    } wrong[] = {{"cocoon-model", "other"},
                 {"cocoon-max-tokens", "301"},
                 {"cocoon-max-tokens", "0300"},
                 {"cocoon-max-input", "999"}};

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct message m;
        make(&m);
        set(&m, wrong[i].name, wrong[i].value);
        refused(&m, &ERR_INVALID_HEADER, USAGE_BINDING_MISMATCH);
    }
}

static void the_bodys_model_must_be_the_bound_one(void **state)
{
    struct message m;

    (void)state;
    make(&m);
    m.body = "{\"model\":\"talk\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}";
    refused(&m, &ERR_INVALID_HEADER, USAGE_BINDING_MISMATCH);
}

static void a_required_field_left_out_is_refused(void **state)
{
    static const char *const names[] = {
        "date",        "cocoon-request-id", "cocoon-model", "cocoon-max-tokens", "cocoon-max-input",
        "content-type"};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct message m;
        make(&m);
        set(&m, names[i], NULL);
        refused(&m, &ERR_INVALID_HEADER, USAGE_REJECTED);
    }
}

static void a_date_five_minutes_off_passes_and_a_second_more_does_not(void **state)
{
    struct message m;
    struct opened o;

    (void)state;
    make(&m);
    clock_http_format(m.date, NOW - 300);
    passes(&m, 300);
    clock_http_format(m.date, NOW + 300);
    passes(&m, 300);
    clock_http_format(m.date, NOW + 301);
    open_message(&o, &m);
    assert_true(o.bad_date);
    opened_fini(&o);
    clock_http_format(m.date, NOW - 301);
    open_message(&o, &m);
    assert_true(o.bad_date);
    opened_fini(&o);
}

static void wishes_are_read_strictly(void **state)
{
    static const struct {
        const char *name, *value;
    } bad[] = {{"cocoon-include-usage", "1"}, {"cocoon-padding", "128"},
               {"cocoon-ping-ms", "999"},     {"cocoon-ping-ms", "-1"},
               {"cocoon-cache-salt", "a b"},  {"cocoon-public-model", ""}};
    struct message m;
    struct opened o;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        make(&m);
        set(&m, bad[i].name, bad[i].value);
        refused(&m, &ERR_INVALID_HEADER, USAGE_REJECTED);
    }
    make(&m);
    set(&m, "cocoon-include-usage", "?1");
    set(&m, "cocoon-padding", "pow2");
    set(&m, "cocoon-ping-ms", "1000");
    set(&m, "cocoon-public-model", "shown");
    set(&m, "cocoon-cache-salt", "0123456789012345678901");
    set(&m, "cocoon-of-tomorrow", "whatever");
    open_message(&o, &m);
    assert_null(o.fault.error);
    assert_true(o.include_usage);
    assert_int_equal(o.padding, PADDING_POW2);
    assert_int_equal(o.ping_ms, 1000);
    assert_true(span_is(o.public_model, "shown"));
    assert_string_equal(o.cache_salt, "0123456789012345678901");
    opened_fini(&o);
}

static void without_a_salt_each_request_has_its_own(void **state)
{
    struct message m;
    struct opened a, b;

    (void)state;
    make(&m);
    open_message(&a, &m);
    open_message(&b, &m);
    assert_int_equal(strlen(a.cache_salt), 22);
    assert_string_not_equal(a.cache_salt, b.cache_salt);
    opened_fini(&a);
    opened_fini(&b);
}

static void a_model_that_cannot_is_named_so(void **state)
{
    struct message m;

    (void)state;
    make(&m);
    snprintf(m.outer.model, sizeof(m.outer.model), "talk");
    set(&m, "cocoon-model", "talk");
    m.path = "/v1/completions";
    m.body = "{\"model\":\"talk\",\"prompt\":\"Hi\"}";
    refused(&m, &ERR_MODEL_UNSUPPORTED_ENDPOINT, USAGE_REJECTED);
    make(&m);
    m.path = "/v1/embeddings";
    m.body = "{\"model\":\"small\",\"input\":\"Hi\"}";
    refused(&m, &ERR_MODEL_UNSUPPORTED_ENDPOINT, USAGE_REJECTED);
    make(&m);
    snprintf(m.outer.model, sizeof(m.outer.model), "none");
    set(&m, "cocoon-model", "none");
    m.body = "{\"model\":\"none\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}";
    refused(&m, &ERR_MODEL_NOT_FOUND, USAGE_REJECTED);
}

static void other_paths_methods_and_types_are_refused(void **state)
{
    struct message m;

    (void)state;
    make(&m);
    m.method = "GET";
    refused(&m, &ERR_UNKNOWN_URL, USAGE_REJECTED);
    make(&m);
    m.path = "/metrics";
    refused(&m, &ERR_UNKNOWN_URL, USAGE_REJECTED);
    make(&m);
    set(&m, "content-type", "text/plain");
    refused(&m, &ERR_UNSUPPORTED_MEDIA_TYPE, USAGE_REJECTED);
}

static void the_worker_validates_again(void **state)
{
    struct message m;

    (void)state;
    make(&m);
    m.body = "{\"model\":\"small\",\"messages\":[]}";
    refused(&m, &ERR_EMPTY_ARRAY, USAGE_REJECTED);
    make(&m);
    m.body = "{\"model\":\"small\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"cache_"
             "salt\":\"x\"}";
    refused(&m, &ERR_UNSUPPORTED_PARAMETER, USAGE_REJECTED);
    make(&m);
    m.body = "{\"model\":";
    refused(&m, &ERR_INVALID_JSON, USAGE_REJECTED);
}

/* Whoever sent it may let members pass that this worker's engine does not get. */
static void what_the_worker_drops_is_named_or_refused(void **state)
{
    struct message m;
    struct opened o;

    (void)state;
    make(&m);
    m.body = "{\"model\":\"small\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"own_"
             "speed\":2}";
    for (size_t i = 0; i < 2; i++) {
        open_message(&o, &m);
        assert_null(o.fault.error);
        assert_string_equal(buf_cstr(&o.request.ignored), "own_speed");
        opened_fini(&o);
        set(&m, "cocoon-strict", "?0");
    }
    set(&m, "cocoon-strict", "?1");
    refused(&m, &ERR_UNKNOWN_PARAMETER, USAGE_REJECTED);
    set(&m, "cocoon-strict", "yes");
    refused(&m, &ERR_INVALID_HEADER, USAGE_REJECTED);
}

static void bytes_that_are_no_message_are_refused(void **state)
{
    struct message m;
    struct opened o;

    (void)state;
    make(&m);
    opened_read(&o, SPAN("\x00\x04POST"), &m.outer, &config, NOW);
    assert_non_null(o.fault.error);
    assert_int_equal(o.outcome, USAGE_REJECTED);
    opened_fini(&o);
}

/* ---- Outer fields ---- */

static struct span field_of(const void *arg, const char *name)
{
    const char *const *pairs = arg;

    for (size_t i = 0; pairs[i]; i += 2)
        if (strcmp(pairs[i], name) == 0)
            return span_str(pairs[i + 1]);
    return (struct span){0};
}

#define HEX64 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static void outer_fields_are_all_needed_and_bounded(void **state)
{
    const char *good[] = {"content-type",
                          "message/ohttp-chunked-req",
                          "cocoon-call",
                          "00112233445566778899aabbccddeeff",
                          "cocoon-attempt",
                          "2",
                          "cocoon-key",
                          HEX64,
                          "cocoon-model",
                          "org/small:tag",
                          "cocoon-max-tokens",
                          "300",
                          "cocoon-max-input",
                          "1000",
                          "cocoon-price",
                          "7;1500",
                          NULL};
    static const char *const wrong[] = {"text/plain",
                                        "00112233445566778899AABBCCDDEEFF",
                                        "-1",
                                        "00",
                                        "",
                                        "1e3",
                                        "99999999999999999999",
                                        "7"};
    struct outer o;

    (void)state;
    assert_int_equal(outer_read(&o, field_of, good), 0);
    assert_int_equal(o.coefficient, 1500);
    assert_int_equal(o.attempt, 2);
    assert_string_equal(o.price, "7;1500");
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const char *was = good[2 * i + 1];
        good[2 * i + 1] = wrong[i];
        assert_int_equal(outer_read(&o, field_of, good), E_INVALID);
        good[2 * i + 1] = was;
        const char *name = good[2 * i];
        good[2 * i] = "something-else";
        assert_int_equal(outer_read(&o, field_of, good), E_INVALID);
        good[2 * i] = name;
    }
}

static void a_traceparent_is_passed_on_and_a_wrong_one_refuses_nothing(void **state)
{
    const char *fields[] = {"content-type",
                            "message/ohttp-chunked-req",
                            "cocoon-call",
                            "00112233445566778899aabbccddeeff",
                            "cocoon-attempt",
                            "2",
                            "cocoon-key",
                            HEX64,
                            "cocoon-model",
                            "m",
                            "cocoon-max-tokens",
                            "300",
                            "cocoon-max-input",
                            "1000",
                            "cocoon-price",
                            "7;1500",
                            "traceparent",
                            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                            NULL};
    struct outer o;

    (void)state;
    assert_int_equal(outer_read(&o, field_of, fields), 0);
    assert_string_equal(o.traceparent, fields[17]);
    fields[17] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nX: y";
    assert_int_equal(outer_read(&o, field_of, fields), 0);
    assert_string_equal(o.traceparent, "");
    fields[16] = NULL;
    assert_int_equal(outer_read(&o, field_of, fields), 0);
    assert_string_equal(o.traceparent, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_request_passes_with_the_cap_that_was_held_for),
        cmocka_unit_test(the_lowest_of_body_hold_and_model_is_the_cap),
        cmocka_unit_test(choices_share_what_was_held_for),
        cmocka_unit_test(each_bound_value_must_equal_the_one_outside),
        cmocka_unit_test(the_bodys_model_must_be_the_bound_one),
        cmocka_unit_test(a_required_field_left_out_is_refused),
        cmocka_unit_test(a_date_five_minutes_off_passes_and_a_second_more_does_not),
        cmocka_unit_test(wishes_are_read_strictly),
        cmocka_unit_test(without_a_salt_each_request_has_its_own),
        cmocka_unit_test(a_model_that_cannot_is_named_so),
        cmocka_unit_test(other_paths_methods_and_types_are_refused),
        cmocka_unit_test(the_worker_validates_again),
        cmocka_unit_test(what_the_worker_drops_is_named_or_refused),
        cmocka_unit_test(bytes_that_are_no_message_are_refused),
        cmocka_unit_test(outer_fields_are_all_needed_and_bounded),
        cmocka_unit_test(a_traceparent_is_passed_on_and_a_wrong_one_refuses_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
