/* Whose words about a client's address are believed, and what is read of them. */
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <setjmp.h>
#include <cmocka.h>

#include "auth/forwarded.h"

/* 10.0.0.0/8 and 2001:db8:1::/48 are proxies of ours. */
static bool trust(const void *arg, const struct cidr *address)
{
    struct cidr four, six;

    (void)arg;
    assert_int_equal(cidr_parse(&four, SPAN("10.0.0.0/8")), 0);
    assert_int_equal(cidr_parse(&six, SPAN("2001:db8:1::/48")), 0);
    return cidr_contains(&four, address) || cidr_contains(&six, address);
}

static void names(const struct forwarded *f, const char *wanted, const char *field)
{
    char text[FORWARDED_TEXT];
    int error = forwarded_client(f, trust, NULL, text);

    if (wanted ? error < 0 || strcmp(text, wanted) != 0 : error != E_NOT_FOUND)
        fail_msg("%s names %s", field, error < 0 ? "nobody" : text);
}

static void check(const char *field, const char *wanted)
{
    struct forwarded f = {0};

    forwarded_field(&f, span_str(field));
    names(&f, wanted, field);
}

static void check_x(const char *field, const char *wanted)
{
    struct forwarded f = {0};

    forwarded_x_field(&f, span_str(field));
    names(&f, wanted, field);
}

static void every_form_of_an_address_is_read(void **state)
{
    (void)state;
    check("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"); /* RFC 7239 §4 */
    check("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17");
    check("for=192.0.2.43, for=198.51.100.17", "198.51.100.17");
    check("by=203.0.113.43 ; FOR=\"192.0.2.1:8080\"", "192.0.2.1");
    check("for=\"192.0.2.1:_hidden\"", "192.0.2.1");
    check("for=\"\\1\\92.0.2.1\"", "192.0.2.1");
    check("for=\"[2001:DB8:0::1]\"", "2001:db8::1");
    check("for=\"[::ffff:192.0.2.9]\"", "192.0.2.9");
    check("for=192.0.2.1;x=\"a,b;for=6.6.6.6\"", "192.0.2.1");
    check_x("192.0.2.1", "192.0.2.1");
    check_x(" 6.6.6.6 ,192.0.2.1:99 ", "192.0.2.1");
    check_x("2001:db8::7", "2001:db8::7");
    check_x("[2001:db8::7]:443", "2001:db8::7");
    check_x("::ffff:192.0.2.9", "192.0.2.9");
}

static void the_walk_ends_at_the_first_stranger_from_the_right(void **state)
{
    (void)state;
    check("for=6.6.6.6, for=192.0.2.1, for=10.0.0.2, for=\"[2001:db8:1::5]\"", "192.0.2.1");
    check("for=10.9.9.9, for=10.0.0.2", "10.9.9.9"); /* all ours: the first of them */
    check_x("6.6.6.6, 192.0.2.1, 10.0.0.2, 10.0.0.3", "192.0.2.1");
    check_x("10.9.9.9, 10.0.0.2", "10.9.9.9");
}

static void a_hop_without_an_address_hides_what_is_left_of_it(void **state)
{
    (void)state;
    check("for=192.0.2.1, for=unknown", NULL);
    check("for=192.0.2.1, for=_gazonk, for=10.0.0.2", "10.0.0.2");
    check("for=192.0.2.1, proto=https", NULL);
    check("for=192.0.2.1,", NULL);
    check_x("192.0.2.1, unknown", NULL);
    check_x("192.0.2.1, nonsense, 10.0.0.2", "10.0.0.2");
    check_x("", NULL);
}

static void a_field_of_another_form_names_nobody(void **state)
{
    static const char *const fields[] = {
        "",
        "for",
        "for=",
        "for=\"192.0.2.1",
        "for=\"192.0.2.1\\",
        "for=192.0.2.1;for=192.0.2.2",
        "for=192.0.2.1 for=192.0.2.2",
        "for =192.0.2.1",
        "for=2001:db8::1", /* IPv6 needs brackets */
        "for=\"2001:db8::1\"",
        "for=\"[192.0.2.1]\"",
        "for=\"[2001:db8::1\"",
        "for=\"[2001:db8::1]x\"",
        "for=\"192.0.2.1:\"",
        "for=\"192.0.2.1:70000\"",
        "for=192.0.2.0/24",
        "for=\"192.0.2.1\"x",
        /* Quotes that a client opened before a proxy's own words. */
        "for=6.6.6.6;x=\", for=192.0.2.1",
        "for=6.6.6.6;x=\", for=\"[2001:db8::1]\"",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
        check(fields[i], NULL);
}

static void fields_are_one_list_but_quotes_do_not_pass_from_one_to_the_next(void **state)
{
    struct forwarded f = {0};

    (void)state;
    forwarded_field(&f, SPAN("for=6.6.6.6"));
    forwarded_field(&f, SPAN("for=192.0.2.1"));
    forwarded_field(&f, SPAN("for=10.0.0.2"));
    names(&f, "192.0.2.1", "three");
    f = (struct forwarded){0};
    forwarded_field(&f, SPAN("for=\"6.6.6.6"));
    forwarded_field(&f, SPAN("for=10.0.0.2"));
    names(&f, "10.0.0.2", "an open quote");
}

static void a_list_without_end_costs_a_few_hops(void **state)
{
    struct forwarded f = {0};

    (void)state;
    for (int i = 0; i < 5000; i++)
        forwarded_x_field(&f, SPAN("10.0.0.1"));
    forwarded_x_field(&f, SPAN("192.0.2.1"));
    forwarded_x_field(&f, SPAN("10.0.0.1"));
    names(&f, "192.0.2.1", "many");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_an_address_is_read),
        cmocka_unit_test(the_walk_ends_at_the_first_stranger_from_the_right),
        cmocka_unit_test(a_hop_without_an_address_hides_what_is_left_of_it),
        cmocka_unit_test(a_field_of_another_form_names_nobody),
        cmocka_unit_test(fields_are_one_list_but_quotes_do_not_pass_from_one_to_the_next),
        cmocka_unit_test(a_list_without_end_costs_a_few_hops),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
