/* The keys file: what it holds, how it changes, and what Redis gets of it. */
#include "auth/keys_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

struct fixture {
    char folder[64], path[128];
    struct buf why, text;
};

static int setup(void **state)
{
    struct fixture *f = mem_zero(sizeof(*f));

    strcpy(f->folder, "/tmp/test-keys-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof(f->path), "%s/keys.json", f->folder);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];

    snprintf(command, sizeof(command), "rm -rf '%s'", f->folder);
    assert_int_equal(system(command), 0);
    buf_fini(&f->why);
    buf_wipe(&f->text);
    free(f);
    return 0;
}

static struct keys_file *open_file(struct fixture *f, bool change)
{
    struct keys_file *file;

    if (keys_file_open(&file, f->path, change, &f->why) < 0)
        fail_msg("%s", buf_cstr(&f->why));
    return file;
}

static const struct key_spec plain = {
    .name = "test", .account = "acme", .project = "", .class = "interactive"};

// Makes a key in the file and saves; its text is in f->text.
static void create(struct fixture *f, const struct key_spec *spec)
{
    AUTO(keys_file_free) struct keys_file *file = open_file(f, true);
    char id[2 * KEY_ID_LEN + 1];

    assert_int_equal(keys_file_create(file, spec, &f->text, id), 0);
    assert_int_equal(keys_file_save(file), 0);
}

static json_t *find(struct keys_file *file, const char *which)
{
    json_t *key;

    assert_int_equal(keys_file_find(file, which, &key), 0);
    return key;
}

struct seen {
    size_t count;
    char lookups[4][33];
    struct key_record *records[4];
};

static void note(void *arg, const char *lookup, struct span record)
{
    struct seen *s = arg;

    assert_true(s->count < 4);
    strcpy(s->lookups[s->count], lookup);
    assert_int_equal(key_record_parse(&s->records[s->count++], record), 0);
}

static void forget(struct seen *s)
{
    for (size_t i = 0; i < s->count; i++)
        key_record_unref(s->records[i]);
    *s = (struct seen){0};
}

static void a_created_key_is_there_after_reopening(void **state)
{
    struct fixture *f = *state;
    struct seen seen = {0};
    struct api_key key;
    char lookup[33];

    create(f, &plain);
    assert_int_equal(api_key_parse(&key, buf_span(&f->text)), 0);
    api_key_lookup(&key, lookup);
    AUTO(keys_file_free) struct keys_file *file = open_file(f, false);
    keys_file_project(find(file, "test"), note, &seen);
    assert_int_equal(seen.count, 1);
    assert_string_equal(seen.lookups[0], lookup);
    assert_string_equal(seen.records[0]->account, "acme");
    assert_int_equal(seen.records[0]->version, 1);
    forget(&seen);
}

static void what_a_key_may_do_is_kept(void **state)
{
    struct fixture *f = *state;
    struct seen seen = {0};
    struct key_spec spec = plain;

    spec.models = (const char *const[]){"a/b", NULL};
    spec.endpoints = (const char *const[]){"chat", NULL};
    spec.ranges = (const char *const[]){"10.0.0.0/8", NULL};
    spec.expires_s = 4000000000;
    spec.max_output = 77;
    spec.strict = spec.end_to_end_only = true;
    spec.class = "batch";
    create(f, &spec);
    AUTO(keys_file_free) struct keys_file *file = open_file(f, false);
    keys_file_project(find(file, "test"), note, &seen);
    const struct key_record *r = seen.records[0];
    assert_true(r->strict && r->end_to_end_only);
    assert_int_equal(r->expires_s, 4000000000);
    assert_int_equal(r->max_output, 77);
    assert_string_equal(r->class, "batch");
    assert_true(key_allows_model(r, SPAN("a/b")));
    assert_false(key_allows_model(r, SPAN("c")));
    assert_false(key_allows_endpoint(r, "embeddings"));
    assert_false(key_allows_address(r, SPAN("11.0.0.1")));
    forget(&seen);
}

static void the_file_is_private_and_holds_no_secret(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    char content[8192] = "";

    create(f, &plain);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    FILE *in = fopen(f->path, "r");
    assert_true(fread(content, 1, sizeof(content) - 1, in) > 100);
    fclose(in);
    assert_null(strstr(content, "sk-cocoon-"));
    assert_null(strstr(content, buf_cstr(&f->text) + 10));
    assert_non_null(strstr(content, "acme"));
}

static void a_file_that_others_may_read_is_refused(void **state)
{
    struct fixture *f = *state;
    struct keys_file *file;

    create(f, &plain);
    assert_int_equal(chmod(f->path, 0640), 0);
    assert_int_equal(keys_file_open(&file, f->path, false, &f->why), E_DENIED);
    assert_non_null(strstr(buf_cstr(&f->why), "chmod 600"));
}

static void broken_files_are_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "{\"format\":\"cgw/keys/v1\"}",
        "{\"format\":\"cgw/keys/v2\",\"epoch\":\"00112233445566778899aabbccddeeff\",\"serial\":1,"
        "\"keys\":[]}",
        "{\"format\":\"cgw/keys/v1\",\"epoch\":\"00\",\"serial\":1,\"keys\":[]}",
        "{\"format\":\"cgw/keys/v1\",\"epoch\":\"00112233445566778899aabbccddeeff\",\"serial\":-1,"
        "\"keys\":[]}",
        "{\"format\":\"cgw/keys/v1\",\"epoch\":\"00112233445566778899aabbccddeeff\",\"serial\":1,"
        "\"keys\":[{}]}",
        "{\"format\":\"cgw/keys/v1\",\"epoch\":\"00112233445566778899aabbccddeeff\",\"serial\":1,"
        "\"keys\":[{\"secrets\":[{\"sha256\":\"00\"}]}]}",
    };
    struct fixture *f = *state;
    struct keys_file *file;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        FILE *out = fopen(f->path, "w");
        fputs(texts[i], out);
        fclose(out);
        assert_int_equal(chmod(f->path, 0600), 0);
        assert_int_equal(keys_file_open(&file, f->path, false, &f->why), E_INVALID);
        assert_null(file);
    }
}

static void a_key_that_could_not_be_read_back_is_not_made(void **state)
{
    struct fixture *f = *state;
    AUTO(keys_file_free) struct keys_file *file = open_file(f, true);
    struct key_spec spec = plain;
    char id[2 * KEY_ID_LEN + 1];

    spec.account = "two words";
    assert_int_equal(keys_file_create(file, &spec, &f->text, id), E_INVALID);
    spec = plain;
    spec.name = "\xff";
    assert_int_equal(keys_file_create(file, &spec, &f->text, id), E_INVALID);
    spec = plain;
    spec.endpoints = (const char *const[]){"all", NULL};
    assert_int_equal(keys_file_create(file, &spec, &f->text, id), E_INVALID);
    assert_int_equal(f->text.len, 0);
    assert_int_equal(json_array_size(keys_file_list(file)), 0);
}

static void a_revoked_key_stays_revoked(void **state)
{
    struct fixture *f = *state;
    AUTO(keys_file_free) struct keys_file *file = NULL;
    struct seen seen = {0};

    create(f, &plain);
    file = open_file(f, true);
    json_t *key = find(file, "test");
    assert_true(key_entry_live(key));
    assert_int_equal(keys_file_revoke(file, key), 0);
    assert_false(key_entry_live(key));
    assert_int_equal(keys_file_revoke(file, key), E_EXISTS);
    assert_int_equal(keys_file_rotate(file, key, 0, &f->text), E_DENIED);
    keys_file_project(key, note, &seen);
    assert_true(seen.records[0]->revoked);
    assert_int_equal(seen.records[0]->version, 2);
    forget(&seen);
}

static void a_rotated_key_has_two_live_secrets_at_most(void **state)
{
    struct fixture *f = *state;
    AUTO(keys_file_free) struct keys_file *file = NULL;
    struct seen seen = {0};
    const uint64_t now = clock_wall_ms() / 1000;

    create(f, &plain);
    file = open_file(f, true);
    json_t *key = find(file, "test");
    assert_int_equal(keys_file_rotate(file, key, 3600, &f->text), 0);
    assert_int_equal(keys_file_rotate(file, key, 60, &f->text), 0);
    keys_file_project(key, note, &seen);
    assert_int_equal(seen.count, 3);
    assert_in_range(seen.records[0]->expires_s, now, now + 2);
    assert_in_range(seen.records[1]->expires_s, now + 60, now + 62);
    assert_int_equal(seen.records[2]->expires_s, 0);
    assert_string_equal(seen.records[0]->id, seen.records[2]->id);
    assert_int_equal(seen.records[2]->version, 3);
    forget(&seen);
}

static void a_grace_does_not_outlive_the_key(void **state)
{
    struct fixture *f = *state;
    AUTO(keys_file_free) struct keys_file *file = NULL;
    struct key_spec spec = plain;
    struct seen seen = {0};

    spec.expires_s = clock_wall_ms() / 1000 + 100;
    create(f, &spec);
    file = open_file(f, true);
    json_t *key = find(file, "test");
    assert_int_equal(keys_file_rotate(file, key, 3600, &f->text), 0);
    keys_file_project(key, note, &seen);
    assert_int_equal(seen.records[0]->expires_s, spec.expires_s);
    assert_int_equal(seen.records[1]->expires_s, spec.expires_s);
    forget(&seen);
}

static void ended_secrets_are_forgotten_at_some_number(void **state)
{
    struct fixture *f = *state;
    AUTO(keys_file_free) struct keys_file *file = NULL;

    create(f, &plain);
    file = open_file(f, true);
    json_t *key = find(file, "test");
    for (int i = 0; i < 3 * KEYS_NOTED_SECRETS; i++)
        assert_int_equal(keys_file_rotate(file, key, 10, &f->text), 0);
    assert_int_equal(json_array_size(json_object_get(key, "secrets")), KEYS_NOTED_SECRETS);
}

static void keys_are_found_by_id_or_by_a_name_of_their_own(void **state)
{
    struct fixture *f = *state;
    AUTO(keys_file_free) struct keys_file *file = NULL;
    json_t *key;

    create(f, &plain);
    create(f, &plain);
    file = open_file(f, false);
    assert_int_equal(keys_file_find(file, "test", &key), E_EXISTS);
    assert_int_equal(keys_file_find(file, "other", &key), E_NOT_FOUND);
    const json_t *second = json_array_get(keys_file_list(file), 1);
    assert_int_equal(keys_file_find(file, json_string_value(json_object_get(second, "id")), &key),
                     0);
    assert_ptr_equal(key, second);
}

static void the_marker_counts_each_save(void **state)
{
    struct fixture *f = *state;
    AUTO(keys_file_free) struct keys_file *file = NULL;
    char before[KEYS_MARKER_LEN], after[KEYS_MARKER_LEN];

    create(f, &plain);
    file = open_file(f, true);
    keys_file_marker(file, before);
    assert_int_equal(keys_file_save(file), 0);
    keys_file_marker(file, after);
    assert_string_not_equal(before, after);
    keys_file_marker_before(file, after);
    assert_string_equal(before, after);
}

static void changes_of_several_processes_are_all_kept(void **state)
{
    struct fixture *f = *state;
    AUTO(keys_file_free) struct keys_file *file = NULL;

    for (int i = 0; i < 4; i++) {
        if (fork() == 0) {
            for (int k = 0; k < 5; k++)
                create(f, &plain);
            _exit(0);
        }
    }
    for (int i = 0, status; i < 4; i++) {
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    file = open_file(f, false);
    assert_int_equal(json_array_size(keys_file_list(file)), 20);
}

static void a_folder_that_is_not_there_is_an_io_error(void **state)
{
    struct fixture *f = *state;
    struct keys_file *file;

    assert_int_equal(keys_file_open(&file, "/nonexistent/keys.json", true, &f->why), E_IO);
    assert_non_null(strstr(buf_cstr(&f->why), "/nonexistent/keys.json: "));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_created_key_is_there_after_reopening),
        CASE(what_a_key_may_do_is_kept),
        CASE(the_file_is_private_and_holds_no_secret),
        CASE(a_file_that_others_may_read_is_refused),
        CASE(broken_files_are_refused),
        CASE(a_key_that_could_not_be_read_back_is_not_made),
        CASE(a_revoked_key_stays_revoked),
        CASE(a_rotated_key_has_two_live_secrets_at_most),
        CASE(a_grace_does_not_outlive_the_key),
        CASE(ended_secrets_are_forgotten_at_some_number),
        CASE(keys_are_found_by_id_or_by_a_name_of_their_own),
        CASE(the_marker_counts_each_save),
        CASE(changes_of_several_processes_are_all_kept),
        CASE(a_folder_that_is_not_there_is_an_io_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
