/* Digests of configuration and model: the text that is hashed, its order, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/encode.h"
#include "worker/digests.h"

static char folder[64], why[DIGESTS_WHY_LEN];

static const char *path_of(const char *name)
{
    static char path[200];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void put(const char *name, const char *text)
{
    FILE *out = fopen(path_of(name), "w");

    assert_non_null(out);
    fputs(text, out);
    fclose(out);
}

static int begin(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/cocoon-model-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int end(void **state)
{
    char command[120];

    (void)state;
    snprintf(command, sizeof(command), "rm -r '%s'", folder);
    return system(command);
}

static int digest(char out[static MODEL_DIGEST_LEN])
{
    static const atomic_bool go_on;

    return digest_model(folder, &go_on, out, why);
}

/* As `sha256sum` of the sorted `sha256sum` lines. */
static void a_models_digest_is_over_sorted_lines(void **state)
{
    char got[MODEL_DIGEST_LEN], expected[MODEL_DIGEST_LEN] = "sha256:";
    AUTO(buf_fini) struct buf text = {0};
    uint8_t hash[SHA256_LEN];

    (void)state;
    put("model.bin", "weights");
    assert_int_equal(mkdir(path_of("a"), 0700), 0);
    put("a/b.json", "{}");
    put("a-b", "");
    buf_append_str(&text,
                   "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a-b\n"
                   "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a  a/b.json\n"
                   "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c  model.bin\n");
    sha256(hash, buf_span(&text));
    hex_encode(expected + 7, SPAN_OF(hash));
    assert_int_equal(digest(got), 0);
    assert_string_equal(got, expected);
}

static void another_name_or_byte_is_another_digest(void **state)
{
    char first[MODEL_DIGEST_LEN], other[MODEL_DIGEST_LEN];

    (void)state;
    put("a", "1");
    assert_int_equal(digest(first), 0);
    put("a", "2");
    assert_int_equal(digest(other), 0);
    assert_string_not_equal(first, other);
    put("a", "1");
    put("b", "");
    assert_int_equal(digest(other), 0);
    assert_string_not_equal(first, other);
}

static void a_link_to_a_file_counts_as_the_file(void **state)
{
    char first[MODEL_DIGEST_LEN], other[MODEL_DIGEST_LEN];

    (void)state;
    put("a", "1");
    put("b", "1");
    assert_int_equal(digest(first), 0);
    assert_int_equal(unlink(path_of("b")), 0);
    assert_int_equal(symlink("a", path_of("b")), 0);
    assert_int_equal(digest(other), 0);
    assert_string_equal(first, other);
}

static void what_is_no_file_is_refused(void **state)
{
    char got[MODEL_DIGEST_LEN];

    (void)state;
    assert_int_equal(digest(got), E_INVALID);
    assert_non_null(strstr(why, "holds no file"));
    put("a", "1");
    assert_int_equal(symlink(".", path_of("loop")), 0);
    assert_int_equal(digest(got), E_INVALID);
    assert_int_equal(unlink(path_of("loop")), 0);
    assert_int_equal(symlink("nothing", path_of("dangling")), 0);
    assert_int_equal(digest(got), E_IO);
    assert_int_equal(unlink(path_of("dangling")), 0);
    assert_int_equal(mkfifo(path_of("pipe"), 0600), 0);
    assert_int_equal(digest(got), E_INVALID);
}

/* A name with a line's end could stand for a file that is not there; sha256sum escapes these names.
 */
static void names_that_could_be_taken_for_lines_are_refused(void **state)
{
    static const char *const NAMES[] = {"a\nb", "a\rb", "a\\b", "a\tb", "a\x7f"};
    char got[MODEL_DIGEST_LEN];

    (void)state;
    put("fine name", "1");
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
        put(NAMES[i], "");
        assert_int_equal(digest(got), E_INVALID);
        assert_non_null(strstr(why, "name"));
        assert_int_equal(unlink(path_of(NAMES[i])), 0);
    }
    assert_int_equal(mkdir(path_of("a\nb"), 0700), 0);
    put("a\nb/c", "");
    assert_int_equal(digest(got), E_INVALID);
}

static void it_can_be_stopped(void **state)
{
    const atomic_bool stop = true;
    char got[MODEL_DIGEST_LEN];

    (void)state;
    put("a", "1");
    assert_int_equal(digest_model(folder, &stop, got, why), E_CLOSED);
}

static void a_files_digest_is_that_of_its_bytes(void **state)
{
    char got[DIGEST_TEXT_LEN];

    (void)state;
    put("c.yaml", "{}");
    assert_int_equal(digest_file(path_of("c.yaml"), got, why), 0);
    assert_string_equal(got, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
    assert_int_equal(digest_file(path_of("no.yaml"), got, why), E_IO);
    assert_non_null(strstr(why, "no.yaml"));
}

static void links_must_not_leave_the_folder_on_any_step(void **state)
{
    char command[300], other[96];

    (void)state;
    put("a", "1");
    assert_int_equal(symlink("a", path_of("inside")), 0);
    assert_int_equal(mkdir(path_of("sub"), 0700), 0);
    assert_int_equal(symlink("../a", path_of("sub/up")), 0);
    assert_int_equal(digest_model_contained(folder, why), 0);
    /* Back in by a link outside, which may be turned elsewhere. */
    snprintf(other, sizeof(other), "%s.link", folder);
    snprintf(command, sizeof(command), "%s/a", folder);
    assert_int_equal(symlink(command, other), 0);
    assert_int_equal(symlink(other, path_of("back")), 0);
    assert_int_equal(digest_model_contained(folder, why), E_DENIED);
    assert_non_null(strstr(why, "/back leads out"));
    assert_int_equal(unlink(path_of("back")), 0);
    assert_int_equal(symlink("/etc/hostname", path_of("out")), 0);
    assert_int_equal(digest_model_contained(folder, why), E_DENIED);
    assert_int_equal(unlink(other), 0);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(a_models_digest_is_over_sorted_lines),
        IN_FOLDER(another_name_or_byte_is_another_digest),
        IN_FOLDER(a_link_to_a_file_counts_as_the_file),
        IN_FOLDER(what_is_no_file_is_refused),
        IN_FOLDER(names_that_could_be_taken_for_lines_are_refused),
        IN_FOLDER(it_can_be_stopped),
        IN_FOLDER(links_must_not_leave_the_folder_on_any_step),
        IN_FOLDER(a_files_digest_is_that_of_its_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
