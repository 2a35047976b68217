/* Which addresses strangers may name. */
#include "net/public.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static bool is_public(const char *text)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};

    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return net_address_is_public((const struct sockaddr *)&v4);
    assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return net_address_is_public((const struct sockaddr *)&v6);
}

static void what_is_of_this_machine_or_its_network_is_not_public(void **state)
{
    static const char *const refused[] = {"0.0.0.0",
                                          "10.1.2.3",
                                          "100.64.0.1",
                                          "100.127.255.255",
                                          "127.0.0.1",
                                          "169.254.169.254",
                                          "172.16.0.1",
                                          "172.31.255.255",
                                          "192.168.1.1",
                                          "192.0.2.1",
                                          "198.18.0.1",
                                          "203.0.113.9",
                                          "224.0.0.1",
                                          "255.255.255.255",
                                          "::",
                                          "::1",
                                          "::ffff:10.0.0.1",
                                          "::ffff:127.0.0.1",
                                          "fe80::1",
                                          "fc00::1",
                                          "fd12::1",
                                          "ff02::1",
                                          "64:ff9b::a00:1",
                                          "2001::1",
                                          "2001:db8::1",
                                          "2002:a00:1::1",
                                          "2002:7f00:1::1"};

    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        if (is_public(refused[i]))
            fail_msg("%s was taken", refused[i]);
}

static void what_is_of_the_internet_is_public(void **state)
{
    static const char *const taken[] = {"1.1.1.1",         "9.255.255.255",   "11.0.0.0",
                                        "100.128.0.1",     "172.32.0.1",      "192.167.255.255",
                                        "223.255.255.255", "2606:4700::1111", "::ffff:8.8.8.8",
                                        "2002:808:808::1"};
    const struct sockaddr other = {.sa_family = AF_UNIX};

    (void)state;
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
        if (!is_public(taken[i]))
            fail_msg("%s was refused", taken[i]);
    assert_false(net_address_is_public(&other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_of_this_machine_or_its_network_is_not_public),
        cmocka_unit_test(what_is_of_the_internet_is_public),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
