/* Reading a configuration file: values, defaults, and every kind of refusal. */
#include "config/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct pet {
    const char *name;
    int64_t legs;
};

struct values {
    const char *title, *file;
    int64_t size;
    bool loud;
    struct config_strings words;
    struct config_list pets;
};

static const char *check_title(const char *text)
{
    return *text == 'T' ? NULL : "must begin with T";
}

static const struct config_field pet_fields[] = {
    {.name = "name", .type = CONFIG_STRING, .offset = offsetof(struct pet, name)},
    {.name = "legs",
     .type = CONFIG_INT,
     .offset = offsetof(struct pet, legs),
     .fallback = "4",
     .max = 8},
};
static const struct config_table pet_table = {"pet", sizeof(struct pet), pet_fields, 2};

static const struct config_field fields[] = {
    {.name = "title",
     .type = CONFIG_STRING,
     .offset = offsetof(struct values, title),
     .check = check_title},
    {.name = "store.file",
     .type = CONFIG_PATH,
     .offset = offsetof(struct values, file),
     .fallback = ""},
    {.name = "store.size",
     .type = CONFIG_INT,
     .offset = offsetof(struct values, size),
     .fallback = "10",
     .min = -5,
     .max = 100},
    {.name = "loud",
     .type = CONFIG_BOOL,
     .offset = offsetof(struct values, loud),
     .fallback = "false"},
    {.name = "words",
     .type = CONFIG_STRINGS,
     .offset = offsetof(struct values, words),
     .fallback = "one two",
     .max = 3},
    {.name = "pets",
     .type = CONFIG_LIST,
     .offset = offsetof(struct values, pets),
     .fallback = "",
     .max = 2,
     .item = &pet_table},
};
static const struct config_table table = {"test", sizeof(struct values), fields, 6};

struct fixture {
    char folder[64], file[128];
    struct buf why;
    struct config_snapshot *snapshot;
};

static int setup(void **state)
{
    struct fixture *f = mem_zero(sizeof(*f));

    strcpy(f->folder, "/tmp/test-config-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->file, sizeof(f->file), "%s/c.yaml", f->folder);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    config_unref(f->snapshot);
    buf_fini(&f->why);
    unlink(f->file);
    rmdir(f->folder);
    free(f);
    return 0;
}

static void write_file(const char *file, struct span text)
{
    FILE *out = fopen(file, "w");

    assert_non_null(out);
    assert_int_equal(fwrite(text.data, 1, text.len, out), text.len);
    assert_int_equal(fclose(out), 0);
}

static const struct values *load(struct fixture *f, const char *text)
{
    write_file(f->file, span_str(text));
    assert_int_equal(config_load(&f->snapshot, &table, f->file, &f->why), 0);
    return f->snapshot->values;
}

// The text is refused, and the reason contains each of the words (NULL ends them).
static void refuse(struct fixture *f, struct span text, ...)
{
    va_list words;

    write_file(f->file, text);
    buf_clear(&f->why);
    assert_int_equal(config_load(&f->snapshot, &table, f->file, &f->why), E_INVALID);
    assert_null(f->snapshot);
    va_start(words, text);
    for (const char *word; (word = va_arg(words, const char *));) {
        if (!strstr(buf_cstr(&f->why), word))
            fail_msg("'%s' is not in: %s", word, buf_cstr(&f->why));
    }
    va_end(words);
}

#define REFUSE(f, text, ...) refuse(f, span_str(text), __VA_ARGS__, NULL)

static void values_are_read(void **state)
{
    const struct values *v = load(*state, "title: The end\n"
                                          "store: {file: /a/b, size: -5}\n"
                                          "loud: true\n"
                                          "words: [x, y, z]\n"
                                          "pets:\n"
                                          "  - name: cat\n"
                                          "  - {name: bird, legs: 2}\n");

    assert_string_equal(v->title, "The end");
    assert_string_equal(v->file, "/a/b");
    assert_int_equal(v->size, -5);
    assert_true(v->loud);
    assert_int_equal(v->words.count, 3);
    assert_string_equal(v->words.items[2], "z");
    const struct pet *pets = v->pets.items;
    assert_int_equal(v->pets.count, 2);
    assert_string_equal(pets[0].name, "cat");
    assert_int_equal(pets[0].legs, 4);
    assert_int_equal(pets[1].legs, 2);
}

static void defaults_fill_what_is_absent(void **state)
{
    const struct values *v = load(*state, "title: T\n");

    assert_string_equal(v->file, "");
    assert_int_equal(v->size, 10);
    assert_false(v->loud);
    assert_int_equal(v->words.count, 2);
    assert_string_equal(v->words.items[1], "two");
    assert_int_equal(v->pets.count, 0);
}

static void relative_paths_begin_at_the_file(void **state)
{
    struct fixture *f = *state;
    char expected[128];

    snprintf(expected, sizeof(expected), "%s/key.pem", f->folder);
    assert_string_equal(load(f, "title: T\nstore:\n  file: key.pem\n")->file, expected);
}

static void a_snapshot_lives_until_its_last_user(void **state)
{
    struct fixture *f = *state;
    const struct values *v = load(f, "title: The end\n");
    struct config_snapshot *kept = config_ref(f->snapshot);

    config_unref(f->snapshot);
    f->snapshot = NULL;
    assert_string_equal(v->title, "The end");
    config_unref(kept);
}

static void unknown_settings_are_refused_with_a_hint(void **state)
{
    struct fixture *f = *state;

    REFUSE(f, "title: T\nlouder: true\n", "c.yaml:2:1: louder: no such setting", "mean loud?");
    REFUSE(f, "title: T\nstore:\n  sise: 3\n", "c.yaml:3:3: store.sise: no", "mean size?");
    REFUSE(f, "title: T\nstor: {size: 3}\n", "stor: no such setting; did you mean store?");
    REFUSE(f, "title: T\npets: [{name: a, lexs: 3}]\n", "pets[0].lexs: ", "did you mean legs?");
    REFUSE(f, "title: T\nstore.size: 3\n", "store.size: no such setting");
    REFUSE(f, "title: T\nquite_different: 3\n", "quite_different: no such setting\n");
}

static void missing_settings_are_named(void **state)
{
    REFUSE(*state, "", "c.yaml:1:1: title: is required and missing");
    REFUSE(*state, "title: T\npets:\n  - legs: 3\n", "c.yaml:3:5: pets[0].name: is required");
}

static void wrong_types_are_refused(void **state)
{
    struct fixture *f = *state;

    REFUSE(f, "title: T\nloud: yes\n", "c.yaml:2:7: loud: must be true or false");
    REFUSE(f, "title: T\nloud: \"true\"\n", "without quotes");
    REFUSE(f, "title: T\nstore: {size: 1.5}\n", "store.size: must be a whole number");
    REFUSE(f, "title: T\nstore: {size: \"1\"}\n", "must be a number without quotes");
    REFUSE(f, "title: [T]\n", "title: must be a single value");
    REFUSE(f, "title:\n", "title: has no value");
    REFUSE(f, "title: T\nstore: 3\n", "store: must be a map of settings");
    REFUSE(f, "title: T\nwords: one\n", "words: must be a list");
    REFUSE(f, "title: T\nwords: [a, \"\"]\n", "words: item 2 must not be empty");
    REFUSE(f, "title: T\nwords: [{a: b}]\n", "words: item 1 must list plain texts");
    REFUSE(f, "title: T\npets: [cat]\n", "pets: item 1 must be a map");
    REFUSE(f, "[a, b]\n", "the file must be a map of settings");
}

static void numbers_keep_to_their_range(void **state)
{
    struct fixture *f = *state;

    REFUSE(f, "title: T\nstore: {size: 101}\n", "must be a whole number from -5 to 100");
    REFUSE(f, "title: T\nstore: {size: -6}\n", "from -5 to 100");
    REFUSE(f, "title: T\nstore: {size: 99999999999999999999}\n", "from -5 to 100");
    REFUSE(f, "title: T\nstore: {size: 010}\n", "from -5 to 100");
    REFUSE(f, "title: T\nwords: [a, b, c, d]\n", "words: must list 0 to 3 items");
}

static void checks_of_a_table_are_asked(void **state)
{
    REFUSE(*state, "title: end\n", "c.yaml:1:8: title: must begin with T");
}

static void duplicates_anchors_tags_and_second_documents_are_refused(void **state)
{
    struct fixture *f = *state;

    REFUSE(f, "title: T\nloud: true\ntitle: U\n", "c.yaml:3:1: ", "stands here twice");
    REFUSE(f, "title: &a T\n", "anchors and aliases");
    REFUSE(f, "title: *a\n", "anchors and aliases");
    REFUSE(f, "title: !!str T\n", "tags are not allowed");
    REFUSE(f, "title: T\nstore: {<<: {size: 1}}\n", "no such setting");
    REFUSE(f, "title: T\n---\ntitle: T\n", "only one document");
    REFUSE(f, "? [a]\n: b\n", "a name must be a plain word");
}

static void broken_bytes_are_refused(void **state)
{
    struct fixture *f = *state;

    REFUSE(f, "title: \"T\n", "c.yaml:");
    REFUSE(f, "title: \"T\\0\"\n", "NUL");
    REFUSE(f, "title: T\xff\n", "c.yaml:");
    REFUSE(f, "title: T\n\tloud: true\n", "c.yaml:2:");
}

static void depth_and_size_are_bounded(void **state)
{
    struct fixture *f = *state;
    AUTO(buf_fini) struct buf text = {0};

    buf_append_str(&text, "title: ");
    for (int i = 0; i < 50; i++)
        buf_byte(&text, '[');
    refuse(f, buf_span(&text), "too deep", NULL);
    buf_clear(&text);
    buf_append_str(&text, "words: [");
    for (int i = 0; i < 10001; i++)
        buf_append_str(&text, "a,");
    buf_append_str(&text, "a]");
    refuse(f, buf_span(&text), "too long", NULL);
    buf_clear(&text);
    memset(buf_reserve(&text, 2 << 20), '#', 2 << 20);
    text.len = 2 << 20;
    refuse(f, buf_span(&text), "larger than 1 MiB", NULL);
}

static void all_problems_are_told_but_at_most_twenty(void **state)
{
    struct fixture *f = *state;
    AUTO(buf_fini) struct buf text = {0};
    size_t lines = 0;

    REFUSE(f, "title: x\nloud: 3\nnope: 1\n", "title: must", "loud: must", "nope: no such");
    buf_append_str(&text, "title: T\n");
    for (int i = 0; i < 30; i++)
        buf_printf(&text, "zzzzzz%d: 1\n", i);
    refuse(f, buf_span(&text), "zzzzzz19: ", "and 10 more problems", NULL);
    for (const char *at = buf_cstr(&f->why); (at = strchr(at, '\n')); at++)
        lines++;
    assert_int_equal(lines, 21);
}

static void values_never_stand_in_a_reason(void **state)
{
    struct fixture *f = *state;

    REFUSE(f, "title: hunter2\nloud: hunter2\nstore: {size: hunter2}\nwords: hunter2\n", "title");
    assert_null(strstr(buf_cstr(&f->why), "hunter2"));
}

static void a_missing_file_is_an_io_error(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(config_load(&f->snapshot, &table, "/nonexistent/c.yaml", &f->why), E_IO);
    assert_non_null(strstr(buf_cstr(&f->why), "/nonexistent/c.yaml: cannot be read"));
}

static void a_secret_is_the_first_line_of_a_private_file(void **state)
{
    struct fixture *f = *state;
    AUTO(buf_wipe) struct buf secret = {0};

    write_file(f->file, SPAN("hush\r\nsecond line\n"));
    assert_int_equal(chmod(f->file, 0600), 0);
    assert_int_equal(config_read_secret(f->file, &secret), 0);
    assert_true(span_is(buf_span(&secret), "hush"));
    assert_int_equal(config_read_secret("/nonexistent", &secret), E_IO);
}

static void a_secret_that_others_may_read_is_refused(void **state)
{
    struct fixture *f = *state;
    AUTO(buf_wipe) struct buf secret = {0};

    write_file(f->file, SPAN("hush\n"));
    for (const mode_t *mode = (const mode_t[]){0604, 0640, 0644, 0}; *mode; mode++) {
        assert_int_equal(chmod(f->file, *mode), 0);
        assert_int_equal(config_read_secret(f->file, &secret), E_DENIED);
    }
    assert_int_equal(secret.len, 0);
}

static void a_secret_is_at_most_64_kib(void **state)
{
    struct fixture *f = *state;
    AUTO(buf_wipe) struct buf secret = {0};
    AUTO(buf_fini) struct buf text = {0};

    memset(buf_reserve(&text, 65537), 'x', 65537);
    text.len = 65537;
    write_file(f->file, buf_span(&text));
    assert_int_equal(chmod(f->file, 0600), 0);
    assert_int_equal(config_read_secret(f->file, &secret), E_TOO_LARGE);
}

static void help_names_every_setting(void **state)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    (void)state;
    config_help(&table, out);
    fclose(out);
    assert_non_null(strstr(text, "store.size"));
    assert_non_null(strstr(text, "-5..100"));
    assert_non_null(strstr(text, "(required)"));
    assert_non_null(strstr(text, "pets[].legs"));
    free(text);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(values_are_read),
        CASE(defaults_fill_what_is_absent),
        CASE(relative_paths_begin_at_the_file),
        CASE(a_snapshot_lives_until_its_last_user),
        CASE(unknown_settings_are_refused_with_a_hint),
        CASE(missing_settings_are_named),
        CASE(wrong_types_are_refused),
        CASE(numbers_keep_to_their_range),
        CASE(checks_of_a_table_are_asked),
        CASE(duplicates_anchors_tags_and_second_documents_are_refused),
        CASE(broken_bytes_are_refused),
        CASE(depth_and_size_are_bounded),
        CASE(all_problems_are_told_but_at_most_twenty),
        CASE(values_never_stand_in_a_reason),
        CASE(a_missing_file_is_an_io_error),
        CASE(a_secret_is_the_first_line_of_a_private_file),
        CASE(a_secret_that_others_may_read_is_refused),
        CASE(a_secret_is_at_most_64_kib),
        CASE(help_names_every_setting),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
