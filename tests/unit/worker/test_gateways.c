/* Links that gateways ask for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "backends/engine/engine_impl.h"
#include "worker/gateways.h"
#include "worker/worker.h"

static void count(void *arg, const struct link *link)
{
    size_t *total = arg;

    (void)link;
    (*total)++;
}

static void take_last(void *arg, const struct link *link)
{
    memcpy(arg, &link, sizeof(link)); /* the test may change it */
}

static void a_gateway_that_is_replaced_for_ever_has_its_links_counted(void **state)
{
    const char *addresses[] = {"127.0.0.1:1"};
    struct worker_operator one = {.name = "one", .gateways = {addresses, 1}};
    struct worker_config values = {.operators = {&one, 1}};
    struct config_snapshot config = {.values = &values};
    struct engine engine = {0};
    struct worker w = {.config = &config, .engine = &engine};
    struct link *last = NULL;
    size_t total = 0;

    (void)state;
    assert_int_equal(loop_new(&w.loop), 0);
    assert_int_equal(gateways_new(&w.gateways, &w), 0);
    for (int i = 0; i < 2 * OPERATOR_MAX_LINKS; i++) {
        gateways_each(w.gateways, take_last, &last);
        gateways_again(last);
    }
    gateways_each(w.gateways, count, &total);
    assert_int_equal(total, OPERATOR_MAX_LINKS);
    gateways_close(w.gateways);
    gateways_free(w.gateways);
    loop_free(w.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gateway_that_is_replaced_for_ever_has_its_links_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
