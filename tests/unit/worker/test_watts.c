/* Reading the power draw. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "worker/watts.h"

static void the_first_number_is_rounded_up(void **state)
{
    static const struct {
        const char *text;
        int64_t watts;
    } good[] = {{"287", 287}, {" 287.4 W\n", 288}, {"0", 0}, {"300.00\n301", 300}, {"9.", 9}};
    static const char *const bad[] = {"", "W", "-5", "error: 5", "99999999999999999999"};
    int64_t watts = -1;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(watts_parse(span_str(good[i].text), &watts), 0);
        assert_int_equal(watts, good[i].watts);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(watts_parse(span_str(bad[i]), &watts), E_INVALID);
}

struct world {
    struct loop *loop;
    struct offload *offload;
    struct watts *watts;
};

static void begin(struct world *w, const char *command, int64_t ceiling)
{
    assert_int_equal(loop_new(&w->loop), 0);
    assert_int_equal(offload_new(&w->offload, w->loop, 1), 0);
    w->watts = watts_new(w->loop, w->offload, command);
    watts_ceiling(w->watts, ceiling);
}

static void end(struct world *w)
{
    watts_stop(w->watts);
    offload_free(w->offload);
    watts_free(w->watts);
    loop_free(w->loop);
}

static void turn_until_known(struct world *w)
{
    const uint64_t until = clock_mono_ms() + 5000;

    while (watts_now(w->watts) < 0 && clock_mono_ms() < until)
        loop_turn(w->loop, 20);
}

static void an_unknown_draw_is_over_the_ceiling_until_it_is_known(void **state)
{
    struct world w;

    (void)state;
    begin(&w, "echo 250.2", 300);
    assert_true(watts_over(w.watts));
    turn_until_known(&w);
    assert_int_equal(watts_now(w.watts), 251);
    assert_false(watts_over(w.watts));
    watts_ceiling(w.watts, 200);
    assert_true(watts_over(w.watts));
    watts_ceiling(w.watts, 0);
    assert_false(watts_over(w.watts));
    end(&w);
}

static void a_command_that_fails_leaves_it_unknown(void **state)
{
    struct world w;

    (void)state;
    begin(&w, "echo none", 300);
    for (int i = 0; i < 20; i++)
        loop_turn(w.loop, 10);
    assert_int_equal(watts_now(w.watts), -1);
    assert_true(watts_over(w.watts));
    end(&w);
}

static void a_command_that_hangs_is_killed_with_its_children(void **state)
{
    struct world w;
    const uint64_t began = clock_mono_ms();

    (void)state;
    begin(&w, "sleep 60 & sleep 60", 300);
    loop_turn(w.loop, 10);
    end(&w); /* waits for the job */
    assert_true(clock_mono_ms() - began < 10000);
}

static void without_a_ceiling_nothing_is_asked(void **state)
{
    struct world w;

    (void)state;
    begin(&w, "echo 100", 0);
    for (int i = 0; i < 10; i++)
        loop_turn(w.loop, 10);
    assert_int_equal(watts_now(w.watts), -1);
    assert_false(watts_over(w.watts));
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_number_is_rounded_up),
        cmocka_unit_test(an_unknown_draw_is_over_the_ceiling_until_it_is_known),
        cmocka_unit_test(a_command_that_fails_leaves_it_unknown),
        cmocka_unit_test(a_command_that_hangs_is_killed_with_its_children),
        cmocka_unit_test(without_a_ceiling_nothing_is_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
