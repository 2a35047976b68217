/* Files read whole within a bound, secrets only when they are private, and files replaced. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "base/file.h"

struct place {
    char folder[32], file[64];
};

static int begin(void **state)
{
    struct place *p = mem_zero(sizeof(*p));

    snprintf(p->folder, sizeof(p->folder), "/tmp/cocoon-file-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    snprintf(p->file, sizeof(p->file), "%s/it", p->folder);
    *state = p;
    return 0;
}

static int end(void **state)
{
    struct place *p = *state;

    (void)unlink(p->file);
    assert_int_equal(rmdir(p->folder), 0); /* nothing was left beside it */
    free(p);
    return 0;
}

static void what_was_put_is_read(void **state)
{
    const struct place *p = *state;
    AUTO(buf_fini) struct buf text = {0};

    assert_int_equal(file_replace(p->file, SPAN("one\0two\n"), 0644), 0);
    assert_int_equal(file_replace(p->file, SPAN("three"), 0644), 0);
    buf_append_str(&text, "> ");
    assert_int_equal(file_read(p->file, 100, &text), 0);
    assert_true(span_is(buf_span(&text), "> three"));
}

static void a_file_may_be_as_long_as_the_bound_and_no_longer(void **state)
{
    const struct place *p = *state;
    AUTO(buf_fini) struct buf text = {0};

    assert_int_equal(file_replace(p->file, SPAN("12345"), 0644), 0);
    assert_int_equal(file_read(p->file, 5, &text), 0);
    assert_int_equal(file_read(p->file, 4, &text), E_TOO_LARGE);
    assert_int_equal(file_replace(p->file, SPAN(""), 0644), 0);
    buf_clear(&text);
    assert_int_equal(file_read(p->file, 0, &text), 0);
    assert_int_equal(text.len, 0);
}

static void a_file_that_is_not_there_is_told_by_errno(void **state)
{
    const struct place *p = *state;
    AUTO(buf_fini) struct buf text = {0};

    errno = 0;
    assert_int_equal(file_read(p->file, 10, &text), E_IO);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(file_read(p->folder, 10, &text), E_IO);
    assert_int_equal(errno, EISDIR);
}

static void a_secret_that_others_may_read_is_not_read(void **state)
{
    const struct place *p = *state;
    AUTO(buf_wipe) struct buf text = {0};

    assert_int_equal(file_replace(p->file, SPAN("hush"), 0600), 0);
    assert_int_equal(file_read_secret(p->file, 10, &text), 0);
    assert_true(span_is(buf_span(&text), "hush"));
    buf_clear(&text);
    assert_int_equal(chmod(p->file, 0640), 0);
    assert_int_equal(file_read_secret(p->file, 10, &text), E_DENIED);
    assert_int_equal(text.len, 0);
}

static void a_replaced_file_gets_the_mode_asked_for(void **state)
{
    const struct place *p = *state;
    struct stat st;

    assert_int_equal(file_replace(p->file, SPAN("open"), 0644), 0);
    assert_int_equal(file_replace(p->file, SPAN("private"), 0600), 0);
    assert_int_equal(stat(p->file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void what_cannot_be_replaced_stays(void **state)
{
    const struct place *p = *state;
    char inside[80];

    assert_int_equal(file_replace(p->file, SPAN("here"), 0644), 0);
    snprintf(inside, sizeof(inside), "%s/no-folder", p->file);
    assert_int_equal(file_replace(inside, SPAN("x"), 0644), E_IO);
    assert_int_equal(errno, ENOTDIR);
    assert_int_equal(file_replace(p->folder, SPAN("x"), 0644), E_IO);
    AUTO(buf_fini) struct buf text = {0};
    assert_int_equal(file_read(p->file, 10, &text), 0);
    assert_true(span_is(buf_span(&text), "here"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_was_put_is_read),
        CASE(a_file_may_be_as_long_as_the_bound_and_no_longer),
        CASE(a_file_that_is_not_there_is_told_by_errno),
        CASE(a_secret_that_others_may_read_is_not_read),
        CASE(a_replaced_file_gets_the_mode_asked_for),
        CASE(what_cannot_be_replaced_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
