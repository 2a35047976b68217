/* The command line that programs share. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/program.h"

struct settings {
    const char *name;
};

static const struct config_field fields[] = {
    {.name = "name", .type = CONFIG_STRING, .offset = offsetof(struct settings, name), .help = "x"},
};
static const struct config_table table = {"thing", sizeof(struct settings), fields, 1};
static const struct program program = {
    .usage = "usage: thing\n", .example = "thing.yaml", .settings = &table};

enum { WORDS = 6 };

/* words ends with NULL. */
static int begin(const char *const *words, struct config_snapshot **config, const char **file)
{
    static char text[WORDS][64];
    char *argv[WORDS + 1] = {NULL};
    int argc = 0;

    for (; words[argc]; argc++) {
        snprintf(text[argc], sizeof(text[argc]), "%s", words[argc]);
        argv[argc] = text[argc];
    }
    optind = 0; /* getopt starts over */
    return program_begin(&program, argc, argv, config, file);
}

static void write_file(char *path, const char *text)
{
    const int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (int)strlen(text));
    close(fd);
}

static void good_settings_are_read_and_it_goes_on(void **state)
{
    char path[] = "/tmp/program-XXXXXX";
    struct config_snapshot *config = NULL;
    const char *file = NULL;

    (void)state;
    write_file(path, "name: a\n");
    assert_int_equal(begin((const char *[]){"thing", "--config", path, NULL}, &config, &file), -1);
    assert_string_equal(((const struct settings *)config->values)->name, "a");
    assert_string_equal(file, path);
    config_unref(config);
    config = NULL;
    assert_int_equal(begin((const char *[]){"thing", "--check", "-c", path, NULL}, &config, &file),
                     EXIT_SUCCESS);
    unlink(path);
}

static void help_and_version_end_well(void **state)
{
    struct config_snapshot *config = NULL;
    const char *file = NULL;

    (void)state;
    assert_int_equal(begin((const char *[]){"thing", "--help", NULL}, &config, &file),
                     EXIT_SUCCESS);
    assert_int_equal(begin((const char *[]){"thing", "--version", NULL}, &config, &file),
                     EXIT_SUCCESS);
    assert_null(config);
}

static void what_is_wrong_is_a_misuse(void **state)
{
    char path[] = "/tmp/program-XXXXXX";
    const char *const lines[][WORDS] = {
        {"thing"},
        {"thing", "--config"},
        {"thing", "--nothing"},
        {"thing", "--config", "/nonexistent"},
        {"thing", "-c", path, "more"},
        {"thing", "-c", path},
    };
    struct config_snapshot *config = NULL;
    const char *file = NULL;

    (void)state;
    write_file(path, "no: 1\n");
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        assert_int_equal(begin(lines[i], &config, &file), PROGRAM_USAGE);
        assert_null(config);
    }
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_settings_are_read_and_it_goes_on),
        cmocka_unit_test(help_and_version_end_well),
        cmocka_unit_test(what_is_wrong_is_a_misuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
